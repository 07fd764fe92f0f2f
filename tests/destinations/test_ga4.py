"""What Google Analytics is told, and what each answer means."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest

from app.core.analytics import AnalyticsEvent
from app.core.consent import Consent
from app.core.money import Money
from app.core.outcome import Delivered, Rejected, Retry, Skipped, Suspended
from app.core.taxonomy import EVENTS, PROPERTIES, allowed
from app.destinations import build
from app.destinations.base import Payload, Response
from app.destinations.ga4 import Ga4
from tests.destinations.example import DEDUPE_ID, an_event
from tests.vendors import ga4 as vendor

SECRET = "AbC-123_xyz"
GA4 = Ga4(name="ga4", measurement_id="G-ABC123", api_secret=SECRET)
CLIENT = {"ga_client_id": "1098115397.1740830000"}
VISIT = {**CLIENT, "ga_session_id": "1740830100", "user_id": "user_7", "device_id": "dev_7"}
SALE: dict[str, Any] = {
    "invoice_id": "in_1",
    "billing_reason": "subscription_create",
    "amount": 49.0,
    "amount_net_of_tax": 41.18,
    "tax": 7.82,
    "discount": 0.0,
    "currency": "USD",
    "out_of_band": True,
    "product_id": "prod_pro",
    "price_id": "price_pro",
    "items": [
        {"price_id": "price_pro", "product_id": "prod_pro", "quantity": 2, "amount": 59.0},
        {"price_id": "price_old", "quantity": 1, "amount": -10.0, "proration": True},
    ],
    "utm_source": "newsletter",
    "landing_page": "https://shop.example.com/" + "p" * 100,
}
NO_CLIENT = Skipped("GA4 needs a ga_client_id of two numbers joined by a dot")


def rendered(ga4: Ga4 = GA4, *, consent: Consent = Consent(), **changes: Any) -> dict[str, Any]:  # noqa: B008 - frozen
    event = replace(an_event(**{"ids": CLIENT, **changes}), consent=consent)
    body = ga4.render(event, DEDUPE_ID)
    assert isinstance(body, bytes), body
    loaded: dict[str, Any] = orjson.loads(body)
    return loaded


def params(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = rendered(**changes)["events"][0]["params"]
    return found


def frozen(**changes: Any) -> bytes:
    return orjson.dumps(rendered(**changes), option=orjson.OPT_SORT_KEYS)


def test_a_purchase_in_the_visit_that_made_it() -> None:
    granted = Consent(analytics=True, ads=False)

    assert rendered(ids=VISIT, properties=SALE, revenue=Money(4900, "usd"), consent=granted) == {
        "client_id": "1098115397.1740830000",
        "user_id": "user_7",
        "timestamp_micros": 1740830400000000,
        "consent": {"ad_user_data": "DENIED", "ad_personalization": "DENIED"},
        "events": [
            {
                "name": "purchase",
                "params": {
                    "event_id": "00000000-0000-5000-8000-000000000001",
                    "session_id": "1740830100",
                    "engagement_time_msec": 1,
                    "transaction_id": "in_1",
                    "value": 49.0,
                    "currency": "USD",
                    "tax": 7.82,
                    "items": [
                        {
                            "item_id": "prod_pro",
                            "item_variant": "price_pro",
                            "price": 29.5,
                            "quantity": 2,
                        }
                    ],
                    "amount": 49.0,
                    "amount_net_of_tax": 41.18,
                    "billing_reason": "subscription_create",
                    "discount": 0.0,
                    "invoice_id": "in_1",
                    "out_of_band": "true",
                    "price_id": "price_pro",
                    "product_id": "prod_pro",
                    "utm_source": "newsletter",
                    "landing_page": ("https://shop.example.com/" + "p" * 100)[:100],
                },
            }
        ],
    }


def test_a_renewal_has_the_client_and_no_session() -> None:
    assert rendered(revenue=Money(1299, "eur"), properties={}) == {
        "client_id": "1098115397.1740830000",
        "timestamp_micros": 1740830400000000,
        "events": [
            {
                "name": "purchase",
                "params": {
                    "event_id": "00000000-0000-5000-8000-000000000001",
                    "transaction_id": "in_1",
                    "value": 12.99,
                    "currency": "EUR",
                    "items": [{"item_name": "payment", "price": 12.99, "quantity": 1}],
                },
            }
        ],
    }


def test_a_refund_is_positive_and_names_the_payment() -> None:
    refund = {
        "refund_id": "re_1",
        "payment_intent_id": "pi_1",
        "invoice_id": "in_1",
        "amount": -10.0,
        "tax": -1.6,
        "currency": "USD",
    }
    told = rendered(name="refund_created", revenue=Money(-1000, "usd"), properties=refund)

    assert told["events"] == [
        {
            "name": "refund",
            "params": {
                "event_id": "00000000-0000-5000-8000-000000000001",
                "transaction_id": "in_1",
                "value": 10.0,
                "tax": 1.6,
                "currency": "USD",
                "amount": -10.0,
                "refund_id": "re_1",
                "payment_intent_id": "pi_1",
                "invoice_id": "in_1",
            },
        }
    ]


@pytest.mark.parametrize(
    ("ids", "transaction"),
    [
        ({"payment_intent_id": "pi_1", "charge_id": "ch_1"}, "pi_1"),
        ({"charge_id": "ch_1"}, "ch_1"),
    ],
)
def test_a_refund_of_no_invoice_names_the_payment_itself(
    ids: Mapping[str, str], transaction: str
) -> None:
    refund = {"name": "refund_created", "revenue": Money(-1000, "usd"), "properties": ids}

    assert params(**refund)["transaction_id"] == transaction


@pytest.mark.parametrize("ids", [{}, {"invoice_id": "in_" + "x" * 98}])
def test_a_refund_that_could_name_no_payment_is_not_sent(ids: Mapping[str, str]) -> None:
    refund = an_event(
        name="refund_created", ids=CLIENT, properties=ids, revenue=Money(-1000, "usd")
    )

    assert GA4.render(refund, DEDUPE_ID) == Skipped(
        "GA4 needs a transaction_id: invoice_id, payment_intent_id or charge_id"
    )


@pytest.mark.parametrize(
    ("name", "minor", "value"),
    [
        ("refund_reversed", 1000, 10.0),
        ("dispute_funds_withdrawn", -1000, -10.0),
        ("dispute_funds_reinstated", 1000, 10.0),
    ],
)
def test_other_money_is_an_event_of_its_own_with_its_sign(
    name: str, minor: int, value: float
) -> None:
    told = rendered(name=name, revenue=Money(minor, "usd"), properties={"tax": 1.6})

    assert told["events"] == [
        {
            "name": name,
            "params": {
                "event_id": "00000000-0000-5000-8000-000000000001",
                "value": value,
                "currency": "USD",
                "tax": 1.6,
            },
        }
    ]


def test_a_lifecycle_event_has_its_properties_and_no_worth() -> None:
    told = rendered(
        name="trial_started",
        revenue=None,
        properties={"subscription_id": "sub_1", "quantity": 1, "reason": "", "items": [1]},
    )

    assert told["events"] == [
        {
            "name": "trial_started",
            "params": {
                "event_id": "00000000-0000-5000-8000-000000000001",
                "subscription_id": "sub_1",
                "quantity": 1,
            },
        }
    ]


@pytest.mark.parametrize(
    ("money", "value"),
    [
        (Money(1299, "jpy"), 1299.0),
        (Money(12999, "kwd"), 12.999),
        (Money(129900, "ugx"), 1299.0),
    ],
)
def test_amounts_have_stripes_own_decimals(money: Money, value: float) -> None:
    told = params(revenue=money)

    assert (told["value"], told["currency"]) == (value, money.currency.upper())


@pytest.mark.parametrize(
    ("cookie", "client"),
    [
        ("1098115397.1740830000", "1098115397.1740830000"),
        ("GA1.1.1098115397.1740830000", "1098115397.1740830000"),
        ("GA1.2-2.1098115397.1740830000", "1098115397.1740830000"),
    ],
)
def test_the_client_id_is_read_from_the_whole_cookie_too(cookie: str, client: str) -> None:
    assert rendered(ids={"ga_client_id": cookie})["client_id"] == client


@pytest.mark.parametrize(
    "client",
    ["", "1098115397", "a.b", "amp-x1", "1.2.3", "GA1.1.x.1", "1.2 ", "٣.٣", "anna@example.com"],
)
def test_what_is_no_pair_of_numbers_is_no_client(client: str) -> None:
    somebody = an_event(ids={**VISIT, "ga_client_id": client})

    assert GA4.render(somebody, DEDUPE_ID) == NO_CLIENT


def test_nobody_is_invented_for_who_has_no_client_id() -> None:
    assert GA4.render(an_event(ids={"user_id": "user_7"}), DEDUPE_ID) == NO_CLIENT


@pytest.mark.parametrize(
    ("cookie", "session"),
    [
        ("1740830100", "1740830100"),
        ("GS1.1.1740830100.3.1.1740830200.0.0.0", "1740830100"),
        ("GS2.1.s1740830100$o3$g1$t1740830200$j60$l0$h0", "1740830100"),
        ("GS2.1.s1740830100", "1740830100"),
        ("s_1", None),
        ("GS3.1.1740830100", None),
        ("1740830100.5", None),
    ],
)
def test_the_session_is_read_from_the_whole_cookie_too(cookie: str, session: str | None) -> None:
    told = params(ids={**CLIENT, "session_id": "1", "ga_session_id": cookie})

    assert told.get("session_id") == session
    assert ("engagement_time_msec" in told) == (session is not None)


@pytest.mark.parametrize(
    ("user", "sent"), [("u" * 256, True), ("u" * 257, False), ("anna@example.com", False)]
)
def test_a_user_id_that_google_forbids_is_left_out(user: str, sent: bool) -> None:
    assert ("user_id" in rendered(ids={**CLIENT, "user_id": user})) == sent


@pytest.mark.parametrize(("said", "word"), [(True, "GRANTED"), (False, "DENIED"), (None, None)])
def test_consent_for_ads_rides_where_it_was_said(said: bool | None, word: str | None) -> None:
    both = {"ad_user_data": word, "ad_personalization": word}

    assert rendered(consent=Consent(ads=said)).get("consent") == (both if word else None)


def test_the_browsers_own_id_of_the_conversion_is_the_event_id() -> None:
    ours, longest = str(DEDUPE_ID), "x" * 100
    for told, sent in (
        ("order-1", "order-1"),
        (longest, longest),
        (longest + "x", ours),
        (None, ours),
    ):
        event = replace(an_event(ids=CLIENT), conversion_id=told)
        body = GA4.render(event, DEDUPE_ID)
        assert isinstance(body, bytes)
        assert orjson.loads(body)["events"][0]["params"]["event_id"] == sent


def test_at_most_25_params_leave_and_the_campaign_gives_way() -> None:
    many = {f"p{i:02}": i for i in range(18)}
    campaign = {"landing_page": "/", "referrer": "r", "utm_source": "s", "utm_term": "t"}
    told = params(properties={**campaign, **many})

    assert len(told) == 25
    assert told.keys() >= many.keys() | {"utm_source", "utm_term"}
    assert not told.keys() & {"landing_page", "referrer"}


def test_a_long_word_is_cut_where_it_is_the_campaigns_and_else_left_out() -> None:
    told = params(properties={"reason": "x" * 101, "feedback": "y" * 100, "utm_term": "z" * 101})

    assert (told.get("reason"), told["feedback"], told["utm_term"]) == (None, "y" * 100, "z" * 100)


def test_at_most_200_items_leave() -> None:
    line = {"price_id": "price_1", "amount": 1.0, "quantity": 0.5}
    items = params(properties={"items": [line] * 201})["items"]

    assert items == [{"item_id": "price_1", "price": 1.0, "quantity": 1}] * 200


def test_an_id_that_is_too_long_names_no_item() -> None:
    line = {"product_id": "p" * 101, "price_id": "r" * 100, "amount": 1.0}
    whole = {"product_id": "p" * 101}

    assert params(properties={"items": [line]})["items"] == [
        {"item_id": "r" * 100, "price": 1.0, "quantity": 1}
    ]
    assert params(properties=whole)["items"][0]["item_name"] == "payment"


def test_what_google_would_move_to_another_day_is_too_late() -> None:
    assert GA4.lateness == GA4.DEDUPE_WINDOW == timedelta(hours=72)


def test_without_a_line_that_sells_the_product_is_the_item() -> None:
    lines = [{"amount": 5.0}, {"price_id": "price_1", "amount": -1.0}]
    items = params(properties={"items": lines, "product_id": "prod_1"})["items"]

    assert items == [{"item_id": "prod_1", "price": 12.99, "quantity": 1}]


def test_every_name_of_ours_is_one_that_ga4_takes() -> None:
    for name in EVENTS:
        assert rendered(name=name, properties={"invoice_id": "in_1"})["events"]
    form = re.compile("(?!ga_|firebase_|google_)[A-Za-z][A-Za-z0-9_]{0,39}")
    assert not [name for name in PROPERTIES if not form.fullmatch(name)]


@pytest.mark.parametrize("name", ["Order Paid", "session_start", "ga_sale", "_sale", "a" * 41, "é"])
def test_a_new_name_that_ga4_does_not_take_is_warned_of_and_never_sent(name: str) -> None:
    renamed = replace(GA4, rename=(f"trial_started={name}",))
    trial = an_event(name="trial_started", ids=CLIENT, revenue=None)

    assert renamed.warnings() == [
        "BRIDGE_DEST_GA4_RENAME: GA4 takes up to 40 letters, digits and _, and not its own names"
    ]
    assert renamed.render(trial, DEDUPE_ID) == Skipped(f"GA4 takes no event name {name}")


def test_names_at_the_limit_are_fine_and_a_prefix_beyond_it_is_warned_of() -> None:
    longest = 40 - max(len(name) for name in EVENTS)
    fine, long = (replace(GA4, prefix="p" * size) for size in (longest, longest + 1))

    assert fine.warnings() == []
    assert long.warnings() == [
        "BRIDGE_DEST_GA4_PREFIX: GA4 takes up to 40 letters, digits and _, and not its own names"
    ]
    assert rendered(long)["events"][0]["name"] == "purchase"


def test_only_what_google_dedupes_is_sent_again_unless_told_otherwise() -> None:
    purchase, refund = frozen(), frozen(name="refund_created", properties={"charge_id": "ch_1"})
    renamed = frozen(ga4=replace(GA4, rename=("payment_succeeded=sale",)))
    eager = replace(GA4, ambiguous="retry")

    assert [GA4.at_most_once(body) for body in (purchase, refund, renamed)] == [False, True, True]
    assert [eager.at_most_once(body) for body in (purchase, refund, renamed)] == [False] * 3


def a_payload() -> Payload:
    return Payload(DEDUPE_ID, frozen())


def test_the_frozen_bytes_go_to_the_region_with_the_keys_in_the_query() -> None:
    request = GA4.request([a_payload()], 0.0)
    europe = replace(GA4, region="eu", api_secret="a&b=c").request([a_payload()], 0.0)

    assert (request.url, dict(request.headers), request.body) == (
        "https://www.google-analytics.com/mp/collect?measurement_id=G-ABC123&api_secret=AbC-123_xyz",
        {"Content-Type": "application/json"},
        a_payload().body,
    )
    assert europe.url == (
        "https://region1.google-analytics.com/mp/collect"
        "?measurement_id=G-ABC123&api_secret=a%26b%3Dc"
    )


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        (
            "https://tags.example.com/mp/collect",
            "https://tags.example.com/mp/collect?measurement_id=G-ABC123&api_secret=AbC-123_xyz",
        ),
        (
            "https://tags.example.com/in?",
            "https://tags.example.com/in?measurement_id=G-ABC123&api_secret=AbC-123_xyz",
        ),
        ("https://tags.example.com/in?key=1", "https://tags.example.com/in?key=1"),
    ],
)
def test_a_tagging_server_gets_the_same_keys_unless_its_url_has_a_query(
    url: str, asked: str
) -> None:
    assert replace(GA4, url=url).request([a_payload()], 0.0).url == asked


def test_the_settings_are_checked_by_form() -> None:
    assert build("ga4", {"measurement_id": "UA-1-1"}, allow_local_urls=False) == [
        "BRIDGE_DEST_GA4_MEASUREMENT_ID: must be G- and letters and digits, as the web stream's"
        " details show it",
        "BRIDGE_DEST_GA4_API_SECRET: is missing; it must be 1 to 100 printable ASCII characters"
        " without spaces",
    ]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Delivered()),
        (204, Delivered()),
        (302, Retry("redirect not followed: 302 words")),
        (400, Rejected("400 words")),
        (413, Rejected("413 words")),
        (401, Suspended("401 words", after=3600.0)),
        (403, Suspended("403 words", after=3600.0)),
        (404, Retry("404 words")),
        (410, Suspended("410 words")),
        (429, Retry("429 words", after=30.0, lane=True)),
        (503, Retry("503 words")),
        (None, Retry("words")),
    ],
)
def test_what_each_answer_means(status: int | None, outcome: object) -> None:
    assert GA4.judge(Response(status, "words"), [a_payload()]) == [outcome]


def test_an_echoed_secret_is_masked_as_it_is_and_as_the_url_has_it() -> None:
    odd = replace(GA4, api_secret="a&b=c")

    assert odd.judge(Response(400, "a&b=c a%26b%3Dc"), [a_payload()]) == [Rejected("400 *** ***")]


ASKED = "measurement_id=G-ABC123&api_secret=AbC-123_xyz"


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("", f"https://region1.google-analytics.com/debug/mp/collect?{ASKED}"),
        ("https://proxy.example/mp/collect", f"https://proxy.example/debug/mp/collect?{ASKED}"),
        ("https://proxy.example/mp/collect?k=1", "https://proxy.example/debug/mp/collect?k=1"),
    ],
)
def test_the_validation_server_is_asked_to_be_strict(url: str, asked: str) -> None:
    request = replace(GA4, region="eu", url=url).validation([a_payload()], 0.0)

    assert request is not None
    assert (request.url, dict(request.headers)) == (asked, {"Content-Type": "application/json"})
    assert orjson.loads(request.body) == {
        **orjson.loads(a_payload().body),
        "validation_behavior": "ENFORCE_RECOMMENDATIONS",
    }


def test_a_url_that_is_not_built_as_googles_has_no_validation_server() -> None:
    tagging = replace(GA4, url="https://tags.example.com/from-bridge")

    assert tagging.validation([a_payload()], 0.0) is None


def test_what_the_validation_server_found_is_told_a_line_each() -> None:
    found = {
        "validationMessages": [
            {
                "fieldPath": "events.params",
                "description": f"Item\n{SECRET}",
                "validationCode": "VALUE_INVALID",
            },
            "odd",
            {},
        ]
    }
    answers = [
        (200, orjson.dumps(found).decode()),
        (200, '{"validationMessages":[]}'),
        (200, "<html>"),
        (500, "down"),
        (None, "ReadTimeout"),
        (204, ""),
    ]

    assert [GA4.validation_problems(Response(*answer)) for answer in answers] == [
        ["events.params Item *** VALUE_INVALID", "odd", "{}"],
        [],
        ["200 <html>"],
        ["500 down"],
        ["ReadTimeout"],
        ["204"],
    ]


def told_of_everything(name: str) -> AnalyticsEvent:
    """One that happened just now, with every property that it may have."""
    words = {each: PROPERTIES[each].example for each in allowed(name)}
    event = EVENTS[name]
    revenue = Money((event.sign or -1) * 1299, "usd") if event.carries_revenue else None
    told = an_event(name=name, ids=VISIT, properties=words, revenue=revenue)
    return replace(told, key=f"payment:{name}", occurred_at=datetime.now(UTC))


def test_nothing_that_is_rendered_is_dropped_there() -> None:
    built = build("ga4", vendor.configured("http://127.0.0.1:1"), allow_local_urls=True)
    assert isinstance(built, Ga4)
    google = vendor.Ga4()
    for name in EVENTS:
        body = built.render(told_of_everything(name), DEDUPE_ID)
        assert isinstance(body, bytes)
        request = built.request([Payload(DEDUPE_ID, body)], 0.0)
        path = request.url.removeprefix("http://127.0.0.1:1")
        assert google.answer(path, request.headers, request.body) == (204, "")
        checked = built.validation([Payload(DEDUPE_ID, body)], 0.0)
        assert checked is not None
        path = checked.url.removeprefix("http://127.0.0.1:1")
        answer = google.answer(path, checked.headers, checked.body)
        assert built.validation_problems(Response(*answer)) == []

    signs = sum(each.sign or -1 for each in EVENTS.values() if each.carries_revenue)
    assert (google.dropped, google.redated, google.counted()) == ([], [], len(EVENTS))
    assert google.revenue() == {"usd": signs * Decimal("12.99")}


def test_nobody_can_be_deleted_there_by_us() -> None:
    assert GA4.erasure({"ga_client_id": ["1.2"]}, 0.0) is None
