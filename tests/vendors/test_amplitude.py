"""Amplitude's stand-in refuses what Amplitude refuses and counts what it counts."""

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pytest

from app.core.analytics import AnalyticsEvent
from app.core.money import Money
from app.core.outcome import Again, Delivered, Outcome, Rejected
from app.destinations import build
from app.destinations.amplitude import Amplitude
from app.destinations.base import Payload, Request, Response
from tests.destinations.example import an_event
from tests.vendors.amplitude import API_KEY, SECRET_KEY, AmplitudeServer, configured

URL = "http://127.0.0.1:9"
PURCHASE = an_event()
REFUND = replace(an_event(revenue=Money(-500, "usd")), key="refund:re_1")


@pytest.fixture
def amplitude() -> AmplitudeServer:
    return AmplitudeServer()


def bridge() -> Amplitude:
    built = build("amplitude", configured(URL), allow_local_urls=True)
    assert isinstance(built, Amplitude)
    return built


def payload(event: AnalyticsEvent) -> Payload:
    body = bridge().render(event, event.id)
    assert isinstance(body, bytes)
    return Payload(event.id, body)


def sent(server: AmplitudeServer, request: Request) -> Response:
    headers = {name.lower(): value for name, value in request.headers.items()}
    status, text = server.answer(request.url.removeprefix(URL), headers, request.body)
    return Response(status, text)


def told(server: AmplitudeServer, *batch: Payload) -> list[Outcome]:
    return list(bridge().judge(sent(server, bridge().request(batch, now=0.0)), batch))


def posted(server: AmplitudeServer, body: object, path: str = "/2/httpapi") -> tuple[int, Any]:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, said = server.answer(path, {"content-type": "application/json"}, text)
    return status, json.loads(said)


def test_what_the_bridge_sends_is_taken_and_counted_once(amplitude: AmplitudeServer) -> None:
    batch = [payload(PURCHASE), payload(REFUND)]

    assert told(amplitude, *batch) == told(amplitude, *batch) == [Delivered()] * 2
    assert (amplitude.counted(), amplitude.revenue()) == (2, {"usd": Decimal("7.99")})
    assert amplitude.dropped == []


def test_the_same_id_on_another_device_is_another_event(amplitude: AmplitudeServer) -> None:
    body = orjson.loads(payload(PURCHASE).body)
    for device in ("dev_7", "dev_8"):
        told(amplitude, Payload(PURCHASE.id, orjson.dumps({**body, "device_id": device})))

    assert amplitude.counted() == 2


def test_one_bad_event_refuses_all_and_is_named(amplitude: AmplitudeServer) -> None:
    bad = Payload(UUID(int=1), payload(PURCHASE).body.replace(b'"USD"', b'"dollars"'))
    [first, second] = told(amplitude, bad, payload(REFUND))

    assert first == Rejected("400 invalid currency")
    assert isinstance(second, Again)
    assert amplitude.counted() == 0


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "Missing request body"),
        (b"{", "Invalid JSON request body"),
        ({"events": [{}]}, "Request missing required field"),
        ({"api_key": "another", "events": [{}]}, "Invalid API key: anothe..."),
        ({"api_key": API_KEY, "events": []}, "Request missing required field"),
        ({"api_key": API_KEY, "events": [{"event_type": "x"}]}, "Request missing required field"),
        (
            {"api_key": API_KEY, "events": [{"event_type": "x", "user_id": "unknown"}]},
            "Invalid field values on some events",
        ),
        (
            {"api_key": API_KEY, "events": [{"event_type": "[Amplitude] x", "user_id": "u1234"}]},
            "Invalid field values on some events",
        ),
        (
            {"api_key": API_KEY, "events": [{"event_type": "x", "user_id": "1234"}]},
            "Invalid id length for user_id or device_id",
        ),
    ],
)
def test_what_amplitude_refuses_is_refused(
    amplitude: AmplitudeServer, body: object, error: str
) -> None:
    status, said = posted(amplitude, body)

    assert (status, said["error"]) == (400, error)
    assert posted(amplitude, body, "/batch") == (status, said)


def test_another_path_is_none(amplitude: AmplitudeServer) -> None:
    assert posted(amplitude, {}, "/httpapi")[0] == 404


def test_the_properties_of_a_user_are_the_last_that_were_told(amplitude: AmplitudeServer) -> None:
    pro, free = (replace(PURCHASE, profile={"plan": plan}) for plan in ("pro", "free"))
    old = replace(REFUND, profile={"plan": "trial"}, historical=True)
    told(amplitude, *map(payload, (pro, free, old)))

    assert amplitude.users == {"user_7": {"plan": "free"}}


def test_a_deleted_user_is_gone_and_a_stranger_is_no_hindrance(amplitude: AmplitudeServer) -> None:
    told(amplitude, payload(PURCHASE))
    request = bridge().erasure({"user_id": ["user_7", "stranger"]}, now=0.0)

    assert request is not None
    assert sent(amplitude, request).status == 200
    assert (amplitude.counted(), amplitude.users) == (0, {})


def test_a_deletion_needs_both_keys_and_users_that_are_there(amplitude: AmplitudeServer) -> None:
    def asked(secret: str, body: Mapping[str, Any]) -> int:
        account = b64encode(f"{API_KEY}:{secret}".encode()).decode()
        headers = {"authorization": f"Basic {account}"}
        text = json.dumps(body).encode()
        return amplitude.answer("/api/2/deletions/users", headers, text)[0]

    assert asked("another", {"user_ids": ["user_7"]}) == 401
    assert asked(SECRET_KEY, {"user_ids": ["stranger"]}) == 400
    assert asked(SECRET_KEY, {"user_ids": [str(n) for n in range(101)]}) == 400
