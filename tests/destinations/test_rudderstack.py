"""What a RudderStack data plane is told, and how a person is deleted behind it."""

from dataclasses import replace

import orjson
import pytest

from app.core.consent import Consent
from app.core.money import Money
from app.core.outcome import Retry, Suspended
from app.destinations import build
from app.destinations.base import Request
from app.destinations.rudderstack import RudderStack
from tests.destinations.example import DEDUPE_ID, an_event
from tests.destinations.test_track import KEY, PAID, RUDDERSTACK, URL, judged, payment, rendered

TOKEN = "rs_access_token"
ABLE = replace(RUDDERSTACK, api_token=TOKEN, destination_ids=("dest_1", "dest_2"))
CONTEXT = {"library": {"name": "stripe-analytics-bridge"}, "ip": "0.0.0.0"}


def test_a_purchase_with_all_that_the_checkout_knew() -> None:
    ids = {
        "user_id": "user_7",
        "device_id": "dev_7",
        "segment_anonymous_id": "ajs_7",
        "session_id": "1740830399000",
    }
    event = replace(
        payment(),
        identity=replace(payment().identity, ids=ids),
        consent=Consent(analytics=True, ads=False),
    )

    assert rendered(RUDDERSTACK, event) == {
        "type": "track",
        "channel": "server",
        "messageId": "00000000-0000-5000-8000-000000000001",
        "event": "payment_succeeded",
        "userId": "user_7",
        "anonymousId": "dev_7",
        "timestamp": "2025-03-01T12:00:00.000Z",
        "originalTimestamp": "2025-03-01T12:00:00.000Z",
        "properties": PAID | {"revenue": 53.9, "currency": "USD"},
        "context": CONTEXT
        | {
            "sessionId": 1740830399000,
            "campaign": {"source": "newsletter", "name": "spring"},
            "page": {"referrer": "https://www.example.com/"},
            "consentManagement": {
                "provider": "custom",
                "allowedConsentIds": ["Analytics"],
                "deniedConsentIds": ["Advertising"],
            },
        },
    }


def test_a_renewal_a_month_later_and_a_refund() -> None:
    renewal = {"invoice_id": "in_2", "billing_reason": "subscription_cycle", "utm_term": "x"}
    common = {
        "type": "track",
        "channel": "server",
        "messageId": "00000000-0000-5000-8000-000000000001",
        "userId": "user_7",
        "anonymousId": "dev_7",
        "timestamp": "2025-03-01T12:00:00.000Z",
        "originalTimestamp": "2025-03-01T12:00:00.000Z",
        "context": CONTEXT,
    }

    assert rendered(RUDDERSTACK, an_event(properties=renewal)) == common | {
        "event": "payment_succeeded",
        "properties": renewal | {"revenue": 12.99, "currency": "USD"},
    }
    refund = an_event(name="refund_created", properties={}, revenue=Money(-1299, "usd"))
    assert rendered(RUDDERSTACK, refund) == common | {
        "event": "refund_created",
        "properties": {"revenue": -12.99, "currency": "USD"},
    }


def test_segments_anonymous_id_stands_in_where_there_is_no_device() -> None:
    body = rendered(RUDDERSTACK, an_event(ids={"segment_anonymous_id": "ajs_7"}))

    assert (body["anonymousId"], "userId" in body) == ("ajs_7", False)


@pytest.mark.parametrize(
    ("session", "told"),
    [
        ("1740830399", 1740830399),
        ("1740830399000", 1740830399000),
        ("174083039", None),
        ("17408303990000000", None),
        ("s_1", None),
        ("-1740830399", None),
    ],
)
def test_a_session_is_a_number_of_ten_digits_and_more(session: str, told: int | None) -> None:
    body = rendered(RUDDERSTACK, an_event(ids={"user_id": "user_7", "session_id": session}))

    assert body["context"].get("sessionId") == told


def test_consent_that_was_not_said_is_not_told() -> None:
    assert rendered(RUDDERSTACK, an_event())["context"] == CONTEXT


def test_a_disabled_source_stops_the_destination() -> None:
    stopped = Suspended("404 Source is disabled", after=3600.0)

    assert judged(RUDDERSTACK, 404, "Source is disabled\n") == [stopped, stopped]
    assert judged(RUDDERSTACK, 500, "Source is disabled")[0] == Retry("500 Source is disabled")


def test_the_settings_are_read_and_the_data_plane_is_needed() -> None:
    options = {"write_key": KEY, "url": URL, "region": "eu", "destination_ids": "dest_1, dest_2"}

    assert build("rudderstack", options, allow_local_urls=False) == RudderStack(
        name="rudderstack",
        write_key=KEY,
        url=URL,
        region="eu",
        destination_ids=("dest_1", "dest_2"),
    )
    assert build("rudderstack", {"write_key": KEY}, allow_local_urls=False) == [
        "BRIDGE_DEST_RUDDERSTACK_URL: is missing; it must be an https URL on port 443 or above "
        "1023, path included, without user or fragment (http and private hosts need "
        "BRIDGE_ALLOW_LOCAL_URLS)",
    ]


def test_what_looks_wrong_is_said() -> None:
    assert RUDDERSTACK.warnings() == ABLE.warnings() == []
    assert replace(RUDDERSTACK, url="https://data.example.com", api_token=TOKEN).warnings() == [
        "BRIDGE_DEST_RUDDERSTACK_URL: a data plane takes events at /v1/batch",
        "BRIDGE_DEST_RUDDERSTACK_DESTINATION_IDS: is missing; without it"
        " BRIDGE_DEST_RUDDERSTACK_API_TOKEN deletes nobody",
    ]


def _asked(request: Request | None) -> tuple[str, dict[str, str], object]:
    assert request is not None
    return request.url, dict(request.headers), orjson.loads(request.body)


def test_a_person_is_deleted_by_all_their_user_ids_in_the_named_destinations() -> None:
    ids = {"user_id": ["user_8", "user_7", "user_7"], "device_id": ["dev_7"]}

    assert _asked(ABLE.erasure(ids, 0.0)) == (
        "https://api.rudderstack.com/v2/regulations",
        {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"},
        {
            "regulationType": "suppress_with_delete",
            "destinationIds": ["dest_1", "dest_2"],
            "users": [{"userId": "user_7"}, {"userId": "user_8"}],
        },
    )
    assert _asked(replace(ABLE, region="eu").erasure(ids, 0.0))[0] == (
        "https://api.eu.rudderstack.com/v2/regulations"
    )
    proxy = "https://p.example.com/regulations"
    assert _asked(replace(ABLE, api_url=proxy).erasure(ids, 0.0))[0] == proxy


def test_without_token_destinations_or_a_user_nobody_can_be_deleted() -> None:
    ids = {"user_id": ["user_7"]}

    assert RUDDERSTACK.erasure(ids, 0.0) is None
    assert replace(ABLE, destination_ids=()).erasure(ids, 0.0) is None
    assert replace(ABLE, api_token="").erasure(ids, 0.0) is None
    assert ABLE.erasure({"device_id": ["dev_7"]}, 0.0) is None


def test_the_token_is_as_secret_as_the_key() -> None:
    request = ABLE.erasure({"user_id": ["user_7"]}, 0.0)

    assert TOKEN in ABLE.secrets()
    assert TOKEN not in f"{ABLE!r} {request!r}"
    assert ABLE.render(an_event(), DEDUPE_ID) == RUDDERSTACK.render(an_event(), DEDUPE_ID)
