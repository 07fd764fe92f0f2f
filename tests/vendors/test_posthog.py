"""The stand-in for PostHog refuses, drops and dedupes as PostHog does."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid5

import pytest

from app.core.analytics import AnalyticsEvent, Identity
from app.core.money import Money
from app.core.outcome import Delivered, Outcome, Suspended
from app.destinations import build
from app.destinations.base import Destination, Payload, Request, Response
from tests.destinations.example import DEDUPE_ID, an_event
from tests.vendors.posthog import API_KEY, PERSONAL_KEY, PostHog, configured

OK = (200, '{"status":"Ok"}')
GOOD: dict[str, Any] = {
    "uuid": "00000000-0000-5000-8000-000000000001",
    "event": "payment_succeeded",
    "distinct_id": "user_7",
    "timestamp": "2025-03-01T12:00:00.000Z",
    "properties": {"revenue": 12.99, "currency": "USD"},
}
DELETE = "/api/projects/4711/persons/bulk_delete/"


def sent(posthog: PostHog, *events: dict[str, Any], **envelope: Any) -> tuple[int, str]:
    body = {"api_key": API_KEY, "batch": events} | envelope
    return posthog.answer("/batch/", {}, json.dumps(body).encode())


def test_the_same_four_are_one_event_and_any_other_is_another() -> None:
    posthog = PostHog()
    later = {"timestamp": "2025-03-01T12:00:01.000Z"}
    for change in ({}, {}, later, {"distinct_id": "user_8"}, {"event": "refund_created"}):
        assert sent(posthog, GOOD | change) == OK

    assert (posthog.counted(), posthog.revenue()) == (4, {"usd": Decimal("51.96")})
    assert (posthog.dropped, posthog.twins) == ([], [])


def test_one_name_person_and_time_under_two_uuids_is_noted() -> None:
    posthog = PostHog()
    sent(posthog, GOOD, GOOD | {"uuid": "00000000-0000-5000-8000-000000000002"})

    assert (posthog.counted(), posthog.twins) == (2, ["payment_succeeded"])


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"uuid": "evt_1"}, 400),
        ({"event": ""}, 400),
        ({"distinct_id": ""}, 400),
        ({"distinct_id": None}, 400),
    ],
)
def test_one_bad_event_fails_the_whole_request(change: dict[str, Any], status: int) -> None:
    posthog = PostHog()

    assert sent(posthog, GOOD, GOOD | change)[0] == status
    assert posthog.counted() == 0


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        ("phx_1", (401, "API key is not valid: personal_api_key")),
        ("x" * 65, (401, "API key is not valid: too_long")),
        ("", (401, "API key is not valid: empty")),
        ("clé", (401, "API key is not valid: not_ascii")),
        ("a\0b", (401, "API key is not valid: null_byte")),
        (7, (400, "failed to parse request: api_key")),
    ],
)
def test_a_key_that_is_none_is_refused(key: object, answer: tuple[int, str]) -> None:
    assert sent(PostHog(), GOOD, api_key=key) == answer


@pytest.mark.parametrize("body", [b"", b"[", b"[]", b"{}", b'{"api_key":"k","batch":[1]}'])
def test_what_is_no_batch_is_refused(body: bytes) -> None:
    assert PostHog().answer("/batch/", {}, body)[0] == 400
    assert sent(PostHog()) == (400, "request holds no event")
    assert PostHog().answer("/batch/", {}, b" " * 20_000_001)[0] == 413
    assert PostHog().answer("/elsewhere", {}, body)[0] == 404


def test_what_is_answered_200_and_dropped_is_noted() -> None:
    posthog = PostHog()
    assert sent(posthog, GOOD, api_key="phc_unknown") == OK
    sent(posthog, GOOD | {"distinct_id": "Guest"})
    sent(posthog, GOOD | {"properties": {"text": "x" * 1_000_000}})
    posthog.over_quota = True
    sent(posthog, GOOD)

    assert posthog.counted() == 0
    assert posthog.dropped == [
        "unknown key: payment_succeeded",
        "an id that is nobody's: payment_succeeded",
        "over 1 MB: payment_succeeded",
        "over quota: payment_succeeded",
    ]


def test_long_ids_are_cut_and_times_are_shifted_by_what_sent_at_says() -> None:
    posthog = PostHog()
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    sent(posthog, GOOD | {"distinct_id": "x" * 201}, sent_at=yesterday)
    [(_, _, timestamp, distinct)] = posthog.events

    assert (timestamp[:10], distinct) == ("2025-03-02", "x" * 200)


def bridge() -> Destination:
    built = build("posthog", configured("http://127.0.0.1:1"), allow_local_urls=True)
    assert isinstance(built, Destination)
    return built


def posted(posthog: PostHog, request: Request) -> tuple[int, str]:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return posthog.answer(request.url.removeprefix("http://127.0.0.1:1"), headers, request.body)


def told(posthog: PostHog, *events: AnalyticsEvent) -> list[Outcome]:
    """What becomes of these events, sent as the bridge sends them."""
    destination, batch = bridge(), []
    for number, event in enumerate(events):
        name = uuid5(DEDUPE_ID, str(number))
        body = destination.render(event, name)
        assert isinstance(body, bytes)
        batch.append(Payload(name, body))
    answer = posted(posthog, destination.request(batch, now=0.0))
    return [*destination.judge(Response(*answer), batch)]


def test_what_the_bridge_sends_is_counted_once_and_two_payments_of_one_second_are_two() -> None:
    posthog = PostHog()
    refund = an_event(name="refund_created", revenue=Money(-299, "usd"))
    for _ in range(2):
        assert told(posthog, an_event(), an_event(), refund) == [Delivered()] * 3

    assert (posthog.counted(), posthog.revenue()) == (3, {"usd": Decimal("22.99")})
    assert (posthog.dropped, posthog.twins) == ([], [])


def test_the_profile_is_the_last_that_was_told_and_a_pseudonym_makes_none() -> None:
    posthog = PostHog()
    plain = an_event(ids={"user_id": "user_7"})
    fallback = Identity(ids={"device_id": "stripe:cus_1"}, fallback=True)
    pro, free = (replace(plain, profile={"plan": plan}) for plan in ("pro", "free"))
    old = replace(plain, profile={"plan": "trial"}, historical=True)
    told(posthog, pro, free, old, replace(plain, identity=fallback, profile={"plan": "x"}))

    assert posthog.profiles == {"user_7": {"plan": "free"}}


def test_beyond_the_quota_nothing_counts_as_delivered() -> None:
    posthog = PostHog()
    posthog.over_quota = True

    assert told(posthog, an_event()) == [
        Suspended('200 {"status":"Ok","quota_limited":["events"]}', after=3600.0)
    ]


def test_a_deletion_takes_the_persons_events_and_no_others() -> None:
    posthog = PostHog()
    told(posthog, an_event(ids={"user_id": "user_7"}), an_event(ids={"user_id": "user_8"}))
    request = bridge().erasure({"user_id": ["user_7", "user_9"]}, now=0.0)
    assert request is not None
    status, text = posted(posthog, request)

    assert (status, json.loads(text)) == (
        202,
        {
            "persons_found": 1,
            "persons_deleted": 1,
            "events_queued_for_deletion": True,
            "recordings_queued_for_deletion": True,
        },
    )
    assert [distinct for _, _, _, distinct in posthog.events] == ["user_8"]


@pytest.mark.parametrize(
    ("key", "named", "status"),
    [(API_KEY, ["user_7"], 401), (PERSONAL_KEY, [], 400), (PERSONAL_KEY, ["a"] * 1_001, 400)],
)
def test_a_deletion_that_will_not_do_is_refused(key: str, named: list[str], status: int) -> None:
    body = json.dumps({"distinct_ids": named}).encode()

    assert PostHog().answer(DELETE, {"authorization": f"Bearer {key}"}, body)[0] == status
