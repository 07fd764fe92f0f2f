"""What Mixpanel is told, and what each of its answers means for each row."""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.money import Money
from app.core.outcome import Again, Delivered, Outcome, Rejected, Retry, Skipped, Split, Suspended
from app.destinations import build
from app.destinations.base import Payload, Response
from app.destinations.mixpanel import Mixpanel
from tests.destinations.example import DEDUPE_ID, an_event

TOKEN = "0123456789abcdef0123456789abcdef"
MIXPANEL = Mixpanel(name="mixpanel", project_token=TOKEN)
ORIGINAL = Mixpanel(name="mixpanel", project_token=TOKEN, identity="original")
NOBODY = Skipped("Mixpanel needs a user_id or a device_id")
CONSTANT = {
    "$insert_id": "00000000-0000-5000-8000-000000000001",
    "time": 1740830400000,
    "ip": "0",
    "mp_lib": "stripe-analytics-bridge",
}


def rendered(mixpanel: Mixpanel = MIXPANEL, **changes: Any) -> dict[str, Any]:
    body = mixpanel.render(an_event(**changes), DEDUPE_ID)
    assert isinstance(body, bytes)
    loaded: dict[str, Any] = orjson.loads(body)
    return loaded


def who(ids: Mapping[str, str], mixpanel: Mixpanel = MIXPANEL) -> dict[str, str]:
    properties = rendered(mixpanel, ids=ids, properties={}, revenue=None)["properties"]
    return {name: value for name, value in properties.items() if name not in CONSTANT}


def judged(status: int | None, answer: object, size: int = 3, **headers: str) -> Sequence[Outcome]:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    batch = [Payload(UUID(int=i), b"{}") for i in range(size)]
    return MIXPANEL.judge(Response(status, text, names), batch)


def test_a_purchase_in_mixpanels_words() -> None:
    ids = {"user_id": "user_7", "mixpanel_device_id": "mp_dev", "session_id": "1740830400000"}
    properties = {"invoice_id": "in_1", "product_id": "prod_pro", "utm_source": "newsletter"}

    assert rendered(ids=ids, properties=properties) == {
        "event": "payment_succeeded",
        "properties": {
            **CONSTANT,
            "distinct_id": "user_7",
            "$user_id": "user_7",
            "$device_id": "mp_dev",
            "invoice_id": "in_1",
            "product_id": "prod_pro",
            "utm_source": "newsletter",
            "revenue": 12.99,
            "currency": "USD",
        },
    }


def test_a_renewal_of_a_user_whose_device_is_unknown() -> None:
    properties = {"invoice_id": "in_2", "billing_reason": "subscription_cycle"}

    assert rendered(ids={"user_id": "user_7"}, properties=properties) == {
        "event": "payment_succeeded",
        "properties": {
            **CONSTANT,
            "distinct_id": "user_7",
            "$user_id": "user_7",
            "invoice_id": "in_2",
            "billing_reason": "subscription_cycle",
            "revenue": 12.99,
            "currency": "USD",
        },
    }


def test_a_refund_is_negative() -> None:
    properties = {"refund_id": "re_1", "amount": -5.0, "currency": "USD"}
    money = Money(-500, "usd")

    assert rendered(name="refund_created", properties=properties, revenue=money) == {
        "event": "refund_created",
        "properties": {
            **CONSTANT,
            "distinct_id": "user_7",
            "$user_id": "user_7",
            "$device_id": "dev_7",
            "refund_id": "re_1",
            "amount": -5.0,
            "revenue": -5.0,
            "currency": "USD",
        },
    }


def test_an_event_without_money_has_no_revenue() -> None:
    event = rendered(name="trial_started", properties={"status": "trialing"}, revenue=None)

    assert event == {
        "event": "trial_started",
        "properties": {
            **CONSTANT,
            "distinct_id": "user_7",
            "$user_id": "user_7",
            "$device_id": "dev_7",
            "status": "trialing",
        },
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


def test_an_event_cannot_bring_ids_or_a_time_of_its_own() -> None:
    forged = dict.fromkeys((*CONSTANT, "distinct_id", "$user_id", "$device_id", "revenue"), "x")

    assert rendered(properties=forged) == rendered(properties={})


def test_a_device_without_a_user_is_a_device_until_the_two_are_joined() -> None:
    assert who({"device_id": "dev_7"}) == {
        "distinct_id": "$device:dev_7",
        "$device_id": "dev_7",
    }
    assert who({"device_id": "stripe:cus_1"}) == {
        "distinct_id": "$device:stripe:cus_1",
        "$device_id": "stripe:cus_1",
    }


def test_mixpanels_own_device_id_wins_and_may_have_its_prefix_already() -> None:
    assert who({"device_id": "dev_7", "mixpanel_device_id": "$device:mp_dev"}) == {
        "distinct_id": "$device:mp_dev",
        "$device_id": "mp_dev",
    }


def test_under_the_original_id_merge_there_is_one_id() -> None:
    assert who({"user_id": "user_7", "device_id": "dev_7"}, ORIGINAL) == {"distinct_id": "user_7"}
    assert who({"mixpanel_device_id": "$device:mp_dev"}, ORIGINAL) == {
        "distinct_id": "$device:mp_dev"
    }
    assert who({"device_id": "dev_7"}, ORIGINAL) == {"distinct_id": "dev_7"}


REFUSED = "anon ANONYMOUS nil none null n/a na undefined Unknown <nil> 0 -1 true false [] {}"


@pytest.mark.parametrize(
    "nobody",
    [*REFUSED.split(), " null ", str(UUID(int=0)), "$device:", "$device:null", "x" * 248],
)
def test_a_value_that_mixpanel_refuses_or_cuts_is_no_identity(nobody: str) -> None:
    nobodies = {"user_id": nobody, "device_id": nobody}

    assert MIXPANEL.render(an_event(ids=nobodies), DEDUPE_ID) == NOBODY
    assert ORIGINAL.render(an_event(ids=nobodies), DEDUPE_ID) == NOBODY
    assert who({"user_id": nobody, "device_id": "dev_7"}) == who({"device_id": "dev_7"})


def test_the_longest_id_that_fits_is_sent_whole() -> None:
    device = "x" * 247

    assert who({"device_id": device})["distinct_id"] == f"$device:{device}"


def test_without_an_id_nothing_is_sent() -> None:
    assert MIXPANEL.render(an_event(ids={"session_id": "1"}), DEDUPE_ID) == NOBODY


def test_names_are_the_settings_to_choose() -> None:
    renamed = Mixpanel(
        name="mixpanel",
        project_token=TOKEN,
        rename=("payment_succeeded=Order Completed",),
        prefix="stripe_",
    )

    assert rendered(renamed)["event"] == "Order Completed"
    assert rendered(renamed, name="trial_started")["event"] == "stripe_trial_started"


def test_the_envelope_joins_the_frozen_bytes_unchanged() -> None:
    batch = [Payload(UUID(int=1), b'{ "a":1}'), Payload(UUID(int=2), b'{"b": 2 }')]
    request = MIXPANEL.request(batch, now=0.0)

    assert (request.url, dict(request.headers), request.body) == (
        "https://api.mixpanel.com/import?strict=1",
        {
            "Content-Type": "application/json",
            "Authorization": "Basic " + b64encode(f"{TOKEN}:".encode()).decode(),
        },
        b'[{ "a":1},{"b": 2 }]',
    )


def test_a_service_account_signs_in_with_its_project() -> None:
    account = Mixpanel(
        name="mixpanel",
        project_token=TOKEN,
        service_account="bridge.1a2b3c.mp-service-account",
        service_secret="s3cret",
        project_id="2195345",
        region="eu",
    )
    request = account.request([], now=0.0)
    credentials = b64encode(b"bridge.1a2b3c.mp-service-account:s3cret").decode()

    assert (request.url, request.headers["Authorization"]) == (
        "https://api-eu.mixpanel.com/import?strict=1&project_id=2195345",
        f"Basic {credentials}",
    )
    assert account.secrets() == (TOKEN, "s3cret", credentials)


@pytest.mark.parametrize(
    ("url", "called"),
    [
        ("https://proxy.example/mp", "https://proxy.example/mp?strict=1"),
        ("https://proxy.example/mp?team=1", "https://proxy.example/mp?team=1&strict=1"),
    ],
)
def test_a_url_of_ones_own_is_asked_to_be_strict_too(url: str, called: str) -> None:
    proxy = Mixpanel(name="mixpanel", project_token=TOKEN, url=url, region="in")

    assert proxy.request([], 0.0).url == called


def test_the_region_chooses_the_endpoint() -> None:
    india = Mixpanel(name="mixpanel", project_token=TOKEN, region="in")

    assert india.request([], 0.0).url == "https://api-in.mixpanel.com/import?strict=1"


def test_taken_is_delivered() -> None:
    answer = {"code": 200, "num_records_imported": 3, "status": "OK"}

    assert judged(200, answer) == [Delivered()] * 3
    assert judged(200, "") == [Delivered()] * 3


def test_of_a_partial_failure_the_good_are_delivered_and_the_failed_rejected() -> None:
    answer = {
        "code": 400,
        "error": "some data points in the request failed validation",
        "failed_records": [
            {"index": 0, "insert_id": "a", "field": "properties.time", "message": "no time"},
            {"index": 2, "$insert_id": "c", "field": "properties.x", "message": "no utf8"},
            {"index": 2, "field": "properties.y"},
        ],
        "num_records_imported": 1,
        "status": "Bad Request",
    }

    assert judged(400, answer) == [
        Rejected("400 no time"),
        Delivered(),
        Rejected("400 no utf8; properties.y"),
    ]


def test_where_it_does_not_say_that_it_took_the_others_they_are_sent_again() -> None:
    for imported in ({}, {"num_records_imported": 1}, {"num_records_imported": "2"}):
        answer = {"failed_records": [{"index": 1}], **imported}
        again = Again(f"400 {json.dumps(answer)}")

        assert judged(400, answer) == [again, Rejected("400 failed"), again]


@pytest.mark.parametrize(
    "answer",
    [
        {"code": 400, "error": "could not parse the events"},
        {"failed_records": []},
        {"failed_records": {"index": 0}},
        {"failed_records": [0, None, {}, {"index": 3}, {"index": -1}, {"index": True}]},
        {"failed_records": [{"index": 0.0}, {"index": "0"}], "num_records_imported": 3},
    ],
)
def test_a_400_that_names_no_row_of_ours_splits_the_batch(answer: object) -> None:
    assert judged(400, answer) == [Split(f"400 {json.dumps(answer)}")] * 3


def test_a_200_whose_body_says_otherwise_is_not_believed() -> None:
    assert judged(200, {"code": 500}, size=1) == [Retry('200 {"code": 500}')]
    assert (
        judged(200, {"num_records_imported": 2}) == [Split('200 {"num_records_imported": 2}')] * 3
    )
    assert judged(200, {"failed_records": [{"index": 0}], "num_records_imported": 2}) == [
        Rejected("200 failed"),
        Delivered(),
        Delivered(),
    ]


def test_too_large_is_split() -> None:
    assert judged(413, "too large") == [Split("413 too large")] * 3


def test_a_429_slows_the_whole_lane() -> None:
    assert judged(429, "slow") == [Retry("429 slow", after=30.0, lane=True)] * 3
    assert judged(429, "", retry_after="7") == [Retry("429", after=7.0, lane=True)] * 3


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_suspend(status: int) -> None:
    assert judged(status, "no") == [Suspended(f"{status} no", after=3600.0)] * 3


@pytest.mark.parametrize("status", [404, 408, 500, 502, 503, 504])
def test_what_may_pass_is_tried_later(status: int) -> None:
    assert judged(status, "later") == [Retry(f"{status} later")] * 3


def test_no_answer_is_tried_later() -> None:
    assert judged(None, "ReadTimeout") == [Retry("ReadTimeout")] * 3


def test_an_echoed_secret_is_masked_in_every_shape_in_which_it_is_sent() -> None:
    credentials = b64encode(f"{TOKEN}:".encode()).decode()
    failed = {"failed_records": [{"index": 0, "message": f"{TOKEN} {credentials}"}]}

    assert judged(413, f"{TOKEN} {credentials}", size=1) == [Split("413 *** ***")]
    assert judged(400, failed, size=1) == [Rejected("400 *** ***")]


ASKED = Mixpanel(name="mixpanel", project_token=TOKEN, gdpr_token="oauth")


def test_a_deletion_names_every_id_that_the_person_may_have_there() -> None:
    ids = {
        "user_id": ["user_7", "user_8", "null"],
        "device_id": ["dev_7", "mp_dev"],
        "mixpanel_device_id": ["$device:mp_dev"],
        "ga_client_id": ["1.2"],
    }
    request = ASKED.erasure(ids, now=0.0)

    assert request is not None
    assert (request.url, dict(request.headers), orjson.loads(request.body)) == (
        f"https://mixpanel.com/api/app/data-deletions/v3.0/?token={TOKEN}",
        {"Content-Type": "application/json", "Authorization": "Bearer oauth"},
        {
            "compliance_type": "GDPR",
            "distinct_ids": ["user_7", "user_8", "$device:mp_dev", "$device:dev_7"],
        },
    )


@pytest.mark.parametrize(
    ("region", "host"),
    [("us", "mixpanel.com"), ("eu", "eu.mixpanel.com"), ("in", "in.mixpanel.com")],
)
def test_a_deletion_goes_to_the_region(region: Literal["us", "eu", "in"], host: str) -> None:
    there = Mixpanel(name="mixpanel", project_token=TOKEN, gdpr_token="oauth", region=region)
    request = there.erasure({"user_id": ["user_7"]}, now=0.0)

    assert request is not None
    assert request.url.startswith(f"https://{host}/api/app/data-deletions/v3.0/?token=")


def test_no_deletion_is_asked_for_without_a_token_an_id_or_a_place_to_ask() -> None:
    url = "https://proxy.example/mp"
    proxied = Mixpanel(name="mixpanel", project_token=TOKEN, gdpr_token="oauth", url=url)
    told = Mixpanel(
        name="mixpanel", project_token=TOKEN, gdpr_token="oauth", url=url, delete_url=url
    )
    ids = {"user_id": ["user_7"]}

    assert MIXPANEL.erasure(ids, now=0.0) is None
    assert ASKED.erasure({"session_id": ["1"], "user_id": ["none"]}, now=0.0) is None
    assert proxied.erasure(ids, now=0.0) is None
    assert (request := told.erasure(ids, now=0.0)) is not None
    assert request.url == f"{url}?token={TOKEN}"


def test_doubtful_settings_are_warned_of() -> None:
    doubtful = Mixpanel(
        name="mp", project_token="demo", service_account="a", prefix="mp_", rename=("a=$b", "c=d")
    )

    assert doubtful.warnings() == [
        "BRIDGE_DEST_MP_PROJECT_TOKEN: Mixpanel's project tokens are 32 hexadecimal characters",
        "BRIDGE_DEST_MP_SERVICE_SECRET: is missing; without it the project token signs in, not"
        " the service account",
        "BRIDGE_DEST_MP_RENAME: names that begin with $ or mp_ are Mixpanel's own",
        "BRIDGE_DEST_MP_PREFIX: names that begin with $ or mp_ are Mixpanel's own",
    ]
    assert MIXPANEL.warnings() == []


def test_a_project_id_is_a_number() -> None:
    options = {"project_token": TOKEN, "project_id": "my project"}

    assert build("mixpanel", options, allow_local_urls=False) == [
        "BRIDGE_DEST_MIXPANEL_PROJECT_ID: must be a project's number, such as 2195345"
    ]


NAMES = ["failed_records", "num_records_imported", "code", "index", "message", "field"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 4) | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(NAMES), inner),
    max_leaves=8,
)


@given(st.sampled_from([None, 200, 400, 429, 503]), st.text() | JSON.map(json.dumps))
def test_no_answer_breaks_the_judge_or_makes_a_loop(status: int | None, text: str) -> None:
    outcomes = judged(status, text)

    assert len(outcomes) == 3
    assert not all(isinstance(outcome, Again) for outcome in outcomes)
