"""The stand-in for Segment is as strict as Segment: it refuses, drops in silence and dedupes; and
what the bridge tells it adds up."""

import json
from base64 import b64encode
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from app.core.money import Money
from app.core.outcome import Delivered, Split
from app.destinations import build
from app.destinations import segment as page
from app.destinations.base import Payload, Response
from tests.destinations.example import an_event
from tests.vendors.segment import API_TOKEN, WRITE_KEY, Segment, configured

CALL = {
    "type": "track",
    "messageId": "m_1",
    "userId": "user_7",
    "event": "payment_succeeded",
    "timestamp": "2025-03-01T12:00:00.000Z",
    "properties": {"revenue": 12.99, "currency": "USD"},
}
AUTHORIZED = f"Basic {b64encode(f'{WRITE_KEY}:'.encode()).decode()}"
HEADERS = {"content-type": "application/json", "authorization": AUTHORIZED}


def post(segment: Segment, body: object, **headers: str) -> tuple[int, str]:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return segment.answer("/v1/batch", HEADERS | headers, text)


def bridge(orders: str = "off") -> page.Segment:
    options = configured("http://127.0.0.1:1") | {"orders": orders}
    built = build("segment", options, allow_local_urls=True)
    assert isinstance(built, page.Segment)
    return built


def payloads(destination: page.Segment) -> list[Payload]:
    """A payment, a refund of a part, a payment in yen, and an event without money."""
    payment, items = an_event(), {"items": [{"product_id": "prod_pro", "amount": 12.99}]}
    events = [
        replace(payment, properties=items),
        replace(payment, name="refund_created", revenue=Money(-300, "usd")),
        replace(payment, revenue=Money(1200, "jpy")),
        replace(payment, name="trial_started", revenue=None),
    ]
    bodies = [destination.render(one, UUID(int=n)) for n, one in enumerate(events)]
    return [Payload(UUID(int=n), b) for n, b in enumerate(bodies) if isinstance(b, bytes)]


@pytest.mark.parametrize("orders", ["off", "on"])
def test_what_the_bridge_sends_is_counted_once_however_often_it_comes(orders: str) -> None:
    segment, destination = Segment(), bridge(orders)
    batch = payloads(destination)
    for sent in (batch, batch[1:3], batch):
        request = destination.request(sent, 0.0)
        headers = {name.lower(): value for name, value in request.headers.items()}
        status, text = segment.answer("/v1/batch", headers, request.body)
        assert set(destination.judge(Response(status, text), sent)) == {Delivered()}

    assert (segment.counted(), segment.dropped, len(segment.deduped)) == (4, [], 6)
    assert segment.revenue() == {"usd": Decimal("9.99"), "jpy": Decimal(1200)}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"userId": None}, "userId or anonymousId"),
        ({"userId": " "}, "userId or anonymousId"),
        ({"event": ""}, "event"),
        ({"type": None}, "type"),
        ({"messageId": "m" * 100}, "messageId"),
        ({"timestamp": "2025-03-01 noon"}, "timestamp"),
        ({"timestamp": "2025-03-01T12:00:00"}, "timestamp"),
        ({"properties": {"note": "x" * 33_000}}, "32 KB"),
    ],
)
def test_a_bad_event_is_dropped_behind_a_200(changes: dict[str, Any], why: str) -> None:
    segment = Segment()

    assert post(segment, {"batch": [CALL | changes, CALL]}) == (200, '{"success":true}')
    assert (segment.dropped, segment.counted()) == ([why], 1)


def test_a_wrong_key_and_too_many_events_are_dropped_behind_a_200() -> None:
    segment = Segment()
    without_colon = f"Basic {b64encode(WRITE_KEY.encode()).decode()}"
    for wrong in ("", "Bearer x", "Basic %%", without_colon):
        assert post(segment, {"batch": [CALL]}, authorization=wrong)[0] == 200
    small = {"type": "track"}
    assert post(segment, {"batch": [small] * 2_501})[0] == 200

    assert segment.counted() == 0
    assert (
        segment.dropped == ["no source has this write key"] * 4 + ["more than 2,500 events"] * 2_501
    )


def test_a_key_in_the_body_is_as_good() -> None:
    segment = Segment()

    assert post(segment, {"batch": [CALL], "writeKey": WRITE_KEY}, authorization="")[0] == 200
    assert (segment.counted(), segment.dropped) == (1, [])


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"batch":{}}', b"\xff", b" " * 500_001])
def test_broken_json_and_a_batch_too_large_are_a_400_that_the_bridge_halves(body: bytes) -> None:
    segment, batch = Segment(), payloads(bridge())
    status, text = post(segment, body)
    outcomes = bridge().judge(Response(status, text), batch)

    assert status == 400
    assert {type(outcome) for outcome in outcomes} == {Split}
    assert (segment.counted(), segment.dropped) == (0, [])


def test_the_bridges_fullest_batch_is_not_too_large() -> None:
    segment, destination = Segment(), bridge()
    body = destination.render(an_event(properties={"note": "x" * 31_000}), UUID(int=1))
    assert isinstance(body, bytes)
    fits = destination.MAX_BYTES // (len(body) + 1)
    request = destination.request([Payload(UUID(int=1), body)] * fits, 0.0)

    assert len(request.body) > 450_000
    assert post(segment, request.body)[0] == 200


def test_a_regulation_takes_the_bridges_request_and_no_other() -> None:
    segment, destination = Segment(), bridge()
    request = destination.erasure({"user_id": ["user_7"]}, 0.0)
    assert request is not None
    assert request.url == "http://127.0.0.1:1/regulations"
    headers = {name.lower(): value for name, value in request.headers.items()}
    bearer = {"authorization": f"Bearer {API_TOKEN}"}

    assert segment.answer("/regulations", headers, request.body)[0] == 200
    assert segment.answer("/regulations", HEADERS, request.body)[0] == 401
    for wrong in (b"", b"{}", request.body.replace(b"USER_ID", b"ANONYMOUS_ID"), b"[]"):
        assert segment.answer("/regulations", bearer, wrong)[0] == 422
    assert segment.regulated == ["user_7"]


def test_no_other_path_is_there() -> None:
    assert Segment().answer("/v1/track", HEADERS, b"{}")[0] == 404
