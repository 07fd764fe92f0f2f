"""What a subscription is worth a month: prices, tiers, discounts, and ties within a second."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import permutations
from typing import Any

import pytest

from app.core.facts import PlanChange, Snapshot
from app.core.worth.last_stated import Stated, last_stated
from app.core.worth.mrr import Worth, churn_of, currency_of, item_monthly, monthly, price_ids, worth

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
JUNE = datetime(2025, 6, 1, tzinfo=UTC)

# https://docs.stripe.com/subscriptions/pricing-models/tiered-pricing
FONTS = [
    {"up_to": 5, "unit_amount": 700, "unit_amount_decimal": "700"},
    {"up_to": 10, "unit_amount": 650, "unit_amount_decimal": "650"},
    {"up_to": None, "unit_amount": 600, "unit_amount_decimal": "600"},
]
# The same page, with flat fees: 5, 4, 3, 2, 1 USD a unit, 10, 20, 30, 40, 50 USD a tier.
FLAT_FEES = [
    {"up_to": top, "unit_amount": (5 - place) * 100, "flat_amount": (place + 1) * 1000}
    for place, top in enumerate((5, 10, 15, 20, "inf"))
]


def price(amount: int | None = 1000, **changes: Any) -> dict[str, Any]:
    recurring = {"interval": "month", "interval_count": 1, "usage_type": "licensed"}
    values = {
        "id": "price_1",
        "object": "price",
        "billing_scheme": "per_unit",
        "currency": "usd",
        "product": "prod_1",
        "recurring": recurring,
        "tiers_mode": None,
        "transform_quantity": None,
        "unit_amount": amount,
        "unit_amount_decimal": None if amount is None else str(amount),
    }
    return {**values, **changes}


def every(count: int, interval: str, amount: int = 1000, **changes: Any) -> dict[str, Any]:
    recurring = {"interval": interval, "interval_count": count, "usage_type": "licensed"}
    return price(amount, recurring=recurring, **changes)


def tiered(mode: str, **changes: Any) -> dict[str, Any]:
    return price(None, billing_scheme="tiered", tiers_mode=mode, **changes)


def item(of: dict[str, Any] | str, quantity: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "id": "si_1",
        "object": "subscription_item",
        "price": of,
        "quantity": quantity,
    } | changes


def snapshot(*items: dict[str, Any], **changes: Any) -> Snapshot:
    values: dict[str, Any] = {
        "subscription": "sub_1",
        "customer": "cus_1",
        "status": "active",
        "currency": "usd",
        "started_at": NOON,
        "trial_start": None,
        "trial_end": None,
        "ended_at": None,
        "paused_collection": False,
        "churn": None,
        "items": list(items) or [item(price())],
        "discounts": [],
        "previous_attributes": None,
    }
    return Snapshot(**{**values, **changes})


def coupon(coupon_id: str = "SAVE", **changes: Any) -> dict[str, Any]:
    values = {
        "id": coupon_id,
        "object": "coupon",
        "amount_off": None,
        "currency": None,
        "duration": "forever",
        "percent_off": None,
    }
    return {**values, **changes}


def discount(of: object, discount_id: str = "di_1", **changes: Any) -> dict[str, Any]:
    return {"id": discount_id, "object": "discount", "coupon": of, "end": None} | changes


def minor(*items: dict[str, Any], **changes: Any) -> int | None:
    return worth(snapshot(*items, **changes), NOON, {}).minor


@pytest.mark.parametrize(
    ("of", "a_month"),
    [
        (every(1, "month"), Fraction(1000)),
        (every(3, "month"), Fraction(1000, 3)),
        (every(1, "year", 120_000), Fraction(10_000)),
        (every(2, "year", 120_000), Fraction(5_000)),
        (every(1, "week"), Fraction(52_000, 12)),
        (every(2, "week"), Fraction(26_000, 12)),
        (every(1, "day", 12), Fraction(365)),
        (price(None, unit_amount_decimal="0.05"), Fraction(1, 20)),
        (price(0), Fraction(0)),
    ],
)
def test_a_price_is_brought_to_the_month_as_an_exact_fraction(
    of: dict[str, Any], a_month: Fraction
) -> None:
    assert item_monthly(item(of)) == a_month


@pytest.mark.parametrize(
    ("quantity", "rounding", "packs"),
    [(10, "up", 1), (11, "up", 2), (19, "down", 1), (9, "down", 0)],
)
def test_packs_are_counted_whole(quantity: int, rounding: str, packs: int) -> None:
    of = price(transform_quantity={"divide_by": 10, "round": rounding})

    assert item_monthly(item(of, quantity)) == 1000 * packs


@pytest.mark.parametrize(
    ("quantity", "volume", "graduated"),
    [(1, 700, 700), (5, 3500, 3500), (6, 3900, 4150), (20, 12000, 12750), (25, 15000, 15750)],
)
def test_tiers_cost_what_stripes_example_says(quantity: int, volume: int, graduated: int) -> None:
    assert item_monthly(item(tiered("volume", tiers=FONTS), quantity)) == volume
    assert item_monthly(item(tiered("graduated", tiers=FONTS), quantity)) == graduated


@pytest.mark.parametrize(
    ("quantity", "volume", "graduated"),
    [(1, 1500, 1500), (5, 3500, 3500), (6, 4400, 5900), (20, 8000, 17000), (25, 7500, 22500)],
)
def test_flat_fees_come_with_each_tier_that_is_reached(
    quantity: int, volume: int, graduated: int
) -> None:
    assert item_monthly(item(tiered("volume", tiers=FLAT_FEES), quantity)) == volume
    assert item_monthly(item(tiered("graduated", tiers=FLAT_FEES), quantity)) == graduated


def test_the_first_tiers_flat_fee_is_owed_for_no_unit_at_all() -> None:
    assert item_monthly(item(tiered("graduated", tiers=FLAT_FEES), 0)) == 1000
    assert item_monthly(item(tiered("volume", tiers=FLAT_FEES), 0)) == 1000


def test_tiers_of_2018_say_amount() -> None:
    tiers = [{"up_to": 2, "amount": 500}, {"up_to": None, "amount": 300}]
    plan = {
        "id": "plan_1",
        "billing_scheme": "tiered",
        "tiers_mode": "graduated",
        "tiers": tiers,
        "interval": "month",
        "interval_count": 1,
        "usage_type": "licensed",
    }

    assert item_monthly({"id": "si_1", "plan": plan, "quantity": 3}) == 1300


def test_units_beyond_the_last_tier_are_unknown() -> None:
    assert item_monthly(item(tiered("volume", tiers=FONTS[:2]), 11)) is None
    assert item_monthly(item(tiered("graduated", tiers=FONTS[:2]), 11)) is None


def test_a_metered_price_weighs_nothing_even_with_tiers() -> None:
    metered = {"interval": "month", "interval_count": 1, "usage_type": "metered"}

    assert item_monthly(item(tiered("graduated", recurring=metered))) == 0


def test_the_catalogue_fills_in_tiers_and_prices_that_only_an_id_names() -> None:
    whole = tiered("volume", tiers=FONTS)

    assert monthly([item(tiered("volume"), 6)]) is None
    assert monthly([item(tiered("volume"), 6)], {"price_1": {"tiers": FONTS}}) == 3900
    assert monthly([item("price_1", 6)]) is None
    assert monthly([item("price_1", 6), item(price())], {"price_1": whole}) == 4900


def test_a_plan_change_names_the_prices_that_the_catalogue_must_know() -> None:
    custom = price(None, id="price_custom", custom_unit_amount={"minimum": 100})
    before = [item(price(id="price_known")), item(tiered("volume", id="price_a"))]
    change = PlanChange(before=before, after=[item("price_b"), item(custom)])

    assert price_ids(change) == {"price_a", "price_b", "price_custom"}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("active", 1000),
        ("past_due", 1000),
        ("trialing", 0),
        ("incomplete", 0),
        ("incomplete_expired", 0),
        ("paused", 0),
        ("unpaid", 0),
        ("canceled", 0),
    ],
)
def test_only_active_and_past_due_count(status: str, expected: int) -> None:
    assert minor(status=status) == expected


def test_paused_collection_counts_nothing_and_asks_for_nothing() -> None:
    paused = snapshot(item(tiered("volume")), paused_collection=True)

    assert worth(paused, NOON, {}) == Worth(minor=0)


def test_each_item_is_rounded_once_half_away_from_zero() -> None:
    third = item(every(1, "year", 100))  # 8.333 a month
    half = item(every(2, "month", 5))  # 2.5 a month

    assert minor(third) == 8
    assert minor(third, third, third) == 24
    assert minor(half) == 3
    assert minor(half, half) == 6


def test_tiers_that_are_not_here_make_the_worth_unknown_and_never_0() -> None:
    tiers, options = ("price.tiers", "price_1"), ("price.currency_options", "price_2")
    both = snapshot(item(tiered("volume"), 6), item(price(id="price_2", currency="eur")))

    assert worth(both, NOON, {}) == Worth(
        minor=None, missing=frozenset({tiers, options}), asked=frozenset({tiers, options})
    )
    known: dict[tuple[str, str], Any] = {
        tiers: {"tiers": FONTS},
        options: {"usd": {"unit_amount_decimal": "1100"}},
    }
    assert worth(both, NOON, known) == Worth(minor=5000, asked=frozenset({tiers, options}))


def test_an_amount_that_the_customer_chooses_is_unknown_and_waits_for_nothing() -> None:
    custom = item(price(None, custom_unit_amount={"minimum": 100}))

    assert worth(snapshot(custom), NOON, {}) == Worth(minor=None)


def test_a_sum_that_is_no_money_is_unknown() -> None:
    assert minor(item(price(10**18), 10**9)) is None


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (coupon(percent_off=25), 7_500),
        (coupon(percent_off=33.33), 6_667),
        (coupon(percent_off=100), 0),
        (coupon(amount_off=300, currency="usd"), 9_700),
        (coupon(amount_off=99_999, currency="usd"), 0),
        (coupon(percent_off=25, duration="once"), 10_000),
        (coupon(percent_off=25, duration="repeating", duration_in_months=3), 7_500),
    ],
)
def test_what_a_coupon_takes_off_a_month(of: dict[str, Any], expected: int) -> None:
    assert minor(item(price(10_000)), discounts=[discount(of)]) == expected


def test_an_amount_off_is_per_invoice_so_a_twelfth_a_month_of_a_yearly_price() -> None:
    off = coupon(amount_off=12_000, currency="usd")

    assert minor(item(every(1, "year", 120_000)), discounts=[discount(off)]) == 9_000


def test_an_amount_off_is_taken_as_often_as_the_items_that_come_most_often() -> None:
    off = discount(coupon(amount_off=600, currency="usd"))
    items = [item(price(1000)), item(every(1, "year", 24_000, id="price_2"))]

    assert minor(*items, discounts=[off]) == 1000 + 2000 - 600


def test_a_discount_that_has_ended_asks_for_no_coupon() -> None:
    ended = {"id": "di_1", "source": {"coupon": "SAVE"}, "end": int(NOON.timestamp())}

    assert worth(snapshot(discounts=[ended]), NOON, {}) == Worth(minor=1000)


def test_an_amount_off_is_spread_over_the_items_in_proportion() -> None:
    off = discount(coupon(amount_off=1000, currency="usd"))
    items = [item(price(1000)), item(price(3000, id="price_2"))]

    assert minor(*items, discounts=[off]) == 750 - 500 + 2250 + 500


def test_item_discounts_come_before_the_subscriptions() -> None:
    amount = discount(coupon("TEN", amount_off=1000, currency="usd"))
    half = discount(coupon("HALF", percent_off=50), "di_2")

    assert minor(item(price(10_000), discounts=[amount]), discounts=[half]) == 4_500
    assert minor(item(price(10_000), discounts=[half]), discounts=[amount]) == 4_000


def test_a_coupon_for_one_product_leaves_the_others_alone() -> None:
    only = coupon(percent_off=50, applies_to={"products": ["prod_2"]})
    items = [item(price(1000)), item(price(2000, id="price_2", product="prod_2"))]

    assert minor(*items, discounts=[discount(only)]) == 2000


def test_a_coupon_that_hides_its_products_is_taken_for_all_and_asked_for() -> None:
    items = [item(price(1000)), item(price(2000, id="price_2", product="prod_2"))]
    given = snapshot(*items, discounts=[discount(coupon(percent_off=50))])
    key = ("coupon.applies_to", "SAVE")

    assert worth(given, NOON, {}) == Worth(
        minor=1500, missing=frozenset({key}), asked=frozenset({key})
    )
    said = {key: {"products": ["prod_1"]}}
    assert worth(given, NOON, said) == Worth(minor=2500, asked=frozenset({key}))


def test_an_amount_off_in_another_currency_needs_the_coupons_options() -> None:
    off = coupon(amount_off=100, currency="eur")
    key = ("coupon.currency_options", "SAVE")

    unknown = worth(snapshot(discounts=[discount(off)]), NOON, {})
    assert (unknown.minor, unknown.missing) == (None, frozenset({key}))
    assert (
        minor(discounts=[discount({**off, "currency_options": {"usd": {"amount_off": 120}}})])
        == 880
    )
    assert worth(snapshot(discounts=[discount(off)]), NOON, {key: {"gbp": {}}}) == Worth(
        minor=None, asked=frozenset({key})
    )


def test_a_discount_that_only_an_id_names_leads_to_its_coupon() -> None:
    """Since 2025-03-31 subscriptions list ids, since 2025-09-30 discounts do, too."""
    given = snapshot(discounts=["di_1"])
    by_id, its = ("discount", "di_1"), ("coupon", "SAVE")
    clover = {"id": "di_1", "source": {"type": "coupon", "coupon": "SAVE"}, "end": None}
    percent = {"duration": "forever", "percent_off": "25"}

    nothing = worth(given, NOON, {})
    assert (nothing.minor, nothing.missing) == (None, frozenset({by_id}))
    halfway = worth(given, NOON, {by_id: clover})
    assert (halfway.minor, halfway.missing) == (None, frozenset({its}))
    assert worth(given, NOON, {by_id: clover, its: percent}) == Worth(
        minor=750, asked=frozenset({by_id, its})
    )


def test_what_costs_nothing_is_known_whatever_its_discounts() -> None:
    assert worth(snapshot(item(price(0)), discounts=["di_1"]), NOON, {}) == Worth(minor=0)


def test_the_end_of_a_repeating_discount_is_foreseen() -> None:
    months = coupon("THREE", percent_off=50, duration="repeating", duration_in_months=3)
    ends = discount(months, end=int(JUNE.timestamp()))
    given = snapshot(discounts=[ends, discount(coupon(percent_off=10), "di_2")])

    assert worth(given, NOON, {}) == Worth(minor=450, discount_ends_at=JUNE, minor_after=900)
    assert worth(given, JUNE - timedelta(seconds=1), {}).minor == 450
    assert worth(given, JUNE, {}) == Worth(minor=900)


def test_the_first_end_that_makes_a_difference_is_the_step() -> None:
    def until(end: datetime, discount_id: str, percent: int) -> dict[str, Any]:
        of = coupon(discount_id, percent_off=percent, duration="repeating")
        return discount(of, discount_id, end=int(end.timestamp()))

    nothing = until(JUNE, "di_1", 0)
    half = until(JUNE + timedelta(days=30), "di_2", 50)

    assert worth(snapshot(discounts=[nothing, half]), NOON, {}) == Worth(
        minor=500, discount_ends_at=JUNE + timedelta(days=30), minor_after=1000
    )


def test_the_currency_is_the_first_prices_where_the_subscription_does_not_say() -> None:
    assert currency_of(snapshot(currency=None)) == "usd"
    assert currency_of(snapshot(item(price(currency="EUR")), currency=None)) == "eur"
    assert currency_of(snapshot(currency="gbp")) == "gbp"


def test_unpaid_is_involuntary_of_itself() -> None:
    assert churn_of(snapshot(status="unpaid")) == "involuntary"
    assert churn_of(snapshot(status="canceled", churn="voluntary")) == "voluntary"
    assert churn_of(snapshot(status="canceled")) is None


# --- several webhook events in one second


def stated(event_id: str, *items: dict[str, Any], hydrated: bool = False, **changes: Any) -> Stated:
    return Stated(
        snapshot=snapshot(*items, **changes), at=NOON, event_id=event_id, hydrated=hydrated
    )


def last(*given: Stated) -> set[str]:
    """The ids of those that are last, over every order of arrival: one, if order is nothing."""
    return {last_stated(order).event_id for order in permutations(given)}


def listed(*items: dict[str, Any]) -> dict[str, Any]:
    return {"items": {"object": "list", "data": list(items)}}


def test_what_follows_from_previous_attributes_stands_whatever_the_ids() -> None:
    one, two, three = (item(price(), quantity) for quantity in (1, 2, 3))
    created = stated("evt_c", one, status="incomplete")
    paid = stated("evt_b", one, previous_attributes={"status": "incomplete"})
    grown = stated("evt_z", two, previous_attributes=listed(one))
    again = stated("evt_a", three, previous_attributes=listed(two))

    assert last(created, paid, grown, again) == {"evt_a"}


def test_there_and_back_again_ends_where_the_walk_ends() -> None:
    created = stated("evt_1")
    lapsed = stated("evt_9", status="past_due", previous_attributes={"status": "active"})
    paid = stated("evt_5", previous_attributes={"status": "past_due"})
    lapsed_again = stated("evt_2", status="past_due", previous_attributes={"status": "active"})

    assert last(created, lapsed, paid) == {"evt_5"}
    # Two say the same, so the id decides between equals.
    assert last(created, lapsed, paid, lapsed_again) == {"evt_9"}


def test_what_changes_nothing_of_worth_is_no_step() -> None:
    note = stated("evt_9", status="incomplete", previous_attributes={"metadata": {"a": "b"}})
    paid = stated("evt_1", previous_attributes={"status": "incomplete"})

    assert last(note, paid) == {"evt_1"}


def test_pauses_trials_and_discounts_are_steps() -> None:
    trial = stated("evt_9", trial_end=JUNE, status="trialing")
    longer = stated(
        "evt_5",
        trial_end=JUNE + timedelta(days=1),
        status="trialing",
        previous_attributes={"trial_end": int(JUNE.timestamp())},
    )
    cut: dict[str, Any] = {"trial_end": JUNE + timedelta(days=1)}
    reduced = stated(
        "evt_4", status="trialing", discounts=["di_1"], previous_attributes={"discounts": []}, **cut
    )
    paused = stated(
        "evt_3",
        status="trialing",
        discounts=["di_1"],
        paused_collection=True,
        previous_attributes={"pause_collection": None},
        **cut,
    )

    assert last(trial, longer, reduced, paused) == {"evt_3"}


def test_old_events_name_the_previous_plan_and_quantity_at_the_top() -> None:
    def planned(plan: str, quantity: int) -> dict[str, Any]:
        return {"id": "si_1", "plan": {"id": plan}, "quantity": quantity}

    bigger = stated("evt_9", planned("a", 2), previous_attributes={"quantity": 1})
    moved = stated("evt_1", planned("b", 2), previous_attributes={"plan": {"id": "a"}})

    assert last(bigger, moved) == {"evt_1"}


@pytest.mark.parametrize("status", ["canceled", "incomplete_expired"])
def test_nothing_follows_an_end(status: str) -> None:
    ended = stated("evt_1", status=status)
    changed = stated("evt_9", previous_attributes={"status": "past_due"})

    assert last(ended, changed) == {"evt_1"}


def test_what_stripe_sent_goes_before_what_was_asked_for_later() -> None:
    fetched = stated("evt_9", status="canceled", hydrated=True)

    assert last(fetched, stated("evt_1")) == {"evt_1"}
    assert last(fetched, stated("evt_1", hydrated=True)) == {"evt_9"}


def test_what_cannot_be_ordered_goes_by_the_webhook_events_id() -> None:
    back = stated("evt_1", previous_attributes={"status": "past_due"})
    forth = stated("evt_2", status="past_due", previous_attributes={"status": "active"})

    assert last(back, forth) == {"evt_2"}
    assert last(stated("evt_1"), stated("evt_2", item(price(2)))) == {"evt_2"}
