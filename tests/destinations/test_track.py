"""What Segment's and RudderStack's events have in common: words, amounts, limits and answers."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson
import pytest

from app.core.analytics import AnalyticsEvent
from app.core.consent import Consent
from app.core.money import Money
from app.core.outcome import Delivered, Outcome, Retry, Skipped, Split, Suspended
from app.destinations.base import Destination, Payload, Response
from app.destinations.rudderstack import RudderStack
from app.destinations.segment import Segment
from app.destinations.track import MAX_EVENT
from tests.destinations.example import DEDUPE_ID, an_event

KEY = "wk_0123456789"
BASIC = "d2tfMDEyMzQ1Njc4OTo="  # of the key and a colon
URL = "https://data.example.com/v1/batch"
SEGMENT = Segment(name="segment", write_key=KEY)
RUDDERSTACK = RudderStack(name="rudderstack", write_key=KEY, url=URL)
PAID: dict[str, Any] = {
    "invoice_id": "in_1",
    "subscription_id": "sub_1",
    "billing_reason": "subscription_create",
    "amount": 53.9,
    "amount_net_of_tax": 49.0,
    "tax": 4.9,
    "discount": 0.0,
    "currency": "USD",
    "price_id": "price_pro",
    "product_id": "prod_pro",
    "items": [{"price_id": "price_pro", "product_id": "prod_pro", "quantity": 1, "amount": 49.0}],
    "utm_source": "newsletter",
    "utm_campaign": "spring",
    "referrer": "https://www.example.com/",
}
both = pytest.mark.parametrize("one", [SEGMENT, RUDDERSTACK], ids=["segment", "rudderstack"])


def payment(**changes: Any) -> AnalyticsEvent:
    return an_event(properties=PAID | changes, revenue=Money(5390, "usd"))


def rendered(one: Destination, event: AnalyticsEvent) -> dict[str, Any]:
    body = one.render(event, DEDUPE_ID)
    assert isinstance(body, bytes)
    loaded: dict[str, Any] = orjson.loads(body)
    return loaded


def judged(one: Destination, status: int | None, text: str, **headers: str) -> list[Outcome]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return list(one.judge(Response(status, text, names), [Payload(DEDUPE_ID, b"{}")] * 2))


@both
@pytest.mark.parametrize(
    ("money", "told"),
    [
        (Money(1299, "usd"), (12.99, "USD")),
        (Money(-1299, "usd"), (-12.99, "USD")),
        (Money(1299, "jpy"), (1299.0, "JPY")),
        (Money(1299, "kwd"), (1.299, "KWD")),
        (Money(130_000, "ugx"), (1300.0, "UGX")),
    ],
)
def test_revenue_is_in_whole_units_and_signed(
    one: Destination, money: Money, told: tuple[float, str]
) -> None:
    properties = rendered(one, an_event(revenue=money))["properties"]

    assert (properties["revenue"], properties["currency"]) == told


@both
def test_without_money_there_is_no_revenue(one: Destination) -> None:
    event = an_event(name="subscription_paused", revenue=None, properties={"pause": "status"})

    assert rendered(one, event)["properties"] == {"pause": "status"}


@both
def test_the_time_is_stripes_in_utc_with_milliseconds(one: Destination) -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    at = datetime(2025, 3, 1, 17, 30, 0, 123_456, tzinfo=east)

    assert rendered(one, replace(an_event(), occurred_at=at))["timestamp"] == (
        "2025-03-01T12:00:00.123Z"
    )


@both
def test_a_blank_id_is_none(one: Destination) -> None:
    words = f"{one.TITLE} needs a user_id or a device_id"

    assert one.render(an_event(ids={"user_id": " ", "device_id": " "}), DEDUPE_ID) == Skipped(words)
    assert one.render(an_event(ids={"mixpanel_device_id": "m"}), DEDUPE_ID) == Skipped(words)
    assert rendered(one, an_event(ids={"user_id": " ", "device_id": "d"}))["anonymousId"] == "d"
    assert "anonymousId" not in rendered(one, an_event(ids={"user_id": "u"}))


@both
def test_the_stand_in_for_nobody_is_an_anonymous_id(one: Destination) -> None:
    body = rendered(one, an_event(ids={"device_id": "stripe:cus_1"}))

    assert ("userId" in body, body["anonymousId"]) == (False, "stripe:cus_1")


@both
def test_the_campaign_of_the_visit_is_in_the_context_of_what_came_of_it(one: Destination) -> None:
    context = rendered(one, payment())["context"]

    assert context["campaign"] == {"source": "newsletter", "name": "spring"}
    assert context["page"] == {"referrer": "https://www.example.com/"}


@both
@pytest.mark.parametrize(
    ("name", "changes", "rides"),
    [
        ("payment_succeeded", {}, True),
        ("payment_succeeded", {"billing_reason": "subscription_cycle"}, False),
        ("payment_succeeded", {"billing_reason": "subscription_update"}, False),
        ("checkout_completed", {}, True),
        ("trial_started", {}, True),
        ("subscription_renewed", {}, False),
        ("refund_created", {}, False),
        ("subscription_cancelled", {}, False),
    ],
)
def test_no_later_event_brings_an_old_campaign_back(
    one: Destination, name: str, changes: dict[str, Any], *, rides: bool
) -> None:
    body = rendered(one, replace(payment(**changes), name=name))

    assert ("campaign" in body["context"], "page" in body["context"]) == (rides, rides)
    assert body["properties"]["utm_campaign"] == "spring"


@both
def test_a_one_off_payment_is_of_its_visit_and_a_hidden_reason_of_none(one: Destination) -> None:
    one_off = {"payment_intent_id": "pi_1", "utm_source": "ad"}
    hidden = {"invoice_id": "in_1", "utm_source": "ad"}

    assert rendered(one, an_event(properties=one_off))["context"]["campaign"] == {"source": "ad"}
    assert "campaign" not in rendered(one, an_event(properties=hidden))["context"]


@pytest.mark.parametrize("one", [replace(SEGMENT, orders="on"), replace(RUDDERSTACK, orders="on")])
def test_a_payment_as_an_order(one: Destination) -> None:
    body = rendered(one, payment())

    assert body["event"] == "Order Completed"
    assert body["properties"] == {name: PAID[name] for name in PAID if name != "items"} | {
        "order_id": "in_1",
        "revenue": 53.9,
        "total": 53.9,
        "products": [{"product_id": "prod_pro", "sku": "price_pro", "quantity": 1, "price": 49.0}],
    }


ORDERS = replace(SEGMENT, orders="on")
REFUND = {"refund_id": "re_1", "payment_intent_id": "pi_1", "charge_id": "ch_1"}


def test_a_refund_as_an_order_has_a_positive_total_and_no_revenue() -> None:
    event = an_event(
        name="refund_created",
        properties=REFUND | {"amount": -10.0, "tax": -1.6, "currency": "EUR"},
        revenue=Money(-1000, "eur"),
    )
    body = rendered(ORDERS, event)

    assert body["event"] == "Order Refunded"
    assert body["properties"] == REFUND | {
        "order_id": "pi_1",
        "amount": -10.0,
        "tax": 1.6,
        "total": 10.0,
        "currency": "EUR",
    }


def test_the_same_refund_without_orders_is_ours_and_negative() -> None:
    event = an_event(name="refund_created", properties=REFUND, revenue=Money(-1000, "eur"))
    body = rendered(SEGMENT, event)

    assert (body["event"], body["properties"]) == (
        "refund_created",
        REFUND | {"revenue": -10.0, "currency": "EUR"},
    )


@pytest.mark.parametrize("name", ["dispute_funds_withdrawn", "refund_reversed", "trial_started"])
def test_what_has_no_order_word_keeps_its_own(name: str) -> None:
    event = an_event(name=name, properties={"charge_id": "ch_1"}, revenue=Money(-1000, "eur"))

    assert rendered(ORDERS, event) == rendered(SEGMENT, event)


def test_a_payment_of_no_money_is_no_order() -> None:
    event = an_event(revenue=None)

    assert rendered(ORDERS, event) == rendered(SEGMENT, event)


def test_revenue_without_tax_leaves_the_orders_total_as_it_was_paid() -> None:
    body = rendered(ORDERS, replace(payment(), revenue=Money(4900, "usd")))

    assert (body["properties"]["revenue"], body["properties"]["total"]) == (49.0, 53.9)


def test_what_may_not_leave_is_not_told_in_order_words_either() -> None:
    body = rendered(ORDERS, an_event(properties={"billing_reason": "subscription_create"}))

    assert body["properties"] == {
        "billing_reason": "subscription_create",
        "revenue": 12.99,
        "total": 12.99,
        "currency": "USD",
    }


@pytest.mark.parametrize(
    ("currency", "item", "product"),
    [
        ("usd", {"quantity": 3, "amount": 10.0}, {"quantity": 3, "price": 3.33}),
        ("jpy", {"quantity": 3, "amount": 1000.0}, {"quantity": 3, "price": 333.0}),
        ("kwd", {"quantity": 3, "amount": 1.0}, {"quantity": 3, "price": 0.333}),
        ("usd", {"quantity": 0.5, "amount": 10.0}, {"quantity": 0.5, "price": 20.0}),
        ("usd", {"quantity": 0, "amount": 10.0}, {"quantity": 0}),
        ("usd", {"amount": -4.5, "proration": True}, {"price": -4.5}),
        ("usd", {"price_id": "price_1"}, {"sku": "price_1"}),
    ],
)
def test_a_products_price_is_that_of_one(
    currency: str, item: dict[str, Any], product: dict[str, Any]
) -> None:
    event = an_event(properties={"items": [item]}, revenue=Money(1000, currency))

    assert rendered(ORDERS, event)["properties"]["products"] == [product]


def test_a_rename_goes_before_the_order_word_and_the_prefix_is_for_our_names_alone() -> None:
    renamed = replace(ORDERS, rename=("payment_succeeded=Paid",), prefix="Stripe ")

    assert rendered(renamed, payment())["event"] == "Paid"
    assert rendered(replace(ORDERS, prefix="Stripe "), payment())["event"] == "Order Completed"
    assert rendered(replace(SEGMENT, prefix="Stripe "), payment())["event"] == (
        "Stripe payment_succeeded"
    )


@both
def test_what_is_too_large_stays_here_with_the_field_and_the_sizes(one: Destination) -> None:
    empty = one.render(an_event(properties={"note": ""}), DEDUPE_ID)
    assert isinstance(empty, bytes)
    room = MAX_EVENT - len(empty)
    fits = one.render(an_event(properties={"note": "x" * room}), DEDUPE_ID)
    assert isinstance(fits, bytes)

    assert len(fits) == MAX_EVENT == 32_000
    assert one.render(an_event(properties={"note": "x" * (room + 1)}), DEDUPE_ID) == Skipped(
        f"properties: {one.TITLE} takes events of 32000 bytes, this has 32001"
    )


@both
def test_the_envelope_joins_the_frozen_bytes_and_says_no_time_of_its_own(one: Destination) -> None:
    batch = [Payload(DEDUPE_ID, b'{ "a":1}'), Payload(DEDUPE_ID, b'{"b": 2 }')]
    first, later = one.request(batch, 1.0), one.request(batch, 9_999.0)

    assert dict(first.headers) == {
        "Content-Type": "application/json",
        "Authorization": f"Basic {BASIC}",
    }
    assert first.body == later.body == b'{"batch":[{ "a":1},{"b": 2 }]}'


@both
def test_one_category_for_both_purposes_keeps_the_refusal(one: Segment | RudderStack) -> None:
    single = replace(one, analytics_category="all", ads_category="all")
    event = replace(an_event(), consent=Consent(analytics=True, ads=False, at=datetime.now(UTC)))

    assert "true" not in str(orjson.dumps(rendered(single, event)["context"]))
    assert "all" in str(orjson.dumps(rendered(single, event)["context"]))


@both
@pytest.mark.parametrize(
    ("status", "text", "outcome"),
    [
        (200, '{"success":true}', Delivered()),
        (200, "OK", Delivered()),
        (200, "", Delivered()),
        (200, '{"success":false}', Retry('200 {"success":false}')),
        (200, '{"error":"no such source"}', Retry('200 {"error":"no such source"}')),
        (200, "\n<!doctype html>", Retry("200 <!doctype html>")),
        (400, "no", Split("400 no")),
        (413, "too large", Split("413 too large")),
        (401, "Invalid Write Key", Suspended("401 Invalid Write Key", after=3600.0)),
        (403, "no", Suspended("403 no", after=3600.0)),
        (404, "page not found", Retry("404 page not found")),
        (429, "slow", Retry("429 slow", after=30.0, lane=True)),
        (500, "oops", Retry("500 oops")),
        (502, "", Retry("502")),
        (None, "ReadTimeout", Retry("ReadTimeout")),
    ],
)
def test_each_answer_has_one_outcome_for_all_rows(
    one: Destination, status: int | None, text: str, outcome: Outcome
) -> None:
    assert judged(one, status, text) == [outcome, outcome]


@both
@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry_after": "7", "x_ratelimit_reset": "60"}, 7.0),
        ({"x_ratelimit_reset": "60"}, 60.0),
        ({"x_ratelimit_reset": "soon"}, 30.0),
        ({"x_ratelimit_reset": "-1"}, 30.0),
    ],
)
def test_the_wait_that_is_asked_for_is_kept(
    one: Destination, headers: dict[str, str], wait: float
) -> None:
    assert judged(one, 429, "", **headers)[0] == Retry("429", after=wait, lane=True)


@both
def test_neither_the_key_nor_its_encoding_is_kept(one: Destination) -> None:
    echo = f"{KEY} Basic {BASIC}"

    assert judged(one, 500, echo)[0] == Retry("500 *** Basic ***")
    assert judged(one, 413, "x" * 180 + f" {BASIC}")[0] == Split("413 " + "x" * 180 + " ***")
