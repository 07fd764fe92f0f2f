"""What PostHog is told, and what each of its answers means for each row."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.analytics import Identity
from app.core.money import Money
from app.core.outcome import Delivered, Outcome, Retry, Skipped, Split, Suspended
from app.destinations import build
from app.destinations.base import Payload, Response
from app.destinations.posthog import PostHog
from tests.destinations.example import DEDUPE_ID, an_event

KEY = "phc_projectKey"
POSTHOG = PostHog(name="posthog", api_key=KEY)
NOBODY = Skipped("PostHog needs a posthog_distinct_id, a user_id or a device_id")
# A session that began 2025-03-01 11:40 UTC, twenty minutes before the example's event.
SESSION = "01955181-8e80-7e4f-8a5b-6c7d8e9f0a1b"
ALWAYS = {"$geoip_disable": True, "$lib": "stripe-analytics-bridge"}


def rendered(posthog: PostHog = POSTHOG, **changes: Any) -> dict[str, Any]:
    body = posthog.render(an_event(**changes), DEDUPE_ID)
    assert isinstance(body, bytes)
    loaded: dict[str, Any] = orjson.loads(body)
    return loaded


def properties_of(**changes: Any) -> dict[str, Any]:
    """Of an event that has what `an_event` has no word for."""
    body = POSTHOG.render(replace(an_event(properties={}, revenue=None), **changes), DEDUPE_ID)
    assert isinstance(body, bytes)
    found: dict[str, Any] = orjson.loads(body)["properties"]
    return found


def who(ids: Mapping[str, str]) -> Any:
    return rendered(ids=ids)["distinct_id"]


def judged(status: int | None, answer: object, size: int = 3, **headers: str) -> Sequence[Outcome]:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    batch = [Payload(UUID(int=i), b"{}") for i in range(size)]
    return POSTHOG.judge(Response(status, text, names), batch)


def test_a_purchase_in_posthogs_words() -> None:
    ids = {"user_id": "user_7", "posthog_distinct_id": "ph_7", "posthog_session_id": SESSION}

    assert rendered(ids=ids, properties={"invoice_id": "in_1", "utm_source": "newsletter"}) == {
        "uuid": "00000000-0000-5000-8000-000000000001",
        "event": "payment_succeeded",
        "distinct_id": "ph_7",
        "timestamp": "2025-03-01T12:00:00.162Z",
        "properties": {
            **ALWAYS,
            "$session_id": SESSION,
            "invoice_id": "in_1",
            "utm_source": "newsletter",
            "revenue": 12.99,
            "currency": "USD",
        },
    }


def test_a_renewal_has_no_session() -> None:
    properties = {"invoice_id": "in_2", "billing_reason": "subscription_cycle"}

    assert rendered(ids={"user_id": "user_7"}, properties=properties) == {
        "uuid": "00000000-0000-5000-8000-000000000001",
        "event": "payment_succeeded",
        "distinct_id": "user_7",
        "timestamp": "2025-03-01T12:00:00.162Z",
        "properties": {
            **ALWAYS,
            "invoice_id": "in_2",
            "billing_reason": "subscription_cycle",
            "revenue": 12.99,
            "currency": "USD",
        },
    }


def test_a_refund_is_negative() -> None:
    event = rendered(name="refund_created", properties={}, revenue=Money(-500, "usd"))

    assert (event["event"], event["properties"]) == (
        "refund_created",
        {**ALWAYS, "revenue": -5.0, "currency": "USD"},
    )


def test_an_event_without_money_has_no_revenue_and_stripes_own_second() -> None:
    assert rendered(name="trial_started", properties={"status": "trialing"}, revenue=None) == {
        "uuid": "00000000-0000-5000-8000-000000000001",
        "event": "trial_started",
        "distinct_id": "user_7",
        "timestamp": "2025-03-01T12:00:00.000Z",
        "properties": {**ALWAYS, "status": "trialing"},
    }


@pytest.mark.parametrize(
    ("minor", "currency", "major"),
    [(1299, "jpy", 1299.0), (1299, "kwd", 1.299), (129900, "ugx", 1299.0)],
)
def test_revenue_is_in_whole_units_by_stripes_decimals(
    minor: int, currency: str, major: float
) -> None:
    properties = rendered(revenue=Money(minor, currency))["properties"]

    assert (properties["revenue"], properties["currency"]) == (major, currency.upper())


def test_two_payments_of_one_second_and_person_have_times_apart_and_each_always_the_same() -> None:
    ids = [uuid5(DEDUPE_ID, name) for name in ("payment:in_1", "payment:in_2")]
    bodies = [POSTHOG.render(an_event(), each) for each in (*ids, *ids)]
    times = [orjson.loads(body)["timestamp"] for body in bodies if isinstance(body, bytes)]

    assert times == ["2025-03-01T12:00:00.475Z", "2025-03-01T12:00:00.587Z"] * 2


def test_the_browsers_own_id_goes_before_the_user_and_the_device() -> None:
    ids = {"device_id": "dev_7", "user_id": "user_7", "posthog_distinct_id": "ph_7"}

    assert who(ids) == "ph_7"
    assert who(ids | {"posthog_distinct_id": "null"}) == "user_7"
    assert who({"device_id": "dev_7"}) == "dev_7"


REFUSED = "anonymous Guest distinctid distinct_id id not_authenticated EMAIL undefined true false"


@pytest.mark.parametrize(
    "nobody",
    [
        *REFUSED.split(),
        "NaN",
        "None",
        "none",
        "null",
        "0",
        "[object Object]",
        "  ",
        "'null'",
        "x" * 201,
    ],
)
def test_a_value_that_posthog_refuses_or_cuts_is_no_identity(nobody: str) -> None:
    ids = dict.fromkeys(("posthog_distinct_id", "user_id", "device_id"), nobody)

    assert POSTHOG.render(an_event(ids=ids), DEDUPE_ID) == NOBODY


def test_the_longest_id_that_fits_is_sent_whole() -> None:
    assert who({"user_id": "x" * 200}) == "x" * 200


def test_without_an_id_nothing_is_sent() -> None:
    assert POSTHOG.render(an_event(ids={"posthog_session_id": SESSION}), DEDUPE_ID) == NOBODY


@pytest.mark.parametrize(
    "session",
    [
        "1740830400000",
        "s_1",
        "C8F9E604-F01A-4BD9-95C6-8E5357DF265D",  # a UUIDv4
        "01954c6c-97a0-7e4f-8a5b-6c7d8e9f0a1b",  # began a day earlier
        "01955201-bb00-7e4f-8a5b-6c7d8e9f0a1b",  # began two hours later
        "ffffffff-ffff-7fff-bfff-ffffffffffff",
        "",
    ],
)
def test_what_is_no_session_of_posthog_at_that_time_is_left_out(session: str) -> None:
    ids = {"user_id": "user_7", "posthog_session_id": session}

    assert rendered(ids=ids, properties={}, revenue=None)["properties"] == ALWAYS


def test_a_generic_session_id_is_none_of_posthogs() -> None:
    ids = {"user_id": "user_7", "session_id": SESSION}

    assert rendered(ids=ids, properties={}, revenue=None)["properties"] == ALWAYS


@pytest.mark.parametrize(
    ("at", "rides"),
    [
        (datetime(2025, 3, 1, 10, 40, tzinfo=UTC), True),  # the browser's clock an hour ahead
        (datetime(2025, 3, 1, 10, 39, 59, tzinfo=UTC), False),
        (datetime(2025, 3, 2, 11, 40, tzinfo=UTC), True),
        (datetime(2025, 3, 2, 11, 40, 1, tzinfo=UTC), False),
    ],
)
def test_a_session_lasts_a_day(at: datetime, rides: bool) -> None:
    identity = Identity(ids={"user_id": "user_7", "posthog_session_id": SESSION.upper()})
    found = properties_of(identity=identity, occurred_at=at)

    assert found == ALWAYS | ({"$session_id": SESSION} if rides else {})


PROFILE = {"plan": "price_pro", "subscription_status": "active"}


def test_the_profile_is_set_as_far_as_it_may_leave() -> None:
    hiding = PostHog(name="posthog", api_key=KEY, properties=("!plan",))
    event = replace(an_event(properties={}, revenue=None), profile=PROFILE)
    body = hiding.render(event, DEDUPE_ID)

    assert isinstance(body, bytes)
    assert orjson.loads(body)["properties"] == {
        **ALWAYS,
        "$set": {"subscription_status": "active"},
    }
    assert properties_of(profile=PROFILE) == {**ALWAYS, "$set": PROFILE}


def test_what_is_told_late_does_not_touch_the_profile() -> None:
    assert properties_of(profile=PROFILE, historical=True) == ALWAYS


def test_a_pseudonym_gets_no_person() -> None:
    fallback = Identity(ids={"device_id": "stripe:cus_1"}, fallback=True)

    assert properties_of(identity=fallback, profile=PROFILE) == {
        **ALWAYS,
        "$process_person_profile": False,
    }


def test_an_event_cannot_bring_money_or_instructions_of_its_own() -> None:
    forged = dict.fromkeys((*ALWAYS, "revenue", "currency"), "x")

    assert rendered(properties=forged) == rendered(properties={})


def test_an_event_that_posthog_would_discard_after_its_200_is_not_sent() -> None:
    room = 900 * 1024 - len(orjson.dumps(rendered(properties={"a": ""})))

    assert len(orjson.dumps(rendered(properties={"a": "x" * room}))) == 900 * 1024
    assert POSTHOG.render(an_event(properties={"a": "x" * (room + 1)}), DEDUPE_ID) == Skipped(
        "PostHog takes no event over 921600 bytes: 921601"
    )


def test_the_envelope_joins_the_frozen_bytes_unchanged() -> None:
    batch = [Payload(UUID(int=1), b'{ "a":1}'), Payload(UUID(int=2), b'{"b": 2 }')]
    request = POSTHOG.request(batch, now=0.0)

    assert (request.url, dict(request.headers), request.body) == (
        "https://us.i.posthog.com/batch/",
        {"Content-Type": "application/json"},
        b'{"api_key":"phc_projectKey","batch":[{ "a":1},{"b": 2 }],"historical_migration":false}',
    )


def test_a_batch_of_old_events_says_so() -> None:
    request = POSTHOG.request([Payload(UUID(int=1), b"{}", historical=True)], now=0.0)

    assert request.body == b'{"api_key":"phc_projectKey","batch":[{}],"historical_migration":true}'


def test_the_region_and_then_the_url_choose_the_endpoint() -> None:
    europe = PostHog(name="posthog", api_key=KEY, region="eu")
    proxy = PostHog(name="posthog", api_key=KEY, url="https://ph.example/batch/")

    assert europe.request([], 0.0).url == "https://eu.i.posthog.com/batch/"
    assert proxy.request([], 0.0).url == "https://ph.example/batch/"


@pytest.mark.parametrize(
    "answer",
    [{"status": "Ok"}, {"status": 1}, {"status": "Ok", "quota_limited": ["recordings"]}, ""],
)
def test_taken_is_delivered(answer: object) -> None:
    assert judged(200, answer) == [Delivered()] * 3


@pytest.mark.parametrize("limited", [["events"], ["recordings", "events"], "events", {"a": 1}])
def test_a_200_whose_events_were_dropped_for_the_quota_stops_the_lane(limited: object) -> None:
    answer = {"status": "Ok", "quota_limited": limited}

    assert judged(200, answer) == [Suspended(f"200 {json.dumps(answer)}", after=3600.0)] * 3


@pytest.mark.parametrize("status", [0, "error", None, ["Ok"]])
def test_a_200_whose_body_says_otherwise_is_not_believed(status: object) -> None:
    answer = {"status": status}

    assert judged(200, answer) == [Retry(f"200 {json.dumps(answer)}")] * 3


def test_a_400_may_be_for_one_event_and_splits_the_batch() -> None:
    said = "event submitted without a distinct_id"

    assert judged(400, said) == [Split(f"400 {said}")] * 3


def test_too_large_is_split() -> None:
    assert judged(413, "too large") == [Split("413 too large")] * 3


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_suspends(status: int) -> None:
    said = f"API key is not valid: {KEY}"

    assert (
        judged(status, said) == [Suspended(f"{status} API key is not valid: ***", after=3600.0)] * 3
    )


def test_a_429_slows_the_whole_lane() -> None:
    assert judged(429, "rate limited") == [Retry("429 rate limited", after=30.0, lane=True)] * 3
    assert judged(429, "", retry_after="7") == [Retry("429", after=7.0, lane=True)] * 3


@pytest.mark.parametrize("status", [404, 408, 500, 502, 503, 504])
def test_what_may_pass_is_tried_later(status: int) -> None:
    assert judged(status, "later") == [Retry(f"{status} later")] * 3


def test_no_answer_is_tried_later() -> None:
    assert judged(None, "ReadTimeout") == [Retry("ReadTimeout")] * 3


IDS = {
    "posthog_distinct_id": ["ph_7"],
    "user_id": ["user_7", "null"],
    "device_id": ["dev_7", "user_7"],
    "posthog_session_id": [SESSION],
}
ASKED = PostHog(name="posthog", api_key=KEY, personal_key="phx_key", project_id="4711")


def test_a_deletion_names_every_id_that_the_person_may_have_there() -> None:
    request = replace(ASKED, region="eu").erasure(IDS, now=0.0)

    assert request is not None
    assert (request.url, dict(request.headers), orjson.loads(request.body)) == (
        "https://eu.posthog.com/api/projects/4711/persons/bulk_delete/",
        {"Content-Type": "application/json", "Authorization": "Bearer phx_key"},
        {
            "distinct_ids": ["ph_7", "user_7", "dev_7"],
            "delete_events": True,
            "delete_recordings": True,
        },
    )


def test_no_deletion_is_asked_for_without_a_key_a_project_an_id_or_a_place_to_ask() -> None:
    url = "https://ph.example/batch/"
    delete_url = "https://ph.example/api/projects/1/persons/bulk_delete/"

    assert POSTHOG.erasure(IDS, now=0.0) is None
    assert replace(ASKED, personal_key="").erasure(IDS, now=0.0) is None
    assert replace(ASKED, project_id="").erasure(IDS, now=0.0) is None
    assert replace(ASKED, url=url).erasure(IDS, now=0.0) is None
    assert ASKED.erasure({"ga_client_id": ["1.2"], "user_id": ["null"]}, now=0.0) is None
    told = replace(ASKED, url=url, project_id="", delete_url=delete_url).erasure(IDS, now=0.0)
    assert told is not None
    assert told.url == delete_url


@pytest.mark.parametrize("key", ["phx_personal", "x" * 65, "two words", "clé"])
def test_a_key_that_posthog_would_refuse_is_a_problem(key: str) -> None:
    assert build("posthog", {"api_key": key}, allow_local_urls=False) == [
        "BRIDGE_DEST_POSTHOG_API_KEY: must be a project API key (phc_...) of at most 64"
        " characters, no personal one (phx_)"
    ]


def test_doubtful_settings_are_warned_of() -> None:
    doubtful = PostHog(
        name="ph", api_key="demo", personal_key="phc_1", prefix="$", rename=("a=$identify", "b=c")
    )

    assert doubtful.warnings() == [
        "BRIDGE_DEST_PH_API_KEY: PostHog's project API keys begin with phc_",
        "BRIDGE_DEST_PH_PERSONAL_KEY: PostHog's personal API keys begin with phx_",
        "BRIDGE_DEST_PH_RENAME: names that begin with $ are PostHog's own",
        "BRIDGE_DEST_PH_PREFIX: names that begin with $ are PostHog's own",
    ]
    assert ASKED.warnings() == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["status", "quota_limited", "detail"]), inner)
    ),
    max_leaves=8,
)


@given(st.sampled_from([None, 200, 400, 429, 503]), st.text() | JSON.map(json.dumps))
def test_no_answer_breaks_the_judge_or_blames_one_row(status: int | None, text: str) -> None:
    outcomes = judged(status, text)

    assert len(outcomes) == 3
    assert len({type(outcome) for outcome in outcomes}) == 1
