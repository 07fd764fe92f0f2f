"""What is asked of Stripe's API, and what people read when it says no or nothing."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import stripe

from app import stripe_api
from app.stripe_api import EndpointInfo, StripeRefused, StripeUnavailable, webhook_endpoints

KEY = "rk_test_plantedPLANTED0123456789"
ENDPOINT = {
    "id": "we_1",
    "object": "webhook_endpoint",
    "api_version": "2026-10-28.endive",
    "enabled_events": ["invoice.paid", "charge.refunded"],
    "livemode": False,
    "status": "enabled",
    "url": "https://bridge.example.com/webhooks/stripe",
}
ANYTHING = ENDPOINT | {"api_version": None, "enabled_events": ["*"], "status": "disabled"}

Answer = Callable[[int], tuple[int, Any]]  # of the request's number, from 1


@contextmanager
def stripe_answering(answer: Answer) -> Iterator[tuple[str, list[str]]]:
    """A loopback stand-in that knows one path and one key; also the requests it was sent."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
            if self.headers["Authorization"] != f"Bearer {KEY}":
                status, body = 401, refusal(f"Invalid API Key: {self.headers['Authorization']}")
            elif path != "/v1/webhook_endpoints" or query != {"limit": ["100"]}:
                status, body = 404, refusal("Unrecognized request URL")
            else:
                status, body = answer(len(seen))
            sent = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()


def refusal(message: str) -> dict[str, Any]:
    return {"error": {"type": "invalid_request_error", "message": message}}


def page(*endpoints: object) -> dict[str, Any]:
    url = "/v1/webhook_endpoints"
    return {"object": "list", "url": url, "has_more": False, "data": list(endpoints)}


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's second try comes at once."""
    monkeypatch.setattr(stripe.RequestsClient, "_sleep_time_seconds", lambda *_: 0.0)


def test_endpoints_are_plain_values() -> None:
    with stripe_answering(lambda _: (200, page(ENDPOINT, ANYTHING))) as (base, _):
        first, second = webhook_endpoints(KEY, base)
    assert first == EndpointInfo(
        url="https://bridge.example.com/webhooks/stripe",
        status="enabled",
        api_version="2026-10-28.endive",
        enabled_events=("invoice.paid", "charge.refunded"),
        livemode=False,
    )
    assert (second.api_version, second.enabled_events, second.status) == (None, ("*",), "disabled")


def test_no_endpoints_is_an_answer() -> None:
    with stripe_answering(lambda _: (200, page())) as (base, _):
        assert webhook_endpoints(KEY, base) == []


def test_a_failure_is_tried_once_more() -> None:
    answers = {1: (500, refusal("busy")), 2: (200, page(ENDPOINT))}
    with stripe_answering(answers.__getitem__) as (base, seen):
        assert len(webhook_endpoints(KEY, base)) == 1
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (403, refusal(f"{KEY} has no permission"), StripeRefused, "read access to Webhook"),
        (400, refusal(KEY), StripeRefused, "refused the request (400)"),
        (404, refusal(KEY), StripeRefused, "refused the request (404)"),
        (429, refusal(KEY), StripeUnavailable, "429"),
        (500, refusal(KEY), StripeUnavailable, "is failing (500)"),
        (503, b"<h1>Maintenance</h1>", StripeUnavailable, "is failing (503)"),
        (200, b"<h1>Sign in to this network</h1>", StripeUnavailable, "is not Stripe's API"),
        (200, {"hello": "world"}, StripeUnavailable, "is not Stripe's API"),
        (200, [], StripeUnavailable, "is not Stripe's API"),
        (200, page({"id": "we_1"}), StripeUnavailable, "is not Stripe's API"),
        (200, page("we_1"), StripeUnavailable, "is not Stripe's API"),
    ],
)
def test_a_refusal_is_a_sentence_without_the_key(
    status: int, body: object, error: type[Exception], words: str
) -> None:
    with (
        stripe_answering(lambda _: (status, body)) as (base, _),
        pytest.raises(error) as raised,
    ):
        webhook_endpoints(KEY, base)
    assert words in str(raised.value)
    assert KEY not in str(raised.value) + repr(raised.value)
    assert raised.value.__suppress_context__


def test_a_wrong_key_is_refused_and_not_repeated() -> None:
    wrong = "sk_live_anotherPLANTED0123456789"
    with (
        stripe_answering(lambda _: (200, page())) as (base, seen),
        pytest.raises(StripeRefused, match="does not accept STRIPE_API_KEY") as raised,
    ):
        webhook_endpoints(wrong, base)
    assert wrong not in repr(raised.value)
    assert len(seen) == 1


def test_nobody_listening_is_out_of_reach() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    with pytest.raises(StripeUnavailable, match="cannot be reached"):
        webhook_endpoints(KEY, f"http://127.0.0.1:{free}")


def test_a_silent_peer_ends_at_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stripe_api, "READ_TIMEOUT", 0.1)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(StripeUnavailable, match="cannot be reached"),
    ):
        webhook_endpoints(KEY, f"http://127.0.0.1:{silent.getsockname()[1]}")


def test_the_key_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with stripe_answering(lambda _: (200, page(ENDPOINT))) as (base, _):
        webhook_endpoints(KEY, base)
    assert caplog.records
    assert KEY not in caplog.text
