"""The stand-in for Mixpanel refuses, joins and dedupes as Mixpanel says it does."""

import json
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from app.core.money import Money
from app.core.outcome import Delivered, Rejected
from app.destinations import build
from app.destinations.base import Destination, Payload, Response
from tests.destinations.example import DEDUPE_ID, an_event
from tests.vendors.mixpanel import GDPR_TOKEN, PROJECT_TOKEN, Mixpanel, configured

TOKEN = {
    "authorization": "Basic " + b64encode(f"{PROJECT_TOKEN}:".encode()).decode(),
    "content-type": "application/json",
}
GOOD = {"time": 1740830400, "distinct_id": "user_7", "$insert_id": "a-1"}


def imported(
    mixpanel: Mixpanel,
    *properties: object,
    path: str = "/import?strict=1",
    headers: Mapping[str, str] = TOKEN,
) -> tuple[int, Any]:
    events = [{"event": "payment_succeeded", "properties": each} for each in properties]
    status, text = mixpanel.answer(path, headers, json.dumps(events).encode())
    return status, json.loads(text)


def fields(mixpanel: Mixpanel, *events: object) -> list[tuple[int, str]]:
    """What it says of these events in strict mode: index and field of the failed."""
    _, text = mixpanel.answer("/import?strict=1", TOKEN, json.dumps(events).encode())
    return [(each["index"], each["field"]) for each in json.loads(text).get("failed_records", [])]


def test_the_same_four_are_one_event_and_the_last_of_them_stays() -> None:
    mixpanel = Mixpanel()
    first = GOOD | {"revenue": 12.99, "currency": "USD"}
    others = [first | {"time": 1740830401}, first | {"$insert_id": "a-2"}]
    imported(mixpanel, first, first | {"revenue": 2.99, "time": 1740830400000}, *others)

    assert (mixpanel.counted(), mixpanel.revenue()) == (3, {"usd": Decimal("28.97")})
    assert mixpanel.dropped == []


def test_a_good_request_is_answered_with_how_many_it_took() -> None:
    answer = {"code": 200, "num_records_imported": 1, "status": "OK"}

    assert imported(Mixpanel(), GOOD) == (200, answer)


BAD_IDS: Sequence[dict[str, Any]] = [{"distinct_id": "anonymous"}, {"distinct_id": 7}]
BAD: Sequence[tuple[str, dict[str, Any]]] = [
    *(("properties.distinct_id", each) for each in BAD_IDS),
    *(("properties.$insert_id", {"$insert_id": each}) for each in ("evt_1", "x" * 37, "", "null")),
    *(("properties.time", {"time": each}) for each in (0, "1740830400", 1740830400.5, None)),
    ("properties.time", {"time": int(time.time()) + 90_000}),
    ("properties", {str(index): 0 for index in range(252)}),
    ("properties", {"text": "x" * 1_000_000}),
    ("properties.items", {"items": [0] * 255}),
    ("properties.items", {"items": [{str(index): 0 for index in range(255)}]}),
]


@pytest.mark.parametrize(("field", "change"), BAD)
def test_a_bad_event_is_named_and_its_neighbour_is_taken(
    field: str, change: dict[str, Any]
) -> None:
    mixpanel = Mixpanel()
    status, answer = imported(mixpanel, GOOD | change, GOOD)

    assert (status, answer["num_records_imported"], mixpanel.counted()) == (400, 1, 1)
    assert [(each["index"], each["field"]) for each in answer["failed_records"]] == [(0, field)]


def test_an_event_is_a_name_and_properties_and_nothing_else() -> None:
    event = {"event": "a", "properties": GOOD}

    assert fields(Mixpanel(), 7, {"event": "a"}, event | {"time": 1}, event | {"event": ""}) == [
        (0, "event"),
        (1, "event"),
        (2, "event"),
        (3, "event"),
    ]


def test_what_is_not_asked_strictly_is_dropped_without_a_word() -> None:
    mixpanel = Mixpanel()
    status, answer = imported(mixpanel, GOOD | {"$insert_id": "evt_1"}, path="/import")

    assert (status, answer["num_records_imported"], mixpanel.counted()) == (200, 0, 0)
    assert mixpanel.dropped == [
        "properties.$insert_id: 'properties.$insert_id' is invalid: not allowed"
    ]


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, b"[]", 401),
        (TOKEN | {"authorization": "Basic OnRva2Vu"}, b"[]", 401),
        (TOKEN | {"content-type": "application/x-www-form-urlencoded"}, b"data=%5B%5D", 400),
        (TOKEN, b"[]", 400),
        (TOKEN, b"{}", 400),
        (TOKEN, b"[", 400),
        (TOKEN, b" " * 2_097_153, 413),
        (TOKEN, b"[" + b",".join([b"0"] * 2_001) + b"]", 413),
    ],
)
def test_a_request_that_will_not_do_is_refused(
    headers: dict[str, str], body: bytes, status: int
) -> None:
    assert Mixpanel().answer("/import?strict=1", headers, body)[0] == status
    assert Mixpanel().answer("/track", headers, body)[0] == 404


def bridge() -> Destination:
    built = build("mixpanel", configured("http://127.0.0.1:1"), allow_local_urls=True)
    assert isinstance(built, Destination)
    return built


def told(mixpanel: Mixpanel, *ids: Mapping[str, str], **changes: Any) -> list[object]:
    """What becomes of an event of each of these people, sent as the bridge sends it."""
    destination, batch = bridge(), []
    for number, each in enumerate(ids):
        name = UUID(int=DEDUPE_ID.int + number)
        body = destination.render(an_event(ids=each, **changes), name)
        assert isinstance(body, bytes)
        batch.append(Payload(name, body))
    request = destination.request(batch, now=0.0)
    headers = {name.lower(): value for name, value in request.headers.items()}
    path = request.url.removeprefix("http://127.0.0.1:1")
    return [*destination.judge(Response(*mixpanel.answer(path, headers, request.body)), batch)]


def test_what_the_bridge_sends_is_taken_counted_once_and_of_one_person() -> None:
    mixpanel = Mixpanel()
    both = {"user_id": "user_7", "device_id": "dev_7"}
    for _ in range(2):
        assert told(mixpanel, both, {"device_id": "dev_7"}) == [Delivered()] * 2
        assert told(mixpanel, both, revenue=Money(-299, "usd"), name="refund_created") == [
            Delivered()
        ]

    assert (mixpanel.counted(), mixpanel.revenue()) == (3, {"usd": Decimal("22.99")})
    assert (mixpanel.people(), mixpanel.dropped) == ({"user_7"}, [])


def test_a_row_that_mixpanel_refuses_is_a_dead_letter_and_its_neighbours_are_in() -> None:
    mixpanel = Mixpanel()
    destination = bridge()
    good = destination.render(an_event(), DEDUPE_ID)
    bad = destination.render(an_event(properties={"items": [0] * 255}), DEDUPE_ID)
    assert isinstance(good, bytes)
    assert isinstance(bad, bytes)
    batch = [Payload(DEDUPE_ID, body) for body in (good, bad)]
    request = destination.request(batch, now=0.0)
    headers = {name.lower(): value for name, value in request.headers.items()}
    answer = mixpanel.answer("/import?strict=1", headers, request.body)

    assert destination.judge(Response(*answer), batch) == [
        Delivered(),
        Rejected("400 'properties.items' is invalid: fewer than 255"),
    ]
    assert mixpanel.counted() == 1


def test_a_deletion_takes_the_persons_events_and_no_others() -> None:
    mixpanel = Mixpanel()
    told(mixpanel, {"user_id": "user_7"}, {"device_id": "dev_7"}, {"user_id": "user_8"})
    request = bridge().erasure({"user_id": ["user_7"], "device_id": ["dev_7"]}, now=0.0)
    assert request is not None
    headers = {name.lower(): value for name, value in request.headers.items()}
    path = request.url.removeprefix("http://127.0.0.1:1")
    status, text = mixpanel.answer(path, headers, request.body)

    assert (status, json.loads(text)["results"][0]["distinct_id_count"]) == (200, 2)
    assert mixpanel.people() == {"user_8"}


def test_a_deletion_without_its_token_deletes_nothing() -> None:
    mixpanel = Mixpanel()
    told(mixpanel, {"user_id": "user_7"})
    path = "/api/app/data-deletions/v3.0/"
    body = b'{"distinct_ids":["user_7"]}'
    bearer = {"authorization": f"Bearer {GDPR_TOKEN}"}

    assert mixpanel.answer(f"{path}?token={PROJECT_TOKEN}", TOKEN, body)[0] == 401
    assert mixpanel.answer(path, bearer, body)[0] == 401
    many = json.dumps({"distinct_ids": ["a"] * 2_000}).encode()
    assert mixpanel.answer(f"{path}?token={PROJECT_TOKEN}", bearer, many)[0] == 400
    assert mixpanel.counted() == 1
