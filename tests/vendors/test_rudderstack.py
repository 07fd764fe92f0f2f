"""The stand-in for RudderStack is as strict as its gateway; what the bridge tells it adds up."""

import json
from base64 import b64encode
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from app.core.money import Money
from app.core.outcome import Delivered, Outcome, Split, Suspended
from app.destinations import build
from app.destinations import rudderstack as page
from app.destinations.base import Payload, Response
from tests.destinations.example import an_event
from tests.vendors.rudderstack import WRITE_KEY, RudderStack, configured

CALL = {
    "type": "track",
    "messageId": "m_1",
    "anonymousId": "dev_7",
    "event": "payment_succeeded",
    "timestamp": "2025-03-01T12:00:00.000Z",
    "properties": {"revenue": 12.99, "currency": "USD"},
}


def basic(user: str) -> str:
    return f"Basic {b64encode(user.encode()).decode()}"


HEADERS = {"content-type": "application/json", "authorization": basic(f"{WRITE_KEY}:")}


def bridge() -> page.RudderStack:
    built = build("rudderstack", configured("http://127.0.0.1:1"), allow_local_urls=True)
    assert isinstance(built, page.RudderStack)
    return built


def payloads(destination: page.RudderStack) -> list[Payload]:
    payment = an_event()
    events = [payment, replace(payment, name="refund_created", revenue=Money(-300, "usd"))]
    bodies = [destination.render(one, UUID(int=n)) for n, one in enumerate(events)]
    return [Payload(UUID(int=n), b) for n, b in enumerate(bodies) if isinstance(b, bytes)]


def post(rudder: RudderStack, body: object, **headers: str) -> tuple[int, str]:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return rudder.answer("/v1/batch", HEADERS | headers, text)


def test_what_the_bridge_sends_is_counted_once_however_often_it_comes() -> None:
    rudder, destination = RudderStack(), bridge()
    batch = payloads(destination)
    for sent in (batch, batch[1:], batch):
        request = destination.request(sent, 0.0)
        headers = {name.lower(): value for name, value in request.headers.items()}
        status, text = rudder.answer("/v1/batch", headers, request.body)
        assert set(destination.judge(Response(status, text), sent)) == {Delivered()}

    assert (rudder.counted(), rudder.dropped, len(rudder.deduped)) == (2, [], 3)
    assert rudder.revenue() == {"usd": Decimal("9.99")}


@pytest.mark.parametrize(
    ("body", "answer", "outcome"),
    [
        (b"", (400, "Request body is nil\n"), Split),
        (b"{", (400, "Invalid JSON\n"), Split),
        ({"batch": [7]}, (400, "Event is not a valid rudder event\n"), Split),
        (
            {"batch": [CALL, CALL | {"anonymousId": " "}]},
            (400, "Request neither has anonymousId nor userId\n"),
            Split,
        ),
        (
            {"batch": [CALL | {"properties": {"note": "x" * 33_000}}]},
            (413, "Request size exceeds max limit\n"),
            Split,
        ),
    ],
)
def test_a_refusal_takes_nothing_of_the_batch_and_the_bridge_halves_it(
    body: object, answer: tuple[int, str], outcome: type[Outcome]
) -> None:
    rudder, batch = RudderStack(), payloads(bridge())
    status, text = post(rudder, body)

    assert (status, text) == answer
    assert {type(one) for one in bridge().judge(Response(status, text), batch)} == {outcome}
    assert (rudder.counted(), rudder.dropped) == (0, [])


@pytest.mark.parametrize(
    ("authorization", "said"),
    [
        ("", "Failed to read writeKey from header\n"),
        (basic(WRITE_KEY), "Failed to read writeKey from header\n"),
        (basic("other:"), "Invalid Write Key\n"),
    ],
)
def test_a_wrong_key_is_a_401_that_stops_the_bridge(authorization: str, said: str) -> None:
    rudder, batch = RudderStack(), payloads(bridge())
    status, text = post(rudder, {"batch": [CALL]}, authorization=authorization)

    assert (status, text) == (401, said)
    assert {type(one) for one in bridge().judge(Response(status, text), batch)} == {Suspended}


def test_a_disabled_source_stops_the_bridge() -> None:
    batch = payloads(bridge())
    status, text = post(RudderStack(disabled=True), {"batch": [CALL]})

    assert {type(one) for one in bridge().judge(Response(status, text), batch)} == {Suspended}


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"event": None}, "event"), ({"timestamp": "noon"}, "timestamp"), ({"type": "x"}, "type")],
)
def test_what_no_tool_can_use_is_dropped_behind_a_200(changes: dict[str, Any], why: str) -> None:
    rudder = RudderStack()

    assert post(rudder, {"batch": [CALL | changes]}) == (200, "OK")
    assert (rudder.counted(), rudder.dropped) == (0, [why])


def test_a_person_who_was_deleted_is_suppressed_from_then_on() -> None:
    rudder, destination = RudderStack(), bridge()
    request = destination.erasure({"user_id": ["user_7"]}, 0.0)
    assert request is not None
    assert request.url == "http://127.0.0.1:1/v2/regulations"
    headers = {name.lower(): value for name, value in request.headers.items()}

    assert rudder.answer("/v2/regulations", HEADERS, request.body)[0] == 401
    for wrong in (b"", b"{}", b"[]", request.body.replace(b"userId", b"email")):
        assert rudder.answer("/v2/regulations", headers, wrong)[0] == 400
    assert rudder.suppressed == set()
    assert rudder.answer("/v2/regulations", headers, request.body)[0] == 200
    assert post(rudder, {"batch": [CALL | {"userId": "user_7"}, CALL]}) == (200, "OK")
    assert (rudder.dropped, rudder.counted()) == (["suppressed"], 1)


def test_a_deletion_needs_destinations() -> None:
    rudder, destination = RudderStack(), bridge()
    request = replace(destination, destination_ids=("x",)).erasure({"user_id": ["u"]}, 0.0)
    assert request is not None
    headers = {name.lower(): value for name, value in request.headers.items()}

    for nowhere in (b'"destinationIds":[]', b'"other":[]'):
        body = request.body.replace(b'"destinationIds":["x"]', nowhere)
        assert rudder.answer("/v2/regulations", headers, body)[0] == 400
    assert rudder.suppressed == set()


def test_no_other_path_is_there() -> None:
    assert RudderStack().answer("/", HEADERS, b"{}")[0] == 404
