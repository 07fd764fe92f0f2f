"""What Amplitude is told, and what each of its answers means for each row."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.money import Money
from app.core.outcome import Again, Delivered, Outcome, Rejected, Retry, Skipped, Split, Suspended
from app.destinations import build
from app.destinations.amplitude import Amplitude
from app.destinations.base import Payload, Response
from tests.destinations.example import DEDUPE_ID, an_event

KEY = "0123456789abcdef0123456789abcdef"
AMPLITUDE = Amplitude(name="amplitude", api_key=KEY)
DAY = 86_400.0


def rendered(**changes: Any) -> dict[str, Any]:
    body = AMPLITUDE.render(an_event(**changes), DEDUPE_ID)
    assert isinstance(body, bytes)
    loaded: dict[str, Any] = orjson.loads(body)
    return loaded


def a_batch(*users: str) -> list[Payload]:
    bodies = [
        AMPLITUDE.render(an_event(ids={"user_id": u, "device_id": f"dev_{u}"}), DEDUPE_ID)
        for u in users
    ]
    return [Payload(UUID(int=i), body) for i, body in enumerate(bodies) if isinstance(body, bytes)]


def judged(status: int | None, answer: object, size: int = 3, **headers: str) -> Sequence[Outcome]:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return AMPLITUDE.judge(Response(status, text, names), a_batch("anna", "ben", "cleo")[:size])


def test_a_payment_in_amplitudes_words() -> None:
    properties = {"product_id": "prod_pro", "revenue_type": "renewal"}
    ids = {"user_id": "user_7", "device_id": "dev_7", "session_id": "1740830400000"}

    assert rendered(ids=ids, properties=properties) == {
        "insert_id": "00000000-0000-5000-8000-000000000001",
        "event_type": "payment_succeeded",
        "time": 1740830400000,
        "user_id": "user_7",
        "device_id": "dev_7",
        "session_id": 1740830400000,
        "event_properties": {"product_id": "prod_pro", "revenue_type": "renewal"},
        "revenue": 12.99,
        "currency": "USD",
        "revenueType": "renewal",
        "productId": "prod_pro",
    }


def test_a_refund_is_negative_and_yen_have_no_decimals() -> None:
    body = rendered(revenue=Money(-1299, "jpy"), properties={})

    assert (body["revenue"], body["currency"]) == (-1299.0, "JPY")


def test_without_money_the_money_words_stay_away() -> None:
    assert rendered(revenue=None, ids={"user_id": "user_7"}) == {
        "insert_id": "00000000-0000-5000-8000-000000000001",
        "event_type": "payment_succeeded",
        "time": 1740830400000,
        "user_id": "user_7",
        "event_properties": {"product_id": "prod_pro"},
    }


def test_amplitudes_own_ids_win_over_the_generic_ones() -> None:
    body = rendered(
        ids={
            "user_id": "user_7",
            "amplitude_user_id": "amp_user",
            "device_id": "dev_7",
            "amplitude_device_id": "amp_dev",
            "session_id": "1740830400000",
            "amplitude_session_id": "1740830499999",
        }
    )

    assert (body["user_id"], body["device_id"], body["session_id"]) == (
        "amp_user",
        "amp_dev",
        1740830499999,
    )


@pytest.mark.parametrize("session", ["s_1", "1740830400", "-1", "1740830400000.5", "٣" * 13])
def test_a_session_id_that_is_no_time_in_ms_is_left_out(session: str) -> None:
    assert "session_id" not in rendered(ids={"user_id": "user_7", "session_id": session})


NOBODIES = "anonymous NIL none null N/A na undefined Unknown {} 0 -1 lmy47d"
ZERO = "00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize("nobody", [*NOBODIES.split(), " null ", ZERO])
def test_a_value_that_amplitude_refuses_is_no_identity(nobody: str) -> None:
    nobodies = {"user_id": nobody, "device_id": nobody}

    assert AMPLITUDE.render(an_event(ids=nobodies), DEDUPE_ID) == Skipped(
        "Amplitude needs a user_id or a device_id"
    )
    assert rendered(ids={"amplitude_user_id": nobody, "user_id": "user_7"})["user_id"] == "user_7"


def test_the_envelope_joins_the_frozen_bytes_unchanged() -> None:
    batch = [Payload(UUID(int=1), b'{ "a":1}'), Payload(UUID(int=2), b'{"b": 2 }')]
    request = AMPLITUDE.request(batch, now=0.0)

    assert (request.url, dict(request.headers), request.body) == (
        "https://api2.amplitude.com/2/httpapi",
        {"Content-Type": "application/json"},
        b'{"api_key":"0123456789abcdef0123456789abcdef",'
        b'"events":[{ "a":1},{"b": 2 }],"options":{"min_id_length":1}}',
    )


def test_the_region_and_then_the_url_choose_the_endpoint() -> None:
    europe = Amplitude(name="amplitude", api_key=KEY, region="eu")
    proxy = Amplitude(name="amplitude", api_key=KEY, url="https://proxy.example/amp")

    assert europe.request([], 0.0).url == "https://api.eu.amplitude.com/2/httpapi"
    assert proxy.request([], 0.0).url == "https://proxy.example/amp"


@pytest.mark.parametrize(
    ("region", "url"),
    [("us", "https://api2.amplitude.com/batch"), ("eu", "https://api.eu.amplitude.com/batch")],
)
def test_history_goes_to_the_endpoint_for_batches(region: Literal["us", "eu"], url: str) -> None:
    to = Amplitude(name="amplitude", api_key=KEY, region=region)
    history, today = Payload(DEDUPE_ID, b"{}", historical=True), Payload(DEDUPE_ID, b"{}")
    request, live = to.request([history], 0.0), to.request([today], 0.0)

    assert (request.url, request.body) == (url, live.body)
    assert live.url != url
    proxy = Amplitude(name="amplitude", api_key=KEY, url="https://proxy.example/amp")
    assert proxy.request([history], 0.0).url == "https://proxy.example/amp"


PROFILE = {"plan": "price_pro", "mrr": 12.99}


def test_todays_events_carry_what_is_known_of_the_user() -> None:
    body = AMPLITUDE.render(replace(an_event(), profile=PROFILE), DEDUPE_ID)

    assert isinstance(body, bytes)
    assert orjson.loads(body)["user_properties"] == PROFILE


def test_history_does_not_overwrite_what_is_known_of_the_user() -> None:
    history = replace(an_event(), profile=PROFILE, historical=True)
    off = Amplitude(name="amplitude", api_key=KEY, user_properties="off")

    assert AMPLITUDE.render(history, DEDUPE_ID) == AMPLITUDE.render(an_event(), DEDUPE_ID)
    assert off.render(replace(an_event(), profile=PROFILE), DEDUPE_ID) == (
        AMPLITUDE.render(an_event(), DEDUPE_ID)
    )
    assert (AMPLITUDE.wants_profile, off.wants_profile) == (True, False)


OWN = "none that begins with [Amplitude] or $, which are Amplitude's own"


@pytest.mark.parametrize(
    ("setting", "text", "words"),
    [
        (
            "rename",
            "payment_succeeded=[Amplitude] Revenue",
            "pairs of our name and theirs, such as"
            " payment_succeeded=Order Paid,refund_created=Refund",
        ),
        (
            "rename",
            "trial_started=Trial,payment_failed = $identify",
            "pairs of our name and theirs, such as"
            " payment_succeeded=Order Paid,refund_created=Refund",
        ),
        ("prefix", "$", "printable text"),
        ("prefix", "[Amplitude] ", "printable text"),
    ],
)
def test_a_name_of_amplitudes_own_is_a_problem(setting: str, text: str, words: str) -> None:
    given = {"api_key": KEY, setting: text}

    assert build("amplitude", given, allow_local_urls=False) == [
        f"BRIDGE_DEST_AMPLITUDE_{setting.upper()}: must be {words}; {OWN}"
    ]


def test_a_name_of_the_teams_is_none() -> None:
    given = {"api_key": KEY, "rename": "trial_started=Trial", "prefix": "stripe."}

    assert build("amplitude", given, allow_local_urls=False) == Amplitude(
        name="amplitude", api_key=KEY, rename=("trial_started=Trial",), prefix="stripe."
    )


SECRET_KEY = "fedcba9876543210fedcba9876543210"
DELETING = Amplitude(name="amplitude", api_key=KEY, secret_key=SECRET_KEY)


def test_a_user_is_deleted_by_the_user_privacy_api() -> None:
    ids = {"user_id": ["user_7", "none"], "amplitude_user_id": ["a7", "user_7"], "device_id": ["d"]}
    request = DELETING.erasure(ids, now=0.0)

    assert request is not None
    assert request.url == "https://amplitude.com/api/2/deletions/users"
    assert dict(request.headers) == {
        "Authorization": "Basic MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY6"
        "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=",
        "Content-Type": "application/json",
    }
    assert orjson.loads(request.body) == {
        "user_ids": ["a7", "user_7"],
        "ignore_invalid_id": "True",
        "requester": "stripe-analytics-bridge",
    }


def test_where_deletions_go_follows_the_region_and_a_proxy_has_to_say() -> None:
    def asked(**settings: Any) -> str | None:
        to = Amplitude(name="amplitude", api_key=KEY, secret_key=SECRET_KEY, **settings)
        request = to.erasure({"user_id": ["user_7"]}, now=0.0)
        return request.url if request else None

    assert asked(region="eu") == "https://analytics.eu.amplitude.com/api/2/deletions/users"
    assert asked(url="https://proxy.example/amp") is None
    assert asked(url="https://a.example/", delete_url="https://a.example/d") == (
        "https://a.example/d"
    )


def test_who_cannot_be_deleted_is_said() -> None:
    many = {"user_id": [f"user_{number}" for number in range(101)]}

    assert AMPLITUDE.erasure({"user_id": ["user_7"]}, now=0.0) is None, "without the secret key"
    assert DELETING.erasure({"device_id": ["d"], "user_id": ["none"]}, now=0.0) is None
    assert DELETING.erasure(many, now=0.0) is None


def test_the_credentials_are_masked_as_they_travel() -> None:
    request = DELETING.erasure({"user_id": ["user_7"]}, now=0.0)
    assert request is not None
    echo = request.headers["Authorization"]

    assert DELETING.judge(Response(413, echo), a_batch("anna")) == [Split("413 Basic ***")]


def test_taken_is_delivered() -> None:
    assert judged(200, {"code": 200, "events_ingested": 3}) == [Delivered()] * 3
    assert judged(200, "") == [Delivered()] * 3


def test_a_200_whose_body_says_otherwise_is_not_believed() -> None:
    assert judged(200, {"code": 500}, size=1) == [Retry('200 {"code": 500}')]


def test_a_400_rejects_the_named_rows_and_sends_the_rest_again() -> None:
    answer = {
        "code": 400,
        "events_with_invalid_fields": {"time": [0]},
        "events_with_missing_fields": {"event_type": [0, 9]},
        "events_with_invalid_id_lengths": {"user_id": [2]},
    }

    assert judged(400, answer) == [
        Rejected("400 invalid time, missing event_type"),
        Again(f"400 {json.dumps(answer)}"),
        Rejected("400 invalid length of user_id"),
    ]


def test_a_silenced_event_is_rejected() -> None:
    answer = {"silenced_events": [1]}

    assert judged(400, answer, size=2) == [
        Again('400 {"silenced_events": [1]}'),
        Rejected("400 silenced"),
    ]


@pytest.mark.parametrize(
    "answer",
    [{"error": "Invalid API key: x"}, {"error": "missing", "missing_field": "api_key"}],
)
def test_a_refused_key_suspends_the_destination_and_blames_no_row(answer: dict[str, str]) -> None:
    assert judged(400, answer) == [Suspended(f"400 {json.dumps(answer)}", after=3600.0)] * 3


@pytest.mark.parametrize(
    "answer",
    [
        {"error": "Invalid JSON request body"},
        {"events_with_invalid_fields": {"time": [3, -1, True, 0.0, "0", None]}},
        {"events_with_invalid_fields": [0]},
        {"silenced_events": {"0": 0}},
        {"missing_field": ["api_key"]},
    ],
)
def test_a_400_that_names_no_row_of_ours_splits_the_batch(answer: object) -> None:
    assert judged(400, answer) == [Split(f"400 {json.dumps(answer)}")] * 3


def test_too_large_is_split() -> None:
    assert judged(413, "too large") == [Split("413 too large")] * 3


def test_a_429_delays_the_named_and_parks_those_over_quota() -> None:
    answer = {
        "throttled_events": [0],
        "throttled_users": {"anna": 40},
        "exceeded_daily_quota_devices": {"dev_cleo": 1},
    }
    said = f"429 {json.dumps(answer)}"

    assert judged(429, answer) == [
        Retry(said, after=30.0),
        Again(said),
        Retry(said, after=DAY),
    ]
    assert judged(429, {"throttled_devices": {"dev_ben": 31}}, retry_after="60")[1] == Retry(
        '429 {"throttled_devices": {"dev_ben": 31}}', after=60.0
    )


def test_a_429_without_names_slows_the_whole_lane() -> None:
    assert judged(429, "slow") == [Retry("429 slow", after=30.0, lane=True)] * 3
    assert judged(429, "", retry_after="7") == [Retry("429", after=7.0, lane=True)] * 3


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_suspend(status: int) -> None:
    assert judged(status, "no") == [Suspended(f"{status} no", after=3600.0)] * 3


@pytest.mark.parametrize("status", [404, 408, 425, 500, 502, 503, 504])
def test_what_may_pass_is_tried_later(status: int) -> None:
    assert judged(status, "later") == [Retry(f"{status} later")] * 3


def test_no_answer_is_tried_later() -> None:
    assert judged(None, "ReadTimeout") == [Retry("ReadTimeout")] * 3


def test_an_echoed_key_is_masked_even_where_a_cut_would_have_left_half_of_it() -> None:
    answer = "x" * 180 + f" {KEY}"

    assert judged(413, answer, size=1) == [Split("413 " + "x" * 180 + " ***")]
    assert judged(400, {"events_with_invalid_fields": {KEY: [0]}}, size=1) == [
        Rejected("400 invalid ***")
    ]


KINDS = ["events_with_invalid_fields", "silenced_events", "throttled_events", "throttled_users"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from([*KINDS, "code", "error"]) | st.text(), inner)
    ),
    max_leaves=8,
)


@given(st.none() | st.integers(100, 999), st.text() | JSON.map(json.dumps), st.integers(1, 3))
def test_no_answer_breaks_the_judge_and_each_row_gets_its_outcome(
    status: int | None, text: str, size: int
) -> None:
    outcomes = AMPLITUDE.judge(Response(status, text), a_batch("anna", "ben", "cleo")[:size])

    assert len(outcomes) == size
    assert not all(isinstance(outcome, Again) for outcome in outcomes), "it would loop"
