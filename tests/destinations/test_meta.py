"""What Meta is told, and what each of its answers means."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.consent import Consent
from app.core.money import Money
from app.core.outcome import Delivered, Outcome, Retry, Skipped, Split, Suspended
from app.core.taxonomy import EVENTS
from app.destinations import build
from app.destinations.base import Payload, Response
from app.destinations.meta import Meta
from tests.destinations.example import DEDUPE_ID, an_event
from tests.vendors import meta as vendor

TOKEN = "EAAB" + "x" * 200
META = Meta(name="meta", pixel_id="1234567890", access_token=TOKEN)
FBP, FBC = "fb.1.1740830000000.1098115397", "fb.1.1740830000000.IwAR2F4-dbP0l7Mn1IawQQ"
VISIT = {"fbp": FBP, "fbc": FBC, "user_id": " User_7 ", "email_sha256": "AB" * 32}
LANDING = "https://shop.example.com/pricing?fbclid=1"
NOBODY = Skipped("Meta needs fbp or fbc, or a user_id or email_sha256 that may be sent")
NO_REFUNDS = Skipped("Meta takes no refunds, disputed money or corrections")


def rendered(
    meta: Meta = META, *, region: str = "", conversion_id: str | None = None, **changes: Any
) -> dict[str, Any]:
    event = replace(
        an_event(**{"ids": {"fbp": FBP}, "properties": {}, **changes}),
        consent=Consent(ads=True, region=region),
        conversion_id=conversion_id,
    )
    body = meta.render(event, DEDUPE_ID)
    assert isinstance(body, bytes), body
    loaded: dict[str, Any] = orjson.loads(body)
    return loaded


def judged(status: int | None, answer: object, size: int = 2, **headers: str) -> Sequence[Outcome]:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    batch = [Payload(UUID(int=i), b"{}") for i in range(size)]
    return META.judge(Response(status, text, names), batch)


def refused(code: int, **more: object) -> dict[str, Any]:
    return {"error": {"message": "no", "type": "OAuthException", "code": code, **more}}


def test_a_purchase_in_the_visit_that_made_it() -> None:
    sale = {"landing_page": LANDING, "billing_reason": "subscription_create", "tax": 1.0}

    assert rendered(ids=VISIT, properties=sale, conversion_id="order-1") == {
        "event_name": "Purchase",
        "event_time": 1740830400,
        "event_id": "order-1",
        "action_source": "website",
        "event_source_url": LANDING,
        "user_data": {"fbp": FBP, "fbc": FBC},
        "custom_data": {"value": 12.99, "currency": "USD", "order_id": "in_1"},
    }


def test_a_renewal_is_the_systems_own_and_no_visit() -> None:
    renewal = {"landing_page": LANDING, "billing_reason": "subscription_cycle"}

    assert rendered(properties=renewal) == {
        "event_name": "Purchase",
        "event_time": 1740830400,
        "event_id": "00000000-0000-5000-8000-000000000001",
        "action_source": "system_generated",
        "user_data": {"fbp": FBP},
        "custom_data": {"value": 12.99, "currency": "USD", "order_id": "in_1"},
    }


@pytest.mark.parametrize(
    ("name", "standard"), [("trial_started", "StartTrial"), ("subscription_started", "Subscribe")]
)
def test_a_conversion_without_money_has_no_worth(name: str, standard: str) -> None:
    assert rendered(name=name, revenue=None) == {
        "event_name": standard,
        "event_time": 1740830400,
        "event_id": "00000000-0000-5000-8000-000000000001",
        "action_source": "website",
        "user_data": {"fbp": FBP},
    }


def test_another_event_that_is_asked_for_has_its_own_name_and_is_no_visit() -> None:
    told = rendered(replace(META, prefix="bridge_"), name="trial_will_end", revenue=None)

    assert (told["event_name"], told["action_source"]) == (
        "bridge_trial_will_end",
        "system_generated",
    )


def test_only_conversions_are_told_unless_others_are_asked_for() -> None:
    assert META.events == ("payment_succeeded", "trial_started", "subscription_started")
    assert (META.purpose, META.lateness) == ("ads", timedelta(days=6, hours=23))


@pytest.mark.parametrize(
    ("name", "minor"),
    [
        ("refund_created", -1000),
        ("refund_reversed", 1000),
        ("dispute_funds_withdrawn", -1000),
        ("dispute_funds_reinstated", 1000),
    ],
)
def test_money_that_goes_back_or_returns_is_not_sent(name: str, minor: int) -> None:
    event = an_event(name=name, ids={"fbp": FBP}, revenue=Money(minor, "usd"))

    assert META.render(event, DEDUPE_ID) == NO_REFUNDS


@pytest.mark.parametrize(
    ("money", "value"),
    [
        (Money(1299, "jpy"), 1299.0),
        (Money(12999, "kwd"), 12.999),
        (Money(129900, "ugx"), 1299.0),
    ],
)
def test_amounts_have_stripes_own_decimals(money: Money, value: float) -> None:
    assert rendered(revenue=money)["custom_data"] == {
        "value": value,
        "currency": money.currency.upper(),
        "order_id": "in_1",
    }


def test_user_and_email_leave_hashed_and_only_where_a_setting_says_so() -> None:
    both = replace(META, send_user_id="hashed", send_email="hashed")

    assert rendered(both, ids=VISIT)["user_data"] == {
        "fbp": FBP,
        "fbc": FBC,
        "external_id": [sha256(b"User_7").hexdigest()],
        "em": ["ab" * 32],
    }
    assert rendered(ids=VISIT)["user_data"] == {"fbp": FBP, "fbc": FBC}


def test_whom_meta_could_not_know_is_skipped() -> None:
    both = replace(META, send_user_id="hashed", send_email="hashed")
    hidden = {"user_id": "user_7", "email_sha256": "ab" * 32, "device_id": "stripe:cus_1"}
    unfit = {"user_id": "  ", "email_sha256": "anna@example.com", "fbp": "1", "fbc": "fb.1.2."}

    assert META.render(an_event(ids=hidden), DEDUPE_ID) == NOBODY
    assert both.render(an_event(ids=unfit), DEDUPE_ID) == NOBODY


def test_a_hashed_user_alone_is_no_visit() -> None:
    known = replace(META, send_user_id="hashed")

    assert rendered(known, ids={"user_id": "7"})["action_source"] == "system_generated"


@pytest.mark.parametrize("landing", ["/pricing", "javascript:alert(1)", "", 7, None])
def test_a_landing_page_that_is_no_url_is_left_out(landing: object) -> None:
    assert "event_source_url" not in rendered(properties={"landing_page": landing})


@pytest.mark.parametrize(
    ("ldu", "region", "limited"),
    [
        ("on", "US", True),
        ("on", "US-CA", True),
        ("on", "DE", False),
        ("on", "", False),
        ("off", "US-CA", False),
    ],
)
def test_limited_data_use_is_asked_for_in_the_united_states(
    ldu: Any, region: str, limited: bool
) -> None:
    told = rendered(replace(META, ldu=ldu), region=region)
    options = {name: value for name, value in told.items() if name.startswith("data_processing")}

    assert options == (
        {
            "data_processing_options": ["LDU"],
            "data_processing_options_country": 0,
            "data_processing_options_state": 0,
        }
        if limited
        else {}
    )


def test_the_token_is_in_the_body_and_the_frozen_bytes_are_unchanged() -> None:
    batch = [Payload(UUID(int=1), b'{ "a":1}'), Payload(UUID(int=2), b'{"b": 2 }')]
    request = replace(META, access_token='t"1').request(batch, 0.0)
    test = replace(META, access_token="t", test_event_code="TEST1").request(batch, 0.0)
    proxy = replace(META, url="https://proxy.example/meta").request(batch, 0.0)

    assert (request.url, dict(request.headers), request.body) == (
        "https://graph.facebook.com/v26.0/1234567890/events",
        {"Content-Type": "application/json"},
        b'{"access_token":"t\\"1","data":[{ "a":1},{"b": 2 }]}',
    )
    assert test.body == (
        b'{"access_token":"t","data":[{ "a":1},{"b": 2 }],"test_event_code":"TEST1"}'
    )
    assert proxy.url == "https://proxy.example/meta"


def test_the_settings_are_checked_by_form() -> None:
    options = {"pixel_id": "my pixel", "access_token": "x" * 501, "api_version": "26"}

    assert build("meta", options, allow_local_urls=False) == [
        "BRIDGE_DEST_META_PIXEL_ID: must be digits, as Events Manager shows it",
        "BRIDGE_DEST_META_ACCESS_TOKEN: must be 1 to 500 printable ASCII characters without spaces",
        "BRIDGE_DEST_META_API_VERSION: must be a Graph API version, such as v26.0",
    ]


def test_a_test_event_code_is_warned_of() -> None:
    assert META.warnings() == []
    assert replace(META, test_event_code="TEST1").warnings() == [
        "BRIDGE_DEST_META_TEST_EVENT_CODE: all events show as test events at Meta"
    ]


def test_all_received_is_delivered_and_anything_less_is_sent_again() -> None:
    assert judged(200, {"events_received": 2, "messages": []}) == [Delivered()] * 2
    short: list[object] = [{"events_received": 1}, {"messages": []}, {"error": {}}, []]
    for answer in short:
        assert judged(200, answer) == [Retry(f"200 {json.dumps(answer)}")] * 2
    assert judged(204, "") == [Retry("204")] * 2


@pytest.mark.parametrize("status", [200, 400, 401, 403])
@pytest.mark.parametrize("code", [3, 10, 102, 190, 200, 299, 368])
def test_refused_credentials_suspend_whatever_the_status(status: int, code: int) -> None:
    answer = refused(code)

    assert judged(status, answer) == [Suspended(f"{status} {json.dumps(answer)}", after=3600.0)] * 2


def test_an_unknown_pixel_blames_no_event() -> None:
    answer = refused(100, error_subcode=33)

    assert judged(400, answer) == [Suspended(f"400 {json.dumps(answer)}", after=3600.0)] * 2


@pytest.mark.parametrize("code", [4, 17, 32, 341, 613, 80000, 80014])
def test_a_throttle_slows_the_lane(code: int) -> None:
    answer = refused(code)
    said = f"400 {json.dumps(answer)}"

    assert judged(400, answer) == [Retry(said, after=30.0, lane=True)] * 2
    assert judged(400, answer, retry_after="7") == [Retry(said, after=7.0, lane=True)] * 2


@pytest.mark.parametrize(
    "answer",
    [refused(1), refused(2), refused(5, is_transient=True)],
)
def test_what_may_pass_is_tried_later(answer: dict[str, Any]) -> None:
    assert judged(400, answer) == [Retry(f"400 {json.dumps(answer)}")] * 2


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_failing_server_is_tried_later_whatever_code_it_names(status: int) -> None:
    answer = refused(190)

    assert judged(status, answer) == [Retry(f"{status} {json.dumps(answer)}")] * 2


def test_a_429_slows_the_lane_whatever_code_it_names() -> None:
    assert (
        judged(429, refused(100), retry_after="7")
        == [Retry(f"429 {json.dumps(refused(100))}", after=7.0, lane=True)] * 2
    )


@pytest.mark.parametrize(
    "answer",
    [refused(100), refused(100, error_subcode=2804003), refused(7), {"error": "x"}, "<html>"],
)
def test_a_refusal_of_unknown_cause_splits_the_batch(answer: object) -> None:
    text = answer if isinstance(answer, str) else json.dumps(answer)

    assert judged(400, answer) == [Split(f"400 {text}")] * 2


def test_too_large_is_split_and_no_answer_is_tried_later() -> None:
    assert judged(413, "") == [Split("413")] * 2
    assert judged(None, "ReadTimeout") == [Retry("ReadTimeout")] * 2


def test_an_echoed_token_is_masked() -> None:
    assert judged(400, f"bad {TOKEN}", size=1) == [Split("400 bad ***")]


def test_nothing_that_is_rendered_is_refused_there() -> None:
    built = build("meta", vendor.configured("http://127.0.0.1:1"), allow_local_urls=True)
    assert isinstance(built, Meta)
    sale = an_event(ids=VISIT, properties={"landing_page": LANDING})
    others = [name for name, event in EVENTS.items() if not event.carries_revenue]
    events = [replace(sale, name=name, revenue=None) for name in others]
    events.append(sale)
    bodies = [
        built.render(replace(event, occurred_at=datetime.now(UTC)), UUID(int=number))
        for number, event in enumerate(events)
    ]
    batch = [Payload(DEDUPE_ID, body) for body in bodies if isinstance(body, bytes)]
    request, there = built.request(batch, 0.0), vendor.Meta()
    answer = there.answer(request.url.removeprefix("http://127.0.0.1:1"), {}, request.body)

    assert built.judge(Response(*answer), batch) == [Delivered()] * len(events)
    assert (there.counted(), there.revenue()) == (len(events), {"usd": Decimal("12.99")})


def test_nobody_can_be_deleted_there_by_us() -> None:
    assert META.erasure({"fbp": [FBP]}, 0.0) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["error", "code", "events_received", "error_subcode"]) | st.text(),
            inner,
        )
    ),
    max_leaves=8,
)


@given(st.none() | st.integers(100, 999), st.text() | JSON.map(json.dumps))
def test_no_answer_breaks_the_judge_and_each_row_gets_its_outcome(
    status: int | None, text: str
) -> None:
    assert len(judged(status, text, size=3)) == 3
