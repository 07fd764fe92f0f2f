"""Stripe's API on loopback, for tests: it knows what was added, and is as strict as documented.

    with fake_stripe(key="sk_test_1") as stripe:
        stripe.add({"object": "price", "id": "price_1", "tiers": [...], ...})
        StripeApi("sk_test_1", stripe.base).price("price_1")

Objects are added whole, as if all of them were expanded, and shown as Stripe would. Reads are
served, and of what writes only Checkout: `stripe.checkout` says where its webhooks go.
"""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.fake_stripe import checkout
from tests.fake_stripe.lists import LINES, RESOURCES, Resource, newest_first, page, unknown
from tests.fake_stripe.shapes import Expansions, Json, Refusal, expansions, shown

__all__ = ["Asked", "FakeStripe", "fake_stripe"]

THIN_EVENTS = "/v2/core/events/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request. `params` are nested as in Stripe's documentation, with all values as text."""

    path: str
    params: Json
    account: str
    context: str
    version: str | None
    method: str = "GET"

    @property
    def whose(self) -> str:
        return self.account or self.context


@dataclass(slots=True, kw_only=True)
class Trouble:
    """What the next `times` requests of a path get instead of an answer, or before it."""

    path_prefix: str
    times: int
    seconds: float = 0.0  # of silence first
    status: int | None = None  # None: then the usual answer
    headers: Mapping[str, str] = field(default_factory=dict)
    body: object = None


class FakeStripe:
    """The account's objects and what was asked about them."""

    def __init__(self, key: str) -> None:
        self.base = ""
        self.requests: list[Asked] = []
        self._key = key
        self._objects: dict[tuple[str, str], Json] = {}
        self._troubles: list[Trouble] = []
        self._lock = threading.Lock()
        self.ended = threading.Event()
        self.checkout = checkout.Checkout(lambda one: self._objects.get(("", one)), self.add)

    def add(self, stripe_object: Json, account: str = "") -> None:
        """Keep an object, or its new state. Under an account it is that one's alone."""
        self._objects[account, stripe_object["id"]] = stripe_object

    def fail(
        self,
        path_prefix: str,
        status: int,
        times: int = 1,
        headers: Mapping[str, str] | None = None,
        body: object = None,
    ) -> None:
        """Answer so instead. Stripe's library asks twice on 5xx: `times=2` to be noticed."""
        code = {"code": "rate_limit"} if status == 429 else {}
        error = {"message": "A failure of the tests", "type": "api_error", **code}
        planted = Trouble(
            path_prefix=path_prefix,
            times=times,
            status=status,
            headers=headers or {},
            body={"error": error} if body is None else body,
        )
        self._troubles.append(planted)

    def hang(self, path_prefix: str, seconds: float, times: int = 1) -> None:
        """Be silent for so long, or until the fake ends, and then answer as usual."""
        self._troubles.append(Trouble(path_prefix=path_prefix, times=times, seconds=seconds))

    def answer(self, asked: Asked, authorization: str | None) -> tuple[int, Mapping[str, str], Any]:
        """Status, headers and body. A body of bytes is sent as it is."""
        with self._lock:
            self.requests.append(asked)
            trouble = self._trouble(asked.path)
        if trouble:
            self.ended.wait(trouble.seconds)
            if trouble.status is not None:
                return trouble.status, trouble.headers, trouble.body
        try:
            if asked.path.startswith(checkout.HOSTED):
                return self._hosted(asked)
            if authorization != f"Bearer {self._key}":
                raise Refusal(401, _not_accepted(authorization))
            if asked.method == "POST" and asked.path == checkout.PATH:
                return 200, {}, self.checkout.create(asked.params, self.base)
            return 200, {}, self._found(asked)
        except Refusal as refusal:
            return refusal.status, {}, refusal.body

    def _hosted(self, asked: Asked) -> tuple[int, Mapping[str, str], Any]:
        """The page of a session, for a browser, which has no key."""
        session = asked.path.removeprefix(checkout.HOSTED)
        if asked.method == "POST":
            return 303, {"Location": self.checkout.pay(session)}, b""
        html = {"Content-Type": "text/html; charset=utf-8"}
        return 200, html, self.checkout.page(session)

    def _trouble(self, path: str) -> Trouble | None:
        for one in self._troubles:
            if one.times and path.startswith(one.path_prefix):
                one.times -= 1
                return one
        return None

    def _found(self, asked: Asked) -> Json:
        if asked.method != "GET":
            raise Refusal(404, f"Unrecognized request URL ({asked.method}: {asked.path}).")
        if asked.path.startswith(THIN_EVENTS):
            return self._thin_event(asked)
        for name, resource in RESOURCES.items():
            if asked.path == f"/v1/{name}":
                return self._page(asked, newest_first(self._all(asked, resource)), resource)
            if found := re.fullmatch(rf"/v1/{name}/([^/]+)(/lines)?", asked.path):
                one = self._one(asked, resource, unquote(found[1]))
                if not found[2]:
                    for param in asked.params.keys() - {"expand"}:
                        raise unknown(param)
                    return self._shown(asked, one, expansions(asked.params.get("expand", [])))
                if name == "invoices":
                    return self._page(asked, one["lines"]["data"], LINES)
        raise Refusal(404, f"Unrecognized request URL (GET: {asked.path}).")

    def _thin_event(self, asked: Asked) -> Json:
        """API v2 insists on a version and knows no Stripe-Account. Its errors are named its way."""
        if not asked.version:
            raise Refusal(400, "Stripe-Version is required", code="invalid_request")
        for param in asked.params:
            raise unknown(param)
        event_id = unquote(asked.path.removeprefix(THIN_EVENTS))
        found = self._objects.get((asked.context, event_id))
        if found is None or found["object"] != "v2.core.event":
            raise Refusal(404, f"Event {event_id} not found", code="not_found")
        return found

    def _all(self, asked: Asked, resource: Resource) -> list[Json]:
        kept = list(self._objects.items())
        return [one for (account, _), one in kept if account == asked.whose and _of(one, resource)]

    def _one(self, asked: Asked, resource: Resource, object_id: str) -> Json:
        found = self._objects.get((asked.whose, object_id))
        if found is None or not _of(found, resource):
            message = f"No such {resource.kind}: '{object_id}'"
            raise Refusal(404, message, code="resource_missing", param="id")
        return found

    def _shown(self, asked: Asked, one: Json, expand: Expansions) -> Json:
        return shown(one, expand, lambda object_id: self._objects.get((asked.whose, object_id)))

    def _page(self, asked: Asked, rows: list[Json], resource: Resource) -> Json:
        found = page(rows, asked.params, resource)
        expand = expansions(asked.params.get("expand", []))
        for top in expand.keys() - {"data"}:
            raise Refusal(400, f"This property cannot be expanded ({top}).", param="expand")
        data = [self._shown(asked, row, expand.get("data", {})) for row in found["data"]]
        return {"object": "list", "url": asked.path, "has_more": found["has_more"], "data": data}


def _of(one: Json, resource: Resource) -> bool:
    return bool(one["object"] == resource.kind)


@contextmanager
def fake_stripe(key: str) -> Iterator[FakeStripe]:
    """A Stripe that accepts this key, at `.base`."""
    stripe = FakeStripe(key)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.serve("GET", urlsplit(self.path).query)

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"] or 0)
            self.serve("POST", self.rfile.read(length).decode())

        def serve(self, method: str, query: str) -> None:
            asked = Asked(
                method=method,
                path=urlsplit(self.path).path,
                params=nested(query),
                account=self.headers["Stripe-Account"] or "",
                context=self.headers["Stripe-Context"] or "",
                version=self.headers["Stripe-Version"],
            )
            status, headers, body = stripe.answer(asked, self.headers["Authorization"])
            sent = body if isinstance(body, bytes) else json.dumps(body).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(sent)))
                self.send_header("Request-Id", f"req_{len(stripe.requests)}")
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(sent)
            except ConnectionError:
                self.close_connection = True  # who asked did not wait for a hanging answer

        def log_message(self, *args: object) -> None:
            """Tests print what they assert."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        stripe.base = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield stripe
        finally:
            stripe.ended.set()
            server.shutdown()


def nested(query: str) -> Json:
    """`a[b]=1&c[]=2&d[0]=3` as {"a": {"b": "1"}, "c": ["2"], "d": ["3"]}."""
    root: Json = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        *parents, last = re.findall(r"[^\[\]]+|(?<=\[)(?=\])", key)
        at = root
        for name in parents:
            at = at.setdefault(name, {})
        at[last or str(len(at))] = value
    return {name: _arrays(value) for name, value in root.items()}


def _arrays(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if all(name.isdigit() for name in value):
        return [_arrays(one) for one in value.values()]
    return {name: _arrays(one) for name, one in value.items()}


def _not_accepted(authorization: str | None) -> str:
    if not authorization:
        return "You did not provide an API key."
    key = authorization.removeprefix("Bearer ")
    return f"Invalid API Key provided: {key[:8]}***{key[-4:]}"
