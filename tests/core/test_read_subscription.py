"""Subscriptions: the lifecycle, from what changed; the same in every shape of Stripe's."""

from hashlib import blake2b
from typing import Any

import pytest

from app.core.facts import Fact, Link, PlanChange, Ref, Snapshot
from app.core.reading import shapes
from tests.core.stripe_objects import (
    ANNOUNCED,
    CREATED,
    DAY,
    IDS,
    MONTH,
    NOON,
    PAID,
    SUBSCRIPTIONS,
    Json,
    a_link,
    facts,
    new_item,
    new_sub,
    old_sub,
    oldest_sub,
    plan,
    price,
    read,
)


def updated(sub: Json, previous: Json) -> tuple[Fact, ...]:
    return facts("customer.subscription.updated", sub, previous)


def a_change(name: str, key: str = "", **properties: Any) -> Fact:
    common = {
        "subscription_id": "sub_1",
        "customer_id": "cus_1",
        "status": "active",
        "price_id": "price_basic",
        "product_id": "prod_1",
        "quantity": 1,
        "interval": "month",
    }
    told = {**common, **properties}
    if "previous_quantity" in told:  # two changes of one second are told apart by what changed
        was = [(told["previous_price_id"], told["previous_quantity"])]
        now = [(told["price_id"], told["quantity"])]
        key = (
            f"{name}:sub_1:1740830490:"
            + blake2b(repr((was, now)).encode(), digest_size=4).hexdigest()
        )
    return Fact(
        key=key or f"{name}:sub_1:1740830490",
        name=name,
        at=ANNOUNCED,
        about=("sub_1",),
        customer="cus_1",
        subscription="sub_1",
        properties=told,
    )


def a_start(name: str = "subscription_started", **properties: Any) -> Fact:
    key = {"trial_started": "trial_started:sub_1:1740830400"}.get(name, "started:sub_1")
    return Fact(
        key=key,
        name=name,
        at=NOON,
        about=("sub_1",),
        customer="cus_1",
        subscription="sub_1",
        properties=a_change(name, **properties).properties,
    )


@SUBSCRIPTIONS
def test_a_subscription_that_is_active_has_started(sub: Any) -> None:
    assert facts("customer.subscription.created", sub()) == (a_start(),)


@SUBSCRIPTIONS
def test_a_subscription_that_begins_with_a_trial_has_started_both(sub: Any) -> None:
    trial = {"status": "trialing", "trial_start": CREATED, "trial_end": CREATED + DAY}
    end = "2025-03-02T12:00:00+00:00"

    assert facts("customer.subscription.created", sub(**trial)) == (
        a_start(status="trialing"),
        a_start("trial_started", status="trialing", trial_end=end),
    )


@SUBSCRIPTIONS
@pytest.mark.parametrize("status", ["incomplete", "past_due", "paused"])
def test_what_is_not_live_has_not_started(sub: Any, status: str) -> None:
    assert facts("customer.subscription.created", sub(status=status)) == ()


@SUBSCRIPTIONS
def test_the_first_payment_starts_it_as_if_it_had_been_created_so(sub: Any) -> None:
    assert updated(sub(), {"status": "incomplete"}) == (a_start(),)


@SUBSCRIPTIONS
def test_what_was_never_paid_ends_without_having_been(sub: Any) -> None:
    assert updated(sub(status="incomplete_expired"), {"status": "incomplete"}) == ()


def test_a_period_that_rolls_on_is_no_fact() -> None:
    roll = {"current_period_start": CREATED - MONTH, "current_period_end": CREATED}
    last = {"latest_invoice": "in_0"}

    assert updated(old_sub(), {**roll, **last}) == ()
    assert updated(new_sub(), {"items": {"data": [new_item(start=CREATED - MONTH)]}, **last}) == ()


@SUBSCRIPTIONS
@pytest.mark.parametrize(
    "previous", [{}, {"metadata": {"user_id": None}}, {"default_payment_method": "pm_0"}]
)
def test_what_we_do_not_follow_is_no_fact(sub: Any, previous: Json) -> None:
    assert updated(sub(), previous) == ()


def before(name: str = "price_basic", quantity: int = 1) -> list[tuple[Any, Json]]:
    """(shape of now, what its previous_attributes say of then) in each form of Stripe's."""
    old_item = {"id": "si_1", "plan": plan(name), "price": price(name), "quantity": quantity}
    items = {"items": {"data": [old_item]}}
    top: Json = {"plan": plan(name), "quantity": quantity}
    return [
        (oldest_sub, top),
        (old_sub, {**items, **top}),
        (new_sub, {"items": {"data": [new_item(name, quantity)]}}),
    ]


def test_a_dearer_price_is_an_upgrade_in_every_shape() -> None:
    expected = a_change(
        "subscription_upgraded",
        price_id="price_pro",
        previous_price_id="price_basic",
        previous_quantity=1,
        currency="EUR",
        monthly_amount=25.0,
        previous_monthly_amount=10.0,
    )

    assert [updated(sub("price_pro"), then) for sub, then in before()] == [(expected,)] * 3


def test_a_cheaper_price_is_a_downgrade_in_every_shape() -> None:
    expected = a_change(
        "subscription_downgraded",
        previous_price_id="price_pro",
        previous_quantity=1,
        currency="EUR",
        monthly_amount=10.0,
        previous_monthly_amount=25.0,
    )

    assert [updated(sub(), then) for sub, then in before("price_pro")] == [(expected,)] * 3


def a_quantity(now: int, then: int) -> Fact:
    return a_change(
        "subscription_quantity_changed",
        quantity=now,
        previous_price_id="price_basic",
        previous_quantity=then,
        currency="EUR",
        monthly_amount=now * 10.0,
        previous_monthly_amount=then * 10.0,
    )


@pytest.mark.parametrize(("then", "now"), [(1, 5), (5, 1)])
def test_more_or_fewer_of_the_same_is_a_change_of_quantity_in_every_shape(
    then: int, now: int
) -> None:
    found = [updated(sub(quantity=now), was) for sub, was in before(quantity=then)]

    assert found == [(a_quantity(now, then),)] * 3


def test_before_basil_a_change_of_quantity_alone_names_the_quantity_alone() -> None:
    assert updated(oldest_sub(quantity=3), {"quantity": 1}) == (a_quantity(3, 1),)
    assert updated(old_sub(quantity=3), {"quantity": 1}) == (a_quantity(3, 1),)


def worths(sub: Json, then: list[Json]) -> list[tuple[str, Any, Any]]:
    """(name, worth a month now, worth then) of each change."""
    found = [(fact.name, fact.properties.get) for fact in updated(sub, {"items": {"data": then}})]
    return [(name, told("monthly_amount"), told("previous_monthly_amount")) for name, told in found]


def test_a_cheaper_price_at_a_greater_quantity_is_weighed_as_a_whole() -> None:
    assert worths(new_sub(quantity=3), [new_item("price_pro", 1)]) == [
        ("subscription_upgraded", 30.0, 25.0)
    ]


def an_item(**changes: Any) -> Json:
    return {**new_item(), "price": price(**changes)}


@pytest.mark.parametrize(
    ("changes", "monthly"),
    [
        ({"recurring": {"interval": "year", "interval_count": 1}}, 0.83),  # 10.00 / 12
        ({"recurring": {"interval": "month", "interval_count": 3}}, 3.33),
        ({"recurring": {"interval": "week", "interval_count": 1}}, 43.33),  # * 52 / 12
        ({"recurring": {"interval": "day", "interval_count": 1}}, 304.17),  # * 365 / 12
        ({"unit_amount": None, "unit_amount_decimal": "0.5"}, 0.01),  # half a cent
    ],
)
def test_what_is_billed_otherwise_is_worth_its_share_of_a_month(
    changes: Json, monthly: float
) -> None:
    now = new_sub(items={"data": [{**new_item(), "price": price("price_pro")}]})

    assert worths(now, [an_item(**changes)])[0][1:] == (25.0, monthly)


def test_each_item_is_rounded_once() -> None:
    year = {"interval": "year", "interval_count": 1}
    yearly = [{**an_item(recurring=year), "id": f"si_{n}"} for n in range(3)]
    three = {"price": price("price_pro", recurring=year), "id": "si_9", "quantity": 1}

    assert worths(new_sub(items={"data": [three]}), yearly) == [
        ("subscription_downgraded", 2.08, 2.49)  # 25.00 / 12, and three times 0.83
    ]


@pytest.mark.parametrize("currency", ["jpy", "kwd"])
def test_a_monthly_worth_is_in_whole_units_of_its_currency(currency: str) -> None:
    now, then = (
        [{**new_item(), "price": price(name, currency=currency)}]
        for name in ("price_pro", "price_basic")
    )
    (fact,) = updated(new_sub(currency=currency, items={"data": now}), {"items": {"data": then}})

    told = (fact.properties["currency"], fact.properties["monthly_amount"])
    assert told == {"jpy": ("JPY", 2500.0), "kwd": ("KWD", 2.5)}[currency]


def test_a_price_listed_in_another_currency_than_is_paid_has_no_worth_to_tell() -> None:
    now = new_sub("price_pro", currency="usd")
    (fact,) = updated(now, {"items": {"data": [new_item()]}})

    assert fact.properties["currency"] == "USD"
    assert fact.properties.keys() & {"monthly_amount", "previous_monthly_amount"} == set()


def test_the_first_item_names_the_price_now_and_then() -> None:
    items = [{**new_item("price_pro"), "id": "si_2"}, new_item()]
    now = new_sub(items={"data": [*items, {**new_item("price_other"), "id": "si_3"}]})
    (fact,) = updated(now, {"items": {"data": items}})

    named = (fact.properties["price_id"], fact.properties["previous_price_id"])
    assert named == ("price_pro", "price_pro")


TIERED: Json = {"billing_scheme": "tiered", "tiers_mode": "volume", "unit_amount": None}
CHOSEN: Json = {"custom_unit_amount": {"minimum": 500}, "unit_amount": None}


@pytest.mark.parametrize("unknown", [TIERED, CHOSEN])
def test_a_price_that_only_the_catalogue_can_weigh_names_the_change_later(unknown: Json) -> None:
    after = {**new_item("price_pro", 4), "price": price("price_pro", nickname="P", **unknown)}
    then = {"items": {"data": [new_item(quantity=2)]}}
    (fact,) = updated(new_sub(items={"data": [after]}), then)

    weighed = {name: value for name, value in price("price_pro").items() if name != "product"}
    plain = {name: value for name, value in price().items() if name != "product"}
    assert fact.change == PlanChange(
        before=[{"price": plain, "quantity": 2}],
        after=[{"price": {**weighed, **unknown}, "quantity": 4}],
    )
    known = a_change(
        "subscription_upgraded",
        price_id="price_pro",
        quantity=4,
        previous_price_id="price_basic",
        previous_quantity=2,
    )
    assert fact.key == known.key.replace("subscription_upgraded", "plan_changed")
    assert fact.properties == {
        **known.properties,
        "currency": "EUR",
        "previous_monthly_amount": 20.0,
    }


def test_the_catalogue_is_not_asked_about_what_is_known() -> None:
    (fact,) = updated(new_sub("price_pro"), {"items": {"data": [new_item()]}})

    assert fact.change is None


def test_more_of_a_price_that_nobody_can_weigh_is_a_change_of_quantity() -> None:
    items = [{**an_item(**TIERED), "quantity": quantity} for quantity in (2, 3)]
    now = new_sub(items={"data": items[1:]})
    (fact,) = updated(now, {"items": {"data": items[:1]}})

    assert (fact.name, fact.change) == ("subscription_quantity_changed", None)
    assert fact.properties.keys() & {"monthly_amount", "previous_monthly_amount"} == set()


@SUBSCRIPTIONS
def test_another_price_that_costs_the_same_is_neither_up_nor_down(sub: Any) -> None:
    then = {"items": {"data": [new_item("price_other")]}, "plan": plan("price_other")}

    assert updated(sub(), then) == ()


def test_an_item_more_is_an_upgrade() -> None:
    now = new_sub()
    now["items"]["data"].append({**new_item("price_pro"), "id": "si_2"})

    assert worths(now, [new_item()]) == [("subscription_upgraded", 35.0, 10.0)]


def test_a_plan_changes_only_for_who_has_one() -> None:
    now = new_sub("price_pro", status="canceled")

    assert updated(now, {"items": {"data": [new_item()]}}) == ()


@SUBSCRIPTIONS
def test_a_cancellation_scheduled_by_the_flag(sub: Any) -> None:
    now = sub(cancel_at_period_end=True, cancel_at=CREATED + DAY)
    now["cancellation_details"] = {"reason": "cancellation_requested", "feedback": "too_expensive"}

    assert updated(now, {"cancel_at_period_end": False, "cancel_at": None}) == (
        a_change(
            "subscription_cancel_scheduled",
            cancel_at="2025-03-02T12:00:00+00:00",
            reason="cancellation_requested",
            feedback="too_expensive",
        ),
    )


@SUBSCRIPTIONS
def test_a_cancellation_scheduled_by_the_flag_alone(sub: Any) -> None:
    found = updated(sub(cancel_at_period_end=True), {"cancel_at_period_end": False})

    assert found == (a_change("subscription_cancel_scheduled"),)


@SUBSCRIPTIONS
def test_a_cancellation_scheduled_by_its_time_alone_as_flexible_billing_does(sub: Any) -> None:
    expected = a_change("subscription_cancel_scheduled", cancel_at="2025-03-02T12:00:00+00:00")

    assert updated(sub(cancel_at=CREATED + DAY), {"cancel_at": None}) == (expected,)


@SUBSCRIPTIONS
@pytest.mark.parametrize(
    "previous",
    [
        {"cancel_at_period_end": True},
        {"cancel_at": CREATED + DAY},
        {"cancel_at_period_end": True, "cancel_at": CREATED + DAY, "canceled_at": CREATED},
    ],
)
def test_a_cancellation_taken_back(sub: Any, previous: Json) -> None:
    assert updated(sub(), previous) == (a_change("subscription_uncancelled"),)


@SUBSCRIPTIONS
def test_another_time_for_the_same_cancellation_is_no_second_one(sub: Any) -> None:
    assert updated(sub(cancel_at=CREATED + DAY), {"cancel_at": CREATED + 2 * DAY}) == ()


@SUBSCRIPTIONS
@pytest.mark.parametrize("status", ["past_due", "unpaid"])
def test_a_subscription_that_is_not_paid(sub: Any, status: str) -> None:
    expected = a_change(f"subscription_{status}", status=status)

    assert updated(sub(status=status), {"status": "active"}) == (expected,)


@SUBSCRIPTIONS
def test_invoices_that_stop_and_go_on_are_a_pause_of_collection(sub: Any) -> None:
    stopped = {"behavior": "void", "resumes_at": None}
    key = "{}:sub_1:1740830490:collection"

    assert updated(sub(pause_collection=stopped), {"pause_collection": None}) == (
        a_change("subscription_paused", key.format("subscription_paused"), pause="collection"),
    )
    assert updated(sub(pause_collection=None), {"pause_collection": stopped}) == (
        a_change("subscription_resumed", key.format("subscription_resumed"), pause="collection"),
    )


@SUBSCRIPTIONS
@pytest.mark.parametrize(
    ("type_", "status"), [("paused", "paused"), ("resumed", "active"), ("resumed", "past_due")]
)
def test_service_that_stops_and_goes_on_has_events_of_its_own(
    sub: Any, type_: str, status: str
) -> None:
    name = f"subscription_{type_}"
    expected = a_change(name, f"{name}:sub_1:1740830490:status", status=status, pause="status")

    assert facts(f"customer.subscription.{type_}", sub(status=status)) == (expected,)


@SUBSCRIPTIONS
@pytest.mark.parametrize(("old", "new"), [("trialing", "paused"), ("paused", "active")])
def test_a_pause_of_status_is_not_told_by_an_update_too(sub: Any, old: str, new: str) -> None:
    assert updated(sub(status=new), {"status": old}) == ()


@SUBSCRIPTIONS
def test_a_trial_that_will_end_is_told_once_for_each_end(sub: Any) -> None:
    trial = {"status": "trialing", "trial_start": CREATED, "trial_end": CREATED + DAY}
    expected = a_change(
        "trial_will_end",
        "trial_will_end:sub_1:1740916800",
        status="trialing",
        trial_end="2025-03-02T12:00:00+00:00",
    )

    assert facts("customer.subscription.trial_will_end", sub(**trial)) == (expected,)


def test_since_endive_a_trial_may_be_that_of_the_items() -> None:
    trial = {"start_date": CREATED, "end_date": CREATED + DAY}
    items = [{**new_item(), "current_trial": trial}, {**new_item(), "current_trial": None}]
    now = new_sub(status="trialing", items={"data": items})
    end = "2025-03-02T12:00:00+00:00"
    expected = a_start("trial_started", status="trialing", quantity=2, trial_end=end)

    assert facts("customer.subscription.created", now)[1:] == (expected,)


def ended(sub: Json) -> tuple[Fact, ...]:
    return facts("customer.subscription.deleted", sub)


@SUBSCRIPTIONS
@pytest.mark.parametrize(
    ("reason", "churn"),
    [
        ("cancellation_requested", {"churn": "voluntary"}),
        ("payment_failed", {"churn": "involuntary"}),
        ("payment_disputed", {"churn": "involuntary"}),
        ("canceled_by_retention_policy", {"churn": "involuntary"}),
        ("of a later version", {}),
        (None, {}),
    ],
)
def test_an_end_is_told_at_its_own_time_with_its_reason(
    sub: Any, reason: str | None, churn: Json
) -> None:
    details = {"reason": reason, "feedback": "unused", "comment": "never told"}
    now = sub(status="canceled", ended_at=CREATED + 60, cancellation_details=details)
    told = {"reason": reason} if reason else {}
    expected = a_change("subscription_cancelled", status="canceled", feedback="unused")

    assert ended(now) == (
        Fact(
            key="ended:sub_1",
            name="subscription_cancelled",
            at=PAID,
            about=("sub_1",),
            customer="cus_1",
            subscription="sub_1",
            properties={**expected.properties, **told, **churn},
        ),
    )


@pytest.mark.parametrize(
    ("status", "previous", "churn"),
    [
        ("canceled", {"status": "past_due"}, "involuntary"),
        ("canceled", {"status": "unpaid"}, "involuntary"),
        ("canceled", {"status": "active"}, None),
        ("canceled", {}, None),
        ("unpaid", None, "involuntary"),
    ],
)
def test_an_end_without_a_reason_is_involuntary_where_it_was_unpaid(
    status: str, previous: Json | None, churn: str | None
) -> None:
    reading = read("customer.subscription.deleted", new_sub(status=status), previous)

    assert [fact.properties.get("churn") for fact in reading.facts] == [churn]
    assert reading.snapshot is not None
    assert reading.snapshot.churn == churn


def test_a_reason_goes_before_the_last_status() -> None:
    asked = new_sub(status="canceled", cancellation_details={"reason": "cancellation_requested"})
    (fact,) = facts("customer.subscription.deleted", asked, {"status": "past_due"})

    assert fact.properties["churn"] == "voluntary"


@SUBSCRIPTIONS
@pytest.mark.parametrize(
    ("after_trial", "reason", "name"),
    [
        (-DAY, None, "trial_cancelled"),
        (-DAY, "cancellation_requested", "trial_cancelled"),
        (0, "cancellation_requested", "trial_cancelled"),
        (0, None, "trial_expired"),
        (3600, None, "trial_expired"),
        (3601, None, "subscription_cancelled"),
        (MONTH, "payment_failed", "subscription_cancelled"),
    ],
)
def test_an_end_before_anything_was_paid_is_an_end_of_the_trial(
    sub: Any, after_trial: int, reason: str | None, name: str
) -> None:
    trial = {"trial_start": CREATED, "trial_end": CREATED + DAY}
    end = {"ended_at": CREATED + DAY + after_trial, "cancellation_details": {"reason": reason}}

    assert [(fact.name, fact.key) for fact in ended(sub(status="canceled", **trial, **end))] == [
        (name, "ended:sub_1")
    ]


# What it says of itself, and how it stood

EVENTS = [
    f"customer.subscription.{name}"
    for name in ("created", "updated", "deleted", "trial_will_end", "paused", "resumed")
] + [f"customer.subscription.pending_update_{name}" for name in ("applied", "expired")]


def a_said(type_: str, **changes: Any) -> Link:
    created = type_ == "customer.subscription.created"
    source, customer = "subscription.metadata", "cus_1" if created else None
    return a_link("sub_1", customer=customer, source=source, anchor=created, **changes)


@SUBSCRIPTIONS
@pytest.mark.parametrize("type_", EVENTS)
def test_its_creation_anchors_the_ids_of_a_subscription_and_any_event_states_them(
    sub: Any, type_: str
) -> None:
    reading = read(type_, sub(metadata=IDS, trial_end=CREATED))
    silent = read(type_, sub(metadata={"order": "7"}, trial_end=CREATED))

    assert reading.links[0] == a_said(type_, ids=IDS)
    assert silent.links == (a_said(type_),), "it was heard to be silent"
    assert reading.refs == (Ref("sub_1", "cus_1", customer=True),)


@SUBSCRIPTIONS
def test_to_its_customer_it_speaks_when_it_begins_and_when_its_metadata_changes(sub: Any) -> None:
    begun = shapes.subscription_start(sub())
    again = read("customer.subscription.updated", sub(metadata=IDS), {"status": "trialing"})
    changed = read(
        "customer.subscription.updated", sub(metadata=IDS), {"metadata": {"user_id": "x"}}
    )

    own, theirs = again.links
    assert (own.customer, theirs.objects, theirs.customer) == (None, ("cus_1",), None)
    assert (theirs.ids, theirs.stated_at, theirs.anchor) == (IDS, begun, False)
    assert [(link.customer, link.stated_at) for link in changed.links] == [("cus_1", own.stated_at)]


@pytest.mark.parametrize("type_", EVENTS[-2:])
def test_a_pending_update_is_told_by_the_update_that_it_becomes(type_: str) -> None:
    assert facts(type_, new_sub("price_pro"), {"items": {"data": [new_item()]}}) == ()


def a_snapshot(**changes: Any) -> Snapshot:
    values: Json = {
        "subscription": "sub_1",
        "customer": "cus_1",
        "status": "active",
        "currency": "eur",
        "started_at": NOON,
        "trial_start": None,
        "trial_end": None,
        "ended_at": None,
        "paused_collection": False,
        "churn": None,
        "items": [new_item()],
        "discounts": [],
        "previous_attributes": None,
    }
    return Snapshot(**{**values, **changes})


@pytest.mark.parametrize("type_", EVENTS)
def test_each_webhook_event_leaves_a_snapshot(type_: str) -> None:
    now = new_sub(discounts=["di_1"], trial_end=CREATED + 60)
    previous: Json = {"discounts": []}
    reading = read(type_, now, previous)

    assert reading.snapshot == a_snapshot(
        trial_end=PAID, discounts=["di_1"], previous_attributes=previous
    )


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"status": "past_due"}, {"status": "past_due"}),
        ({"status": "unpaid"}, {"status": "unpaid", "churn": "involuntary"}),
        ({"status": "canceled", "ended_at": CREATED}, {"status": "canceled", "ended_at": NOON}),
        (
            {"status": "canceled", "cancellation_details": {"reason": "cancellation_requested"}},
            {"status": "canceled", "churn": "voluntary"},
        ),
        (
            {"cancellation_details": {"reason": "cancellation_requested"}, "cancel_at": CREATED},
            {},  # scheduled: it has not ended
        ),
        ({"pause_collection": {"behavior": "void"}}, {"paused_collection": True}),
        ({"discount": {"id": "di_1"}}, {"discounts": [{"id": "di_1"}]}),
    ],
)
def test_a_snapshot_keeps_what_its_worth_hangs_on(changes: Json, kept: Json) -> None:
    reading = read("customer.subscription.updated", {**new_sub(), **changes})

    assert reading.snapshot == a_snapshot(**kept)


@SUBSCRIPTIONS
def test_before_2022_the_currency_is_that_of_the_prices(sub: Any) -> None:
    snapshot = read("customer.subscription.created", sub()).snapshot

    assert snapshot is not None
    assert snapshot.currency == "eur"
