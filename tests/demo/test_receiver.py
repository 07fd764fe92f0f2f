import http.client
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from standardwebhooks import Webhook

from app.demo.receiver import AMPLITUDE_KEY, WEBHOOK_SECRET, Misbehaviour, Post, Receiver, receiver

Answer = tuple[int, dict[str, Any]]


@pytest.fixture
def tools() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


def an_event(**changes: Any) -> dict[str, Any]:
    event = {
        "event_type": "payment_succeeded",
        "user_id": "user_1",
        "device_id": "device-1",
        "time": 1_790_000_000_000,
        "insert_id": "8a6e0804-2bd0-5672-b79d-d97027f9071a",
        "revenue": 12.99,
        "currency": "USD",
    } | changes
    return {name: value for name, value in event.items() if value is not None}


def post(tools: Receiver, path: str, body: bytes, headers: dict[str, str] | None = None) -> Answer:
    connection = http.client.HTTPConnection(tools.base_url.removeprefix("http://"), timeout=10)
    connection.request("POST", path, body, headers or {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = response.status, json.loads(response.read() or b"{}")
    connection.close()
    return answer


def to_amplitude(tools: Receiver, *events: dict[str, Any], key: str = AMPLITUDE_KEY) -> Answer:
    request = {"api_key": key, "events": list(events)}
    return post(tools, "/2/httpapi", json.dumps(request).encode())


def to_webhook(
    tools: Receiver, webhook_id: str, body: bytes, secret: str = WEBHOOK_SECRET
) -> Answer:
    now = datetime.now(UTC)
    headers = {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(webhook_id, now, body.decode()),
    }
    return post(tools, "/webhook", body, headers)


def a_webhook(**data: Any) -> bytes:
    event = {"type": "payment_succeeded", "timestamp": "2026-09-21T14:13:20Z", "data": data}
    return json.dumps(event).encode()


def test_amplitude_takes_events_and_adds_up_exactly(tools: Receiver) -> None:
    status, answer = to_amplitude(
        tools,
        an_event(revenue=0.1),
        an_event(insert_id="2", revenue=0.2, session_id=1_789_999_000_000),
        an_event(insert_id="3", revenue=-1400, currency="JPY", event_type="refund_created"),
        an_event(insert_id="4", revenue=None, event_type="trial_started", session_id=-1),
    )
    totals = tools.snapshot().amplitude

    assert (status, answer["code"], answer["events_ingested"]) == (200, 200, 4)
    assert totals.revenue == {"usd": Decimal("0.3"), "jpy": Decimal(-1400)}
    assert totals.revenue_minor == {"jpy": -1400, "usd": 30}
    assert totals.counts == {"payment_succeeded": 2, "refund_created": 1, "trial_started": 1}
    assert (totals.requests, totals.events, totals.distinct, totals.with_session) == (1, 4, 4, 1)
    assert totals.defects == {}


def test_amplitude_counts_an_insert_id_once_per_device(tools: Receiver) -> None:
    to_amplitude(tools, an_event(), an_event())
    to_amplitude(tools, an_event())
    to_amplitude(tools, an_event(device_id="device-2"))
    totals = tools.snapshot().amplitude

    assert (totals.distinct, totals.duplicates) == (2, 2)
    assert totals.revenue == {"usd": Decimal("25.98")}
    assert totals.defects == {"same id, other bytes": 1}


def test_amplitude_forgets_an_insert_id_after_a_week() -> None:
    now = [1_790_000_000.0]
    with receiver(clock=lambda: now[0]) as tools:
        to_amplitude(tools, an_event())
        now[0] += 7 * 86_400
        to_amplitude(tools, an_event())
        now[0] += 1
        to_amplitude(tools, an_event())

        assert tools.snapshot().amplitude.distinct == 2


@pytest.mark.parametrize(
    ("event", "named"),
    [
        (an_event(event_type=None), {"events_with_missing_fields": {"event_type": [1]}}),
        (
            an_event(user_id=None, device_id=None),
            {"events_with_missing_fields": {"user_id": [1], "device_id": [1]}},
        ),
        (an_event(time=1_790_000_000), {"events_with_invalid_fields": {"time": [1]}}),
        (an_event(time=1.79e12 + 0.5), {"events_with_invalid_fields": {"time": [1]}}),
        (an_event(user_id="anonymous"), {"events_with_invalid_fields": {"user_id": [1]}}),
        (an_event(user_id=12345), {"events_with_invalid_fields": {"user_id": [1]}}),
        (an_event(revenue="12.99"), {"events_with_invalid_fields": {"revenue": [1]}}),
        (an_event(currency="usd"), {"events_with_invalid_fields": {"currency": [1]}}),
        (an_event(session_id="17"), {"events_with_invalid_fields": {"session_id": [1]}}),
        (
            an_event(event_type="[Amplitude] Revenue"),
            {"events_with_invalid_fields": {"event_type": [1]}},
        ),
        (an_event(user_id="u1"), {"events_with_invalid_id_lengths": {"user_id": [1]}}),
    ],
)
def test_amplitude_refuses_a_batch_for_one_bad_event(
    tools: Receiver, event: dict[str, Any], named: dict[str, Any]
) -> None:
    status, answer = to_amplitude(tools, an_event(insert_id="good"), event)

    assert status == answer["code"] == 400
    assert answer.items() >= named.items()
    assert (tools.snapshot().amplitude.events, tools.snapshot().amplitude.refused) == (0, 1)


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b"", {"code": 400, "error": "Missing request body"}),
        (b"{", {"code": 400, "error": "Invalid JSON request body"}),
        (
            b'{"events":[{}]}',
            {
                "code": 400,
                "error": "Request missing required field",
                "missing_field": "api_key",
            },
        ),
        (b'{"api_key":"wrong","events":[{}]}', {"code": 400, "error": "Invalid API key: wrong..."}),
    ],
)
def test_amplitude_refuses_a_bad_request(
    tools: Receiver, body: bytes, answer: dict[str, Any]
) -> None:
    assert post(tools, "/2/httpapi", body) == (400, answer)


def test_amplitude_has_limits(tools: Receiver) -> None:
    assert to_amplitude(tools, *[an_event()] * 2_001)[0] == 413
    assert to_amplitude(tools, an_event(event_properties={"long": "x" * 1_000_000}))[0] == 413
    assert tools.snapshot().amplitude.distinct == 0


def test_a_webhook_is_verified_and_counted_once(tools: Receiver) -> None:
    body = a_webhook(revenue={"major": "19.00", "minor": 1900, "currency": "eur"}, session_id="s")

    assert to_webhook(tools, "id-1", body)[0] == 200
    assert to_webhook(tools, "id-1", body)[0] == 200
    assert to_webhook(tools, "id-2", body, secret="whsec_" + "YWJj" * 8)[0] == 401
    assert to_webhook(tools, "id-3", b"{}")[0] == 400
    totals = tools.snapshot().webhook
    assert (totals.requests, totals.refused, totals.distinct, totals.duplicates) == (4, 2, 1, 1)
    assert totals.revenue == {"eur": Decimal("19.00")}
    assert (totals.with_session, totals.defects) == (1, {})


def test_defects_are_noticed(tools: Receiver) -> None:
    to_webhook(tools, "id-1", a_webhook(properties={"who": "jane@example.com"}))
    to_webhook(tools, "id-1", a_webhook())
    to_amplitude(tools, an_event(insert_id=None, revenue=1.005))

    assert tools.snapshot().webhook.defects == {"e-mail address": 1, "same id, other bytes": 1}
    assert tools.snapshot().amplitude.defects == {
        "no id to dedupe by": 1,
        "revenue finer than its currency": 1,
    }


def test_a_script_answers_instead(tools: Receiver) -> None:
    misbehaviours = {
        1: Misbehaviour(status=503, headers={"Retry-After": "2"}, effect=False),
        2: Misbehaviour(drop=True),
        3: Misbehaviour(delay=0.05),
    }

    def script(request: Post) -> Misbehaviour | None:
        return misbehaviours.get(request.number)

    tools.script = script
    assert to_amplitude(tools, an_event())[0] == 503
    assert tools.snapshot().amplitude.distinct == 0
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        to_amplitude(tools, an_event())
    assert tools.snapshot().amplitude.distinct == 1
    started = time.monotonic()
    assert to_amplitude(tools, an_event())[0] == 200
    assert time.monotonic() - started >= 0.05
    assert tools.snapshot().amplitude.duplicates == 1


def test_many_threads_lose_nothing(tools: Receiver) -> None:
    def send(number: int) -> int:
        return to_amplitude(tools, an_event(insert_id=f"id-{number}", revenue=0.01))[0]

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(send, range(200))) == {200}
    assert tools.snapshot().amplitude.revenue_minor == {"usd": 200}


def test_connections_are_kept_alive_until_the_tools_are_gone() -> None:
    body = json.dumps({"api_key": AMPLITUDE_KEY, "events": [an_event()]}).encode()
    with receiver() as tools:
        connection = http.client.HTTPConnection(tools.base_url.removeprefix("http://"), timeout=10)
        for _ in range(3):
            connection.request("POST", "/2/httpapi", body)
            assert connection.getresponse().read()
            assert connection.sock is not None
        assert post(tools, "/elsewhere", b"{}")[0] == 404
    connection.sock.settimeout(1)
    assert connection.sock.recv(1) == b""
