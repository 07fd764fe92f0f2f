"""The stand-in for Meta refuses and dedupes as Meta says it does."""

import json
import time
from decimal import Decimal
from typing import Any

import pytest

from tests.vendors.meta import ACCESS_TOKEN, PIXEL_ID, Meta

PATH = f"/v26.0/{PIXEL_ID}/events"


def event(**changes: Any) -> dict[str, Any]:
    return {
        "event_name": "Purchase",
        "event_time": int(time.time()) - 60,
        "event_id": "e1",
        "action_source": "system_generated",
        "user_data": {"fbp": "fb.1.1740830400000.1098115397"},
        "custom_data": {"value": 12.99, "currency": "USD"},
        **changes,
    }


def sent(meta: Meta, *events: Any, token: str = ACCESS_TOKEN, path: str = PATH) -> tuple[int, Any]:
    body = json.dumps({"access_token": token, "data": events}).encode()
    status, text = meta.answer(path, {}, body)
    return status, json.loads(text)


def test_the_same_name_and_id_count_once_and_are_received_all_the_same() -> None:
    meta = Meta()
    status, answer = sent(meta, event(), event(), event(event_id="e2"))
    sent(meta, event(event_name="Subscribe"))

    assert (status, answer["events_received"]) == (200, 3)
    assert (meta.counted(), meta.revenue()) == (3, {"usd": Decimal("38.97")})
    assert (meta.dropped, meta.degraded) == ([], [])


def test_after_48_hours_the_same_event_counts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    meta, now = Meta(), time.time()
    sent(meta, event())
    monkeypatch.setattr(time, "time", lambda: now + 48 * 3600 + 1)
    sent(meta, event())

    assert meta.counted() == 2


def test_a_website_event_without_page_or_browser_is_taken_and_noted() -> None:
    meta = Meta()
    sent(meta, event(action_source="website"))

    assert (meta.counted(), meta.degraded) == (1, ["event_source_url", "client_user_agent"])


BAD: list[dict[str, Any]] = [
    {"event_name": ""},
    {"event_time": 1740830400},
    {"event_time": str(int(time.time()))},
    {"event_time": int(time.time() * 1000)},
    {"action_source": "web"},
    {"event_source_url": "/pricing"},
    {"user_data": {}},
    {"user_data": {"client_user_agent": "curl"}},
    {"user_data": {"em": ["anna@example.com"]}},
    {"user_data": {"fbp": "1098115397"}},
    {"custom_data": {}},
    {"custom_data": {"value": -1, "currency": "USD"}},
    {"custom_data": {"value": 1}},
    {"unheard": 1},
]


@pytest.mark.parametrize("changes", BAD, ids=repr)
def test_one_bad_event_fails_the_whole_request(changes: dict[str, Any]) -> None:
    meta = Meta()
    status, answer = sent(meta, event(), event(event_id="e2", **changes))

    assert (status, answer["error"]["code"], meta.counted()) == (400, 100, 0)


def test_refusals_of_the_caller_have_codes_of_their_own() -> None:
    meta = Meta()
    token, path = sent(meta, event(), token="wrong"), sent(meta, event(), path="/v26.0/1/events")

    assert [(status, answer["error"]["code"]) for status, answer in (token, path)] == [
        (400, 190),
        (400, 100),
    ]
    assert path[1]["error"]["error_subcode"] == 33
    assert [sent(meta, *[event()] * size)[0] for size in (0, 1000, 1001)] == [400, 200, 400]
    assert meta.answer(PATH, {}, b"no JSON")[0] == 400
