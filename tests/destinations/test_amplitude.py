"""What Amplitude is told, and what each of its answers means for each row."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.money import Money
from app.core.outcome import Again, Delivered, Outcome, Rejected, Retry, Skipped, Split, Suspended
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
