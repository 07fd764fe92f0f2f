"""Asking Stripe's API: the only module of `app/` that calls the `stripe` library.

What it returns is plain values, and what it raises is a sentence for people, without the key.
"""

import json
import math
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard
from urllib.parse import quote

import stripe

stripe.enable_telemetry = False  # it would keep an id in the home folder and send our platform
CONNECT_TIMEOUT, READ_TIMEOUT = 3.05, 8.0  # seconds, of each of the two tries
IN_CURRENCIES = ("currency_options", "currency_options.tiers")
NO_ACCESS = "account_invalid"  # Stripe's code: https://docs.stripe.com/error-codes
UNREACHABLE: dict[type[BaseException], str] = {
    ConnectionRefusedError: "connection refused",
    ConnectionError: "the connection broke",
    socket.gaierror: "its name is not known",
    ssl.SSLError: "its certificate is not accepted",
    TimeoutError: "no answer in time",
}
PAGE = 100  # the most that Stripe gives; webhook endpoints, 16 an account, are one page
# What the library trips over where other JSON answers, or bytes that are no text.
NOT_STRIPES_JSON = (AttributeError, KeyError, TypeError, UnicodeDecodeError)
# No segment may be "." or "..", also escaped: on the way they are taken for a step up.
_SEGMENT = r"(?!(?:\.|%2[Ee])+(?:/|\Z))(?:[\w.~-]|%[0-9A-Fa-f]{2})+"
_PLAIN_PATH = re.compile(rf"/v[12](?:/{_SEGMENT})+", re.ASCII)


class StripeUnavailable(Exception):
    """No usable answer: out of reach, overloaded, or not Stripe at all. Later may be better.

    `retry_after` is how many seconds Stripe asked us to wait, where it did.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StripeRefused(Exception):
    """Stripe answered no, and will again until someone changes the key or its permissions.

    `status` is the HTTP status, where there was an answer.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class StripeMissing(Exception):
    """Stripe knows no such object in this account and mode, or no longer."""


def livemode_of(api_key: str) -> bool:
    """Which mode a key answers for: its prefix says so."""
    return "_live_" in api_key[:8]


def is_path(url: str) -> bool:
    """Whether this is a plain path of Stripe's API, and nothing that leads elsewhere."""
    return _PLAIN_PATH.fullmatch(url) is not None


class StripeApi:
    """Reads of Stripe's API. May be shared by threads.

    Answers are Stripe's JSON in the library's pinned version, as plain dicts. `account` is a
    connected account's id, "" our own. Every read raises StripeUnavailable, StripeRefused or
    StripeMissing.
    """

    def __init__(self, api_key: str, api_base: str) -> None:
        self._base = api_base
        self._client = _client(api_key, api_base)

    def __repr__(self) -> str:
        return f"StripeApi(api_base={self._base!r})"

    def get(
        self, path: str, *, account: str = "", context: str = "", **params: Any
    ) -> dict[str, Any]:
        """One GET. `context` is a thin event's: Stripe's API v2 takes no account header."""
        if not is_path(path):
            raise StripeRefused(f"Not a path of Stripe's API, so not asked for: {path!r}.")
        found = self._answer(path, account, context, params)
        if isinstance(found, Exception):
            raise found  # here, where no chain and no frame has the answer: it may echo the key
        return found

    def _answer(
        self, path: str, account: str, context: str, params: Mapping[str, Any]
    ) -> dict[str, Any] | StripeUnavailable | StripeRefused | StripeMissing:
        try:
            answer = self._client.raw_request(
                "get",
                path,
                stripe_account=account or None,
                stripe_context=context or None,
                **params,
            )
        except stripe.StripeError as error:
            wanted = f"{path} of {account or context}" if account or context else path
            return _told_of(error, self._base, wanted)
        except NOT_STRIPES_JSON:
            return StripeUnavailable(_not_stripe(self._base))
        found = json.loads(answer.body)
        return found if isinstance(found, dict) else StripeUnavailable(_not_stripe(self._base))

    def pages(
        self, path: str, *, account: str = "", context: str = "", **params: Any
    ) -> Iterator[dict[str, Any]]:
        """Every object of a list of API v1, in Stripe's order: newest first, but for lines."""
        after: str | None = None
        more = True
        while more:
            rows, more = self.page(path, account=account, context=context, after=after, **params)
            yield from rows
            after = rows[-1]["id"] if rows else None

    def page(
        self,
        path: str,
        *,
        account: str = "",
        context: str = "",
        after: str | None = None,
        **params: Any,
    ) -> tuple[list[dict[str, Any]], bool]:
        """(the objects of a list that follow the one with the id `after`, whether more follow)."""
        cursor = {"starting_after": after} if after else {}
        page = self.get(path, account=account, context=context, limit=PAGE, **params, **cursor)
        rows, more = page.get("data"), page.get("has_more") is True
        if not _objects(rows) or (more and not rows):
            raise StripeUnavailable(_not_stripe(self._base))
        return rows, more

    def event(self, event_id: str, account: str = "") -> dict[str, Any]:
        """A snapshot event of the last 30 days. Its `data` stays in the version of its creation."""
        return self.get(_at("events", event_id), account=account)

    def thin_event(self, event_id: str, context: str = "") -> dict[str, Any]:
        """A thin event of the last 30 days, whole: what is pushed lacks `changes`."""
        return self.get(f"/v2/core/events/{_segment(event_id)}", context=context)

    def related(self, url: str, account: str = "", context: str = "") -> dict[str, Any]:
        """What a thin event's `related_object.url` names, as it is now.

        The url comes from outside: `get` refuses all but a plain path, so that the key goes to
        Stripe and the question is a read of one thing.
        """
        return self.get(url, account=account, context=context)

    def price(self, price_id: str, account: str = "") -> dict[str, Any]:
        return self.get(_at("prices", price_id), account=account, expand=["tiers", *IN_CURRENCIES])

    def coupon(self, coupon_id: str, account: str = "") -> dict[str, Any]:
        return self.get(
            _at("coupons", coupon_id), account=account, expand=["applies_to", IN_CURRENCIES[0]]
        )

    def subscription(self, subscription_id: str, account: str = "") -> dict[str, Any]:
        path = _at("subscriptions", subscription_id)
        return self.get(path, account=account, expand=["discounts", "items.data.discounts"])

    def invoice_payments_of(self, payment_intent: str, account: str = "") -> list[dict[str, Any]]:
        """The links from this payment intent to invoices; none if it pays no invoice."""
        payment = {"type": "payment_intent", "payment_intent": payment_intent}
        return list(self.pages("/v1/invoice_payments", account=account, payment=payment))

    def sessions_of(self, payment_intent: str, account: str = "") -> list[dict[str, Any]]:
        """The Checkout Session that made this payment intent, if one did."""
        path = "/v1/checkout/sessions"
        return list(self.pages(path, account=account, payment_intent=payment_intent))


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointInfo:
    """A webhook endpoint as Stripe knows it. `api_version` None: the account's default."""

    url: str
    status: str
    api_version: str | None
    enabled_events: tuple[str, ...]
    livemode: bool


def webhook_endpoints(api_key: str, api_base: str) -> list[EndpointInfo]:
    """The account's webhook endpoints. Raises StripeUnavailable or StripeRefused."""
    try:
        answer = _client(api_key, api_base).v1.webhook_endpoints.list({"limit": PAGE}).to_dict()
        return [_endpoint(each) for each in answer["data"]]
    except stripe.StripeError as error:
        # From None: an answer may echo the key, and a traceback would show it.
        raise _told(error, api_base, "Webhook Endpoints") from None
    except NOT_STRIPES_JSON:
        raise StripeUnavailable(_not_stripe(api_base)) from None


def _client(api_key: str, api_base: str) -> stripe.StripeClient:
    return stripe.StripeClient(
        api_key,
        base_addresses={"api": api_base},
        max_network_retries=1,
        http_client=stripe.RequestsClient(timeout=(CONNECT_TIMEOUT, READ_TIMEOUT)),
    )


def _endpoint(answer: Mapping[str, Any]) -> EndpointInfo:
    return EndpointInfo(
        url=answer["url"],
        status=answer["status"],
        api_version=answer["api_version"],
        enabled_events=tuple(answer["enabled_events"]),
        livemode=answer["livemode"],
    )


def _at(collection: str, object_id: str) -> str:
    return f"/v1/{collection}/{_segment(object_id)}"


def _segment(object_id: str) -> str:
    """An id in a path. Merchants choose those of coupons and old plans, so it may hold anything."""
    return quote(object_id, safe="")


def _objects(rows: object) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(rows, list) and all(isinstance(row, dict) and "id" in row for row in rows)


def _told_of(
    error: stripe.StripeError, api_base: str, wanted: str
) -> StripeUnavailable | StripeRefused | StripeMissing:
    """As `_told`, of one object. An address that is not Stripe's answers 404 without a code."""
    if error.http_status == 404 and error.code:
        return StripeMissing(f"Stripe has no {wanted} for this key (404).")
    if error.http_status == 403 and _code(error) == NO_ACCESS:
        return StripeRefused(
            f"Stripe does not know the account of {wanted}, or STRIPE_API_KEY has no access to it"
            " (403).",
            403,
        )
    return _told(error, api_base, wanted)


def _told(
    error: stripe.StripeError, api_base: str, wanted: str
) -> StripeUnavailable | StripeRefused:
    match error.http_status:
        case None:
            why = _out_of_reach(error)
            return StripeUnavailable(f"Stripe's API at {api_base} cannot be reached ({why}).")
        case 401:
            return StripeRefused(
                "Stripe does not accept STRIPE_API_KEY (401): it is wrong, expired or revoked.", 401
            )
        case 403:
            return StripeRefused(
                "STRIPE_API_KEY lacks a permission (403): a restricted key needs read access to"
                f" {wanted}.",
                403,
            )
        case 429:
            return StripeUnavailable(
                "Stripe's API is limiting our requests (429).", _retry_after(error)
            )
        case status if status < 400:
            return StripeUnavailable(_not_stripe(api_base))
        case status if status >= 500:
            return StripeUnavailable(f"Stripe's API at {api_base} is failing ({status}).")
        case status:
            return StripeRefused(
                f"Stripe's API at {api_base} refused the request ({status}).", status
            )


def _code(error: stripe.StripeError) -> object:
    """Stripe's code for what went wrong; the library leaves it out where permission lacks."""
    body = error.json_body if isinstance(error.json_body, dict) else {}
    said = body.get("error")
    return said.get("code") if isinstance(said, dict) else None


def _out_of_reach(error: BaseException) -> str:
    """Why, by the kinds of what caused it: its words may hold anything."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    for kind, words in UNREACHABLE.items():
        if any(isinstance(one, kind) for one in causes):
            return words
    if any("Timeout" in type(one).__name__ for one in causes):  # requests' and urllib3's own
        return UNREACHABLE[TimeoutError]
    return "no connection"


def _retry_after(error: stripe.StripeError) -> float | None:
    """Seconds of the Retry-After header; a date there is left to the caller's own backoff."""
    try:
        seconds = float((error.headers or {}).get("Retry-After", ""))
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _not_stripe(api_base: str) -> str:
    return f"What answers at {api_base} is not Stripe's API; see STRIPE_API_BASE."
