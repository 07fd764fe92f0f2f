"""What Segment is told, and how a person is deleted there."""

from dataclasses import replace

import orjson
import pytest

from app.core.consent import Consent
from app.core.money import Money
from app.destinations import build
from app.destinations.base import Request
from app.destinations.segment import Segment
from tests.destinations.example import DEDUPE_ID, an_event
from tests.destinations.test_track import KEY, PAID, SEGMENT, payment, rendered

TOKEN = "sgp_token"
WITH_TOKEN = replace(SEGMENT, api_token=TOKEN)


def test_a_purchase_with_all_that_the_checkout_knew() -> None:
    ids = {
        "user_id": "user_7",
        "device_id": "dev_7",
        "segment_anonymous_id": "ajs_7",
        "amplitude_device_id": "amp_7",
        "session_id": "s_7",
        "amplitude_session_id": "1740830399000",
    }
    event = replace(
        payment(),
        identity=replace(payment().identity, ids=ids),
        consent=Consent(analytics=True, ads=False),
    )

    assert rendered(SEGMENT, event) == {
        "type": "track",
        "messageId": "00000000-0000-5000-8000-000000000001",
        "event": "payment_succeeded",
        "userId": "user_7",
        "anonymousId": "ajs_7",
        "timestamp": "2025-03-01T12:00:00.000Z",
        "properties": PAID | {"revenue": 53.9, "currency": "USD"},
        "context": {
            "library": {"name": "stripe-analytics-bridge"},
            "device": {"id": "amp_7"},
            "campaign": {"source": "newsletter", "name": "spring"},
            "page": {"referrer": "https://www.example.com/"},
            "consent": {"categoryPreferences": {"Analytics": True, "Advertising": False}},
        },
        "integrations": {"Actions Amplitude": {"session_id": 1740830399000}},
    }


def test_a_renewal_a_month_later() -> None:
    renewal = {
        "invoice_id": "in_2",
        "billing_reason": "subscription_cycle",
        "amount": 53.9,
        "utm_source": "newsletter",
    }
    event = an_event(
        ids={"user_id": "user_7", "segment_anonymous_id": "ajs_7"},
        properties=renewal,
        revenue=Money(5390, "usd"),
    )

    assert rendered(SEGMENT, event) == {
        "type": "track",
        "messageId": "00000000-0000-5000-8000-000000000001",
        "event": "payment_succeeded",
        "userId": "user_7",
        "anonymousId": "ajs_7",
        "timestamp": "2025-03-01T12:00:00.000Z",
        "properties": renewal | {"revenue": 53.9, "currency": "USD"},
        "context": {"library": {"name": "stripe-analytics-bridge"}},
    }


def test_a_refund_and_an_event_without_money() -> None:
    refund = an_event(name="refund_created", properties={"refund_id": "re_1"}, revenue=None)
    common = {
        "type": "track",
        "messageId": "00000000-0000-5000-8000-000000000001",
        "userId": "user_7",
        "anonymousId": "dev_7",
        "timestamp": "2025-03-01T12:00:00.000Z",
        "context": {"library": {"name": "stripe-analytics-bridge"}},
    }

    assert rendered(SEGMENT, replace(refund, revenue=Money(-5390, "usd"))) == common | {
        "event": "refund_created",
        "properties": {"refund_id": "re_1", "revenue": -53.9, "currency": "USD"},
    }
    assert rendered(SEGMENT, an_event(name="trial_started", properties={}, revenue=None)) == (
        common | {"event": "trial_started"}
    )


@pytest.mark.parametrize(
    ("consent", "said"),
    [
        (Consent(), None),
        (Consent(ads=True), {"C0004": True}),
        (Consent(analytics=False), {"C0002": False}),
        (Consent(analytics=True, ads=True), {"C0002": True, "C0004": True}),
    ],
)
def test_consent_is_told_as_far_as_it_was_said(
    consent: Consent, said: dict[str, bool] | None
) -> None:
    onetrust = replace(SEGMENT, analytics_category="C0002", ads_category="C0004")
    context = rendered(onetrust, replace(an_event(), consent=consent))["context"]

    assert context.get("consent") == (None if said is None else {"categoryPreferences": said})


@pytest.mark.parametrize(
    ("ids", "session"),
    [
        ({"session_id": "1740830399000"}, 1740830399000),
        ({"amplitude_session_id": "s_1", "session_id": "1740830399000"}, 1740830399000),
        ({"session_id": "1740830399"}, None),
        ({"session_id": "-1"}, None),
        ({"session_id": "٣" * 13}, None),
    ],
)
def test_a_session_is_amplitudes_start_in_ms_or_none(
    ids: dict[str, str], session: int | None
) -> None:
    body = rendered(SEGMENT, an_event(ids={"user_id": "user_7", **ids}))
    told = None if session is None else {"Actions Amplitude": {"session_id": session}}

    assert body.get("integrations") == told


def test_the_region_and_then_the_url_choose_the_endpoint() -> None:
    proxy = "https://e.example.com/v1/batch"

    assert SEGMENT.request([], 0.0).url == "https://api.segment.io/v1/batch"
    assert replace(SEGMENT, region="eu").request([], 0.0).url == (
        "https://events.eu1.segmentapis.com/v1/batch"
    )
    assert replace(SEGMENT, region="eu", url=proxy).request([], 0.0).url == proxy


def test_the_settings_are_read() -> None:
    options = {"write_key": KEY, "region": "eu", "orders": "on", "ads_category": "C0004"}

    assert build("segment", options, allow_local_urls=False) == Segment(
        name="segment", write_key=KEY, region="eu", orders="on", ads_category="C0004"
    )
    assert build("segment", {"orders": "yes"}, allow_local_urls=False) == [
        "BRIDGE_DEST_SEGMENT_WRITE_KEY: is missing; it must be 1 to 100 printable ASCII "
        "characters without spaces",
        "BRIDGE_DEST_SEGMENT_ORDERS: must be one of off, on",
    ]


def _asked(request: Request | None) -> tuple[str, dict[str, str], object]:
    assert request is not None
    return request.url, dict(request.headers), orjson.loads(request.body)


def test_a_person_is_deleted_by_all_their_user_ids() -> None:
    ids = {"user_id": ["user_8", "user_7", "user_7"], "device_id": ["dev_7"]}

    assert _asked(WITH_TOKEN.erasure(ids, 0.0)) == (
        "https://api.segmentapis.com/regulations",
        {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"},
        {
            "regulationType": "DELETE_ONLY",
            "subjectType": "USER_ID",
            "subjectIds": ["user_7", "user_8"],
        },
    )


def test_the_region_and_then_the_api_url_choose_where_to_delete() -> None:
    ids, proxy = {"user_id": ["user_7"]}, "https://p.example.com/regulations"
    europe = replace(WITH_TOKEN, region="eu")

    assert _asked(europe.erasure(ids, 0.0))[0] == "https://eu1.api.segmentapis.com/regulations"
    assert _asked(replace(europe, api_url=proxy).erasure(ids, 0.0))[0] == proxy


def test_without_a_token_or_a_user_nobody_can_be_deleted() -> None:
    assert SEGMENT.erasure({"user_id": ["user_7"]}, 0.0) is None
    assert WITH_TOKEN.erasure({"device_id": ["dev_7"]}, 0.0) is None
    assert WITH_TOKEN.erasure({"user_id": []}, 0.0) is None


def test_a_regulation_takes_five_thousand_ids() -> None:
    ids = {"user_id": [f"user_{number:04}" for number in range(5_001)]}

    body = _asked(WITH_TOKEN.erasure(ids, 0.0))[2]
    assert isinstance(body, dict)
    assert (len(body["subjectIds"]), body["subjectIds"][-1]) == (5_000, "user_4999")


def test_the_token_is_as_secret_as_the_key() -> None:
    request = WITH_TOKEN.erasure({"user_id": ["user_7"]}, 0.0)

    assert TOKEN in WITH_TOKEN.secrets()
    assert TOKEN not in f"{WITH_TOKEN!r} {request!r}"
    assert WITH_TOKEN.render(an_event(), DEDUPE_ID) == SEGMENT.render(an_event(), DEDUPE_ID)
