"""One fact at a time, from small Stripe objects of before and after 2025-03-31 ("basil").

Both shapes must give equal facts: a bridge reads several API versions out of one inbox.
"""

from contextlib import suppress
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import pytest

from app.core.facts import Entry, Fact, Link, Payment, Reading, Ref, Snapshot
from app.core.money import Money
from app.core.read_payment import standalone_payment
from app.core.readers import READERS, read
from app.core.stripe_shapes import Missing

Json = dict[str, Any]

CREATED = 1_740_830_400
NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
PAID = datetime(2025, 3, 1, 12, 1, tzinfo=UTC)
DAY = 86_400
MONTH = 31 * DAY
IDS = {"user_id": "user_7", "device_id": "dev_7"}
WHOSE: Json = {
    "about": ("in_1", "sub_1"),
    "customer": "cus_1",
    "invoice": "in_1",
    "subscription": "sub_1",
}


def event(type_: str, obj: object, previous: Json | None = None) -> Json:
    data: Json = {"object": obj}
    if previous is not None:
        data["previous_attributes"] = previous
    return {"object": "event", "type": type_, "created": CREATED + 90, "data": data}


ANNOUNCED = datetime(2025, 3, 1, 12, 1, 30, tzinfo=UTC)


def facts(type_: str, obj: object, previous: Json | None = None) -> tuple[Fact, ...]:
    return read(event(type_, obj, previous)).facts


# Invoices


def bill(**changes: Any) -> Json:
    """What an invoice says in every version."""
    return {
        "id": "in_1",
        "object": "invoice",
        "created": CREATED,
        "customer": "cus_1",
        "currency": "eur",
        "billing_reason": "subscription_create",
        "total": 1190,
        "amount_due": 1190,
        "amount_paid": 1190,
        "status_transitions": {"paid_at": CREATED + 60},
        "total_discount_amounts": [],
        **changes,
    }


def old_bill(tax: int = 0, period: int = CREATED, **changes: Any) -> Json:
    line = {
        "amount": 1190 - tax,
        "subscription": "sub_1",
        "proration": False,
        "period": {"start": period, "end": period + MONTH},
        "price": {"id": "price_pro", "product": "prod_pro"},
    }
    return bill(
        subscription="sub_1",
        payment_intent="pi_1",
        charge="ch_1",
        tax=tax or None,
        total_tax_amounts=[{"amount": tax, "inclusive": False}] if tax else [],
        paid_out_of_band=False,
        lines={"object": "list", "data": [line]},
        **changes,
    )


def new_bill(tax: int = 0, period: int = CREATED, **changes: Any) -> Json:
    item = {"subscription": "sub_1", "proration": False}
    line = {
        "amount": 1190 - tax,
        "parent": {"type": "subscription_item_details", "subscription_item_details": item},
        "period": {"start": period, "end": period + MONTH},
        "pricing": {"price_details": {"price": "price_pro", "product": "prod_pro"}},
    }
    return bill(
        parent={
            "type": "subscription_details",
            "subscription_details": {"subscription": "sub_1", "metadata": {}},
        },
        total_taxes=[{"amount": tax, "tax_behavior": "exclusive"}] if tax else [],
        lines={"object": "list", "data": [line]},
        **changes,
    )


def paid(invoice: Json) -> tuple[Fact, ...]:
    found = facts("invoice.paid", invoice)
    assert facts("invoice.payment_succeeded", invoice) == found, "its alias says the same"
    return found


def a_payment(minor: int = 1190, tax: int = 0, discount: int = 0, **changes: Any) -> Fact:
    return Fact(
        key="payment:in_1",
        name="payment_succeeded",
        at=PAID,
        new=True,
        money=Entry(
            kind="payment",
            money=Money(minor, "eur"),
            tax_minor=tax,
            discount_minor=discount,
            out_of_band=changes.get("out_of_band", False),
        ),
        properties={
            "invoice_id": "in_1",
            "subscription_id": "sub_1",
            "customer_id": "cus_1",
            "billing_reason": "subscription_create",
            "amount": minor / 100,
            "amount_net_of_tax": (minor - tax) / 100,
            "tax": tax / 100,
            "discount": discount / 100,
            "currency": "EUR",
            "out_of_band": False,
            "price_id": "price_pro",
            "product_id": "prod_pro",
            **changes,
        },
        **WHOSE,
    )


SHAPES = pytest.mark.parametrize("shape", [old_bill, new_bill], ids=["old", "basil"])


@SHAPES
def test_a_paid_invoice_is_one_payment_at_the_time_it_was_paid(shape: Any) -> None:
    assert paid(shape()) == (a_payment(),)


@SHAPES
def test_tax_is_read_from_where_the_version_keeps_it(shape: Any) -> None:
    assert paid(shape(tax=190)) == (a_payment(tax=190),)


def test_tax_of_before_2019_stands_in_one_field() -> None:
    invoice = old_bill(tax=190)
    del invoice["total_tax_amounts"]

    assert paid(invoice) == (a_payment(tax=190),)


@SHAPES
def test_several_taxes_and_discounts_are_summed(shape: Any) -> None:
    field = "total_taxes" if shape is new_bill else "total_tax_amounts"
    changes: Json = {field: [{"amount": 100}, {"amount": 90}]}
    discounts = [{"amount": 250, "discount": "di_1"}, {"amount": 50, "discount": "di_2"}]
    invoice = {**shape(), **changes, "total_discount_amounts": discounts}

    assert paid(invoice) == (a_payment(tax=190, discount=300),)


@SHAPES
def test_what_the_credit_balance_pays_is_no_payment_and_tax_and_discount_shrink_with_it(
    shape: Any,
) -> None:
    credit = {"starting_balance": -590, "ending_balance": 0, "amount_due": 600, "amount_paid": 600}
    invoice = {**shape(tax=190), **credit, "total_discount_amounts": [{"amount": 119}]}

    assert paid(invoice) == (a_payment(600, tax=96, discount=60),)  # 95.80 and 60.00


@SHAPES
@pytest.mark.parametrize("total", [0, -500])
def test_an_invoice_of_nothing_is_no_payment(shape: Any, total: int) -> None:
    invoice = shape(total=total, amount_due=0, amount_paid=0, billing_reason="subscription_cycle")
    invoice["total"] = total

    assert paid(invoice) == ()


def cycle(period: datetime = NOON) -> Fact:
    return Fact(
        key="cycle:in_1",
        name="subscription_renewed",
        at=PAID,
        cycle_start=period,
        properties={
            "invoice_id": "in_1",
            "subscription_id": "sub_1",
            "customer_id": "cus_1",
            "billing_reason": "subscription_cycle",
            "price_id": "price_pro",
            "product_id": "prod_pro",
        },
        **WHOSE,
    )


def renewal_payment(minor: int = 1190) -> Fact:
    first = a_payment(minor, billing_reason="subscription_cycle")
    return Fact(
        key=first.key,
        name=first.name,
        at=first.at,
        money=first.money,
        properties=first.properties,
        **WHOSE,
    )


@SHAPES
def test_a_cycles_invoice_is_a_payment_and_begins_a_period(shape: Any) -> None:
    invoice = shape(billing_reason="subscription_cycle")

    assert paid(invoice) == (renewal_payment(), cycle())


@SHAPES
def test_a_cycle_paid_wholly_from_the_balance_begins_a_period_without_money(shape: Any) -> None:
    invoice = shape(billing_reason="subscription_cycle", amount_due=0)
    invoice["amount_paid"] = 0

    assert paid(invoice) == (cycle(),)


@SHAPES
def test_the_period_is_that_of_the_service_and_not_that_of_the_invoice(shape: Any) -> None:
    later = datetime(2025, 3, 2, 12, tzinfo=UTC)
    invoice = shape(period=CREATED + DAY, billing_reason="subscription_cycle", period_start=CREATED)

    assert paid(invoice)[1] == cycle(later)


@SHAPES
def test_an_update_that_bills_a_whole_period_may_be_a_trial_cut_short(shape: Any) -> None:
    names = [fact.name for fact in paid(shape(billing_reason="subscription_update"))]

    assert names == ["payment_succeeded", "trial_converted"]


@SHAPES
def test_an_update_that_bills_prorations_alone_begins_no_period(shape: Any) -> None:
    invoice = shape(billing_reason="subscription_update")
    line = invoice["lines"]["data"][0]
    details = line["parent"]["subscription_item_details"] if "parent" in line else line
    details["proration"] = True

    assert [fact.name for fact in paid(invoice)] == ["payment_succeeded"]


def test_before_basil_an_invoice_paid_elsewhere_has_taken_nothing() -> None:
    invoice = {**old_bill(), "paid_out_of_band": True, "amount_paid": 0}

    assert paid(invoice) == ()


def test_what_stripe_did_take_of_an_invoice_paid_elsewhere_is_marked() -> None:
    invoice = {**old_bill(), "paid_out_of_band": True}

    assert paid(invoice) == (a_payment(out_of_band=True),)


def test_before_october_2019_the_announcement_is_the_time_of_payment() -> None:
    invoice = {**old_bill(), "status_transitions": None}

    assert [fact.at for fact in paid(invoice)] == [ANNOUNCED]


@pytest.mark.parametrize(
    ("currency", "minor", "amount"),
    [("jpy", 1190, 1190.0), ("kwd", 1190, 1.19), ("ugx", 119_000, 1190.0), ("ISK", 100, 1.0)],
)
@SHAPES
def test_whole_units_are_those_of_the_currency(
    shape: Any, currency: str, minor: int, amount: float
) -> None:
    (fact,) = paid({**shape(), "currency": currency, "amount_paid": minor, "total": minor})

    assert fact.money == Entry(kind="payment", money=Money(minor, currency.lower()))
    assert fact.properties["amount"] == amount


@SHAPES
def test_a_manual_invoice_belongs_to_no_subscription(shape: Any) -> None:
    invoice = {**shape(), "billing_reason": "manual", "subscription": None, "parent": None}
    invoice["lines"] = {"data": [{"amount": 1190}]}
    (fact,) = paid(invoice)

    assert (fact.about, fact.subscription, fact.new) == (("in_1",), None, True)


def test_the_links_of_an_invoice_are_its_own_the_subscriptions_and_the_lines() -> None:
    old, new = old_bill(metadata={"user_id": "own"}), new_bill(metadata={"user_id": "own"})
    old["subscription_details"] = {"metadata": IDS}
    new["parent"]["subscription_details"]["metadata"] = IDS
    for invoice in (old, new):
        invoice["lines"]["data"][0]["metadata"] = {"br_user_id": "line"}
    read_old, read_new = (read(event("invoice.paid", one)) for one in (old, new))

    def link(source: str, rank: int, ids: dict[str, str]) -> Link:
        return Link(
            objects=("in_1",),
            customer=None,
            source=source,
            rank=rank,
            ids=ids,
            campaign={},
            consent=None,
            stated_at=NOON,
            completed_at=NOON,
        )

    assert sorted(read_old.links, key=lambda one: one.rank) == [
        link("invoice.metadata", 0, {"user_id": "own"}),
        link("invoice.subscription_details.metadata", 1, IDS),
        link("invoice.lines.metadata", 2, {"user_id": "line"}),
    ]
    assert read_new.links == read_old.links


def test_a_renewal_does_not_say_when_the_visitor_was_there() -> None:
    invoice = new_bill(metadata=IDS, billing_reason="subscription_cycle")

    assert [link.completed_at for link in read(event("invoice.paid", invoice)).links] == [None]


def test_who_belongs_to_whom_around_an_invoice() -> None:
    up = (
        Ref("in_1", "sub_1"),
        Ref("sub_1", "cus_1", customer=True),
        Ref("in_1", "cus_1", customer=True),
    )

    assert read(event("invoice.paid", new_bill())).refs == up
    assert read(event("invoice.paid", old_bill())).refs == (
        Ref("pi_1", "in_1"),
        Ref("ch_1", "in_1"),
        *up,
    )


def test_an_account_stands_in_for_the_customer() -> None:
    invoice = {**new_bill(), "customer": None, "customer_account": "acct_7"}

    assert [fact.customer for fact in paid(invoice)] == ["acct_7"]


@SHAPES
def test_a_failed_attempt_is_a_fact_of_its_second(shape: Any) -> None:
    invoice = shape(attempt_count=2, next_payment_attempt=CREATED + DAY)

    assert facts("invoice.payment_failed", invoice) == (
        Fact(
            key="payment_failed:in_1:1740830490",
            name="payment_failed",
            at=ANNOUNCED,
            new=True,
            properties={
                "invoice_id": "in_1",
                "subscription_id": "sub_1",
                "customer_id": "cus_1",
                "billing_reason": "subscription_create",
                "amount_due": 11.9,
                "currency": "EUR",
                "attempt_count": 2,
                "next_payment_attempt": "2025-03-02T12:00:00+00:00",
            },
            **WHOSE,
        ),
    )


@pytest.mark.parametrize(
    ("payment", "refs"),
    [
        ({"type": "payment_intent", "payment_intent": "pi_1"}, (Ref("pi_1", "in_1"),)),
        ({"type": "charge", "charge": "ch_1"}, (Ref("ch_1", "in_1"),)),
        ({"type": "payment_record", "payment_record": "prec_1"}, ()),
    ],
)
def test_an_invoice_payment_only_links_a_payment_to_its_invoice(
    payment: Json, refs: tuple[Ref, ...]
) -> None:
    obj = {"id": "inpay_1", "object": "invoice_payment", "invoice": "in_1", "payment": payment}

    assert read(event("invoice_payment.paid", obj)) == Reading(refs=refs)


# Payments and refunds

INTENT: Json = {
    "id": "pi_1",
    "object": "payment_intent",
    "created": CREATED,
    "customer": "cus_1",
    "currency": "eur",
    "amount_received": 900,
    "latest_charge": "ch_1",
    "metadata": IDS,
}
PAYMENT = Payment(
    payment_intent="pi_1",
    customer="cus_1",
    money=Money(900, "eur"),
    charge="ch_1",
    at=ANNOUNCED,
)


def test_a_payment_alone_is_kept_in_mind_and_is_no_revenue() -> None:
    link = Link(
        objects=("pi_1",),
        customer="cus_1",
        source="payment_intent.metadata",
        rank=1,
        ids=IDS,
        campaign={},
        consent=None,
        stated_at=NOON,
        completed_at=NOON,
    )

    assert read(event("payment_intent.succeeded", INTENT)) == Reading(
        links=(link,),
        refs=(Ref("ch_1", "pi_1"), Ref("pi_1", "cus_1", customer=True)),
        payment=PAYMENT,
    )


def test_before_basil_a_payment_names_its_invoice() -> None:
    reading = read(event("payment_intent.succeeded", {**INTENT, "invoice": "in_1"}))

    assert Ref("pi_1", "in_1") in reading.refs


def test_a_payment_that_is_claimed_is_revenue_at_its_own_time() -> None:
    assert standalone_payment(PAYMENT) == Fact(
        key="payment:pi_1",
        name="payment_succeeded",
        at=ANNOUNCED,
        about=("pi_1",),
        customer="cus_1",
        new=True,
        properties={
            "payment_intent_id": "pi_1",
            "customer_id": "cus_1",
            "amount": 9.0,
            "currency": "EUR",
        },
        money=Entry(kind="payment", money=Money(900, "eur"), payment_intent="pi_1", charge="ch_1"),
    )


def a_refund(**changes: Any) -> Json:
    return {
        "id": "re_1",
        "object": "refund",
        "created": CREATED,
        "amount": 250,
        "currency": "eur",
        "charge": "ch_1",
        "payment_intent": "pi_1",
        "reason": "requested_by_customer",
        "status": "succeeded",
        **changes,
    }


@pytest.mark.parametrize("status", ["succeeded", "pending", None])
def test_a_refund_is_negative_money_at_its_own_time(status: str | None) -> None:
    assert facts("refund.created", a_refund(status=status)) == (
        Fact(
            key="refund:re_1",
            name="refund_created",
            at=NOON,
            about=("re_1", "ch_1", "pi_1"),
            new=True,
            properties={
                "refund_id": "re_1",
                "payment_intent_id": "pi_1",
                "charge_id": "ch_1",
                "reason": "requested_by_customer",
                "amount": -2.5,
                "currency": "EUR",
            },
            money=Entry(
                kind="refund",
                money=Money(-250, "eur"),
                payment_intent="pi_1",
                charge="ch_1",
                refund="re_1",
            ),
        ),
    )


@pytest.mark.parametrize("status", ["failed", "canceled", "requires_action"])
def test_a_refund_that_moves_no_money_is_ignored_and_says_why(status: str) -> None:
    assert read(event("refund.created", a_refund(status=status))) == Reading(
        refs=(Ref("re_1", "ch_1"), Ref("re_1", "pi_1"), Ref("ch_1", "pi_1")),
        ignored=f"refund is {status}",
    )


def test_since_dahlia_a_refund_names_its_customer() -> None:
    assert [fact.customer for fact in facts("refund.created", a_refund(customer="cus_1"))] == [
        "cus_1"
    ]


def test_expanded_objects_are_read_as_their_ids() -> None:
    expanded = a_refund(charge={"id": "ch_1"}, payment_intent={"id": "pi_1", "object": "x"})

    assert facts("refund.created", expanded) == facts("refund.created", a_refund())


# Checkout

SESSION: Json = {
    "id": "cs_1",
    "object": "checkout.session",
    "mode": "subscription",
    "payment_status": "paid",
    "customer": "cus_1",
    "subscription": "sub_1",
    "invoice": "in_1",
    "amount_total": 1190,
    "currency": "eur",
    "metadata": {**IDS, "utm_source": "news", "consent": "granted", "order": "7"},
}


def test_a_completed_checkout_is_a_fact_and_anchors_identity_to_all_that_it_names() -> None:
    parts = ("cs_1", "sub_1", "in_1")

    assert read(event("checkout.session.completed", SESSION)) == Reading(
        facts=(
            Fact(
                key="checkout:cs_1",
                name="checkout_completed",
                at=ANNOUNCED,
                about=parts,
                customer="cus_1",
                new=True,
                subscription="sub_1",
                properties={
                    "checkout_session_id": "cs_1",
                    "customer_id": "cus_1",
                    "subscription_id": "sub_1",
                    "invoice_id": "in_1",
                    "mode": "subscription",
                    "payment_status": "paid",
                    "amount_total": 11.9,
                    "currency": "EUR",
                },
            ),
        ),
        links=(
            Link(
                objects=parts,
                customer="cus_1",
                source="checkout.session.metadata",
                rank=2,
                ids=IDS,
                campaign={"utm_source": "news"},
                consent="granted",
                stated_at=ANNOUNCED,
                completed_at=ANNOUNCED,
            ),
        ),
        refs=tuple(Ref(part, "cus_1", customer=True) for part in parts),
    )


@pytest.mark.parametrize(
    ("changes", "claimed"),
    [
        ({}, ("pi_1",)),
        ({"invoice_creation": {"enabled": False}}, ("pi_1",)),
        ({"invoice_creation": {"enabled": True}}, ()),  # its invoice will tell
        ({"invoice": "in_1"}, ()),
        ({"mode": "subscription"}, ()),
        ({"payment_intent": None}, ()),
    ],
)
def test_a_checkout_in_payment_mode_says_that_its_payment_pays_no_invoice(
    changes: Json, claimed: tuple[str, ...]
) -> None:
    session = {"id": "cs_1", "mode": "payment", "payment_intent": "pi_1", **changes}

    assert read(event("checkout.session.completed", session)).standalone == claimed


def test_a_checkout_without_metadata_links_nobody() -> None:
    assert read(event("checkout.session.completed", {**SESSION, "metadata": None})).links == ()


# Subscriptions

PRICES = {"price_basic": 1000, "price_pro": 2500, "price_other": 1000}


def price(name: str = "price_basic") -> Json:
    return {
        "id": name,
        "product": "prod_1",
        "unit_amount": PRICES[name],
        "recurring": {"interval": "month", "interval_count": 1, "usage_type": "licensed"},
    }


def plan(name: str = "price_basic") -> Json:
    """The same of before 2020-08-27."""
    recurring = {"interval": "month", "interval_count": 1, "usage_type": "licensed"}
    return {"id": name, "product": "prod_1", "amount": PRICES[name], **recurring}


def subscribed(**changes: Any) -> Json:
    return {
        "id": "sub_1",
        "object": "subscription",
        "created": CREATED,
        "start_date": CREATED,
        "customer": "cus_1",
        "status": "active",
        "cancel_at": None,
        "cancel_at_period_end": False,
        "metadata": {},
        **changes,
    }


def oldest_sub(name: str = "price_basic", quantity: int = 1, **changes: Any) -> Json:
    """Of 2018: plans, and no start_date."""
    item = {"id": "si_1", "plan": plan(name), "quantity": quantity}
    found = subscribed(start=CREATED, items={"data": [item]}, **changes)
    del found["start_date"]
    return found | {"plan": plan(name), "quantity": quantity, "current_period_start": CREATED}


def old_sub(name: str = "price_basic", quantity: int = 1, **changes: Any) -> Json:
    item = {"id": "si_1", "plan": plan(name), "price": price(name), "quantity": quantity}
    top = {"plan": plan(name), "quantity": quantity, "current_period_start": CREATED}
    return subscribed(items={"data": [item]}, **top, **changes)


def new_item(name: str = "price_basic", quantity: int = 1, start: int = CREATED) -> Json:
    return {
        "id": "si_1",
        "price": price(name),
        "quantity": quantity,
        "current_period_start": start,
        "current_period_end": start + MONTH,
    }


def new_sub(name: str = "price_basic", quantity: int = 1, **changes: Any) -> Json:
    return subscribed(items={"data": [new_item(name, quantity)]}, **changes)


SUBS = pytest.mark.parametrize("sub", [oldest_sub, old_sub, new_sub], ids=["2018", "old", "basil"])


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
        new=True,
        subscription="sub_1",
        properties=a_change(name, **properties).properties,
    )


@SUBS
def test_a_subscription_that_is_active_has_started(sub: Any) -> None:
    assert facts("customer.subscription.created", sub()) == (a_start(),)


@SUBS
def test_a_subscription_that_begins_with_a_trial_has_started_both(sub: Any) -> None:
    trial = {"status": "trialing", "trial_start": CREATED, "trial_end": CREATED + DAY}
    end = "2025-03-02T12:00:00+00:00"

    assert facts("customer.subscription.created", sub(**trial)) == (
        a_start(status="trialing"),
        a_start("trial_started", status="trialing", trial_end=end),
    )


@SUBS
@pytest.mark.parametrize("status", ["incomplete", "past_due", "paused"])
def test_what_is_not_live_has_not_started(sub: Any, status: str) -> None:
    assert facts("customer.subscription.created", sub(status=status)) == ()


@SUBS
def test_the_first_payment_starts_it_as_if_it_had_been_created_so(sub: Any) -> None:
    assert updated(sub(), {"status": "incomplete"}) == (a_start(),)


@SUBS
def test_what_was_never_paid_ends_without_having_been(sub: Any) -> None:
    assert updated(sub(status="incomplete_expired"), {"status": "incomplete"}) == ()


def test_a_period_that_rolls_on_is_no_fact() -> None:
    roll = {"current_period_start": CREATED - MONTH, "current_period_end": CREATED}
    last = {"latest_invoice": "in_0"}

    assert updated(old_sub(), {**roll, **last}) == ()
    assert updated(new_sub(), {"items": {"data": [new_item(start=CREATED - MONTH)]}, **last}) == ()


@SUBS
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
    )

    assert [updated(sub("price_pro"), then) for sub, then in before()] == [(expected,)] * 3


def test_a_cheaper_price_is_a_downgrade_in_every_shape() -> None:
    expected = a_change(
        "subscription_downgraded", previous_price_id="price_pro", previous_quantity=1
    )

    assert [updated(sub(), then) for sub, then in before("price_pro")] == [(expected,)] * 3


@pytest.mark.parametrize(("then", "now"), [(1, 5), (5, 1)])
def test_more_or_fewer_of_the_same_is_a_change_of_quantity_in_every_shape(
    then: int, now: int
) -> None:
    expected = a_change(
        "subscription_quantity_changed",
        quantity=now,
        previous_price_id="price_basic",
        previous_quantity=then,
    )
    found = [updated(sub(quantity=now), was) for sub, was in before(quantity=then)]

    assert found == [(expected,)] * 3


def test_before_basil_a_change_of_quantity_alone_names_the_quantity_alone() -> None:
    expected = a_change(
        "subscription_quantity_changed",
        quantity=3,
        previous_price_id="price_basic",
        previous_quantity=1,
    )

    assert updated(oldest_sub(quantity=3), {"quantity": 1}) == (expected,)
    assert updated(old_sub(quantity=3), {"quantity": 1}) == (expected,)


def test_a_cheaper_price_at_a_greater_quantity_is_weighed_as_a_whole() -> None:
    then = {"items": {"data": [new_item("price_pro", 1)]}}

    assert [fact.name for fact in updated(new_sub(quantity=3), then)] == ["subscription_upgraded"]


@SUBS
def test_another_price_that_costs_the_same_is_neither_up_nor_down(sub: Any) -> None:
    then = {"items": {"data": [new_item("price_other")]}, "plan": plan("price_other")}

    assert updated(sub(), then) == ()


def test_an_item_more_is_an_upgrade() -> None:
    now = new_sub()
    now["items"]["data"].append({**new_item("price_pro"), "id": "si_2"})

    names = [fact.name for fact in updated(now, {"items": {"data": [new_item()]}})]
    assert names == ["subscription_upgraded"]


def test_a_plan_changes_only_for_who_has_one() -> None:
    now = new_sub("price_pro", status="canceled")

    assert updated(now, {"items": {"data": [new_item()]}}) == ()


@SUBS
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


@SUBS
def test_a_cancellation_scheduled_by_the_flag_alone(sub: Any) -> None:
    found = updated(sub(cancel_at_period_end=True), {"cancel_at_period_end": False})

    assert found == (a_change("subscription_cancel_scheduled"),)


@SUBS
def test_a_cancellation_scheduled_by_its_time_alone_as_flexible_billing_does(sub: Any) -> None:
    expected = a_change("subscription_cancel_scheduled", cancel_at="2025-03-02T12:00:00+00:00")

    assert updated(sub(cancel_at=CREATED + DAY), {"cancel_at": None}) == (expected,)


@SUBS
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


@SUBS
def test_another_time_for_the_same_cancellation_is_no_second_one(sub: Any) -> None:
    assert updated(sub(cancel_at=CREATED + DAY), {"cancel_at": CREATED + 2 * DAY}) == ()


@SUBS
@pytest.mark.parametrize("status", ["past_due", "unpaid"])
def test_a_subscription_that_is_not_paid(sub: Any, status: str) -> None:
    expected = a_change(f"subscription_{status}", status=status)

    assert updated(sub(status=status), {"status": "active"}) == (expected,)


@SUBS
def test_invoices_that_stop_and_go_on_are_a_pause_of_collection(sub: Any) -> None:
    stopped = {"behavior": "void", "resumes_at": None}
    key = "{}:sub_1:1740830490:collection"

    assert updated(sub(pause_collection=stopped), {"pause_collection": None}) == (
        a_change("subscription_paused", key.format("subscription_paused"), pause="collection"),
    )
    assert updated(sub(pause_collection=None), {"pause_collection": stopped}) == (
        a_change("subscription_resumed", key.format("subscription_resumed"), pause="collection"),
    )


@SUBS
def test_service_that_stops_and_goes_on_is_a_pause_of_status(sub: Any) -> None:
    key = "{}:sub_1:1740830490:status"

    assert updated(sub(status="paused"), {"status": "trialing"}) == (
        a_change(
            "subscription_paused",
            key.format("subscription_paused"),
            status="paused",
            pause="status",
        ),
    )
    assert updated(sub(), {"status": "paused"}) == (
        a_change("subscription_resumed", key.format("subscription_resumed"), pause="status"),
    )


def ended(sub: Json) -> tuple[Fact, ...]:
    return facts("customer.subscription.deleted", sub)


@SUBS
@pytest.mark.parametrize(
    ("reason", "churn"),
    [
        ("cancellation_requested", {"churn": "voluntary"}),
        ("payment_failed", {"churn": "involuntary"}),
        ("payment_disputed", {"churn": "involuntary"}),
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


@SUBS
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


@SUBS
def test_ids_of_a_subscription_are_those_of_its_start(sub: Any) -> None:
    reading = read(event("customer.subscription.created", sub(metadata=IDS)))

    assert reading.links == (
        Link(
            objects=("sub_1",),
            customer="cus_1",
            source="subscription.metadata",
            rank=1,
            ids=IDS,
            campaign={},
            consent=None,
            stated_at=ANNOUNCED,
            completed_at=NOON,
        ),
    )


def test_each_webhook_event_leaves_a_snapshot() -> None:
    now = new_sub(discounts=["di_1"])
    previous: Json = {"discounts": []}
    reading = read(event("customer.subscription.updated", now, previous))

    assert reading.snapshot == Snapshot(
        subscription="sub_1",
        customer="cus_1",
        status="active",
        started_at=NOON,
        trial_start=None,
        trial_end=None,
        ended_at=None,
        items=[new_item()],
        discounts=["di_1"],
        previous_attributes=previous,
    )


# What is not as promised

WHOLE: dict[str, Json] = {
    "checkout.session.completed": SESSION,
    "customer.subscription.created": new_sub(),
    "customer.subscription.updated": new_sub(),
    "customer.subscription.deleted": new_sub(),
    "invoice.paid": new_bill(),
    "invoice.payment_succeeded": old_bill(),
    "invoice.payment_failed": new_bill(),
    "invoice_payment.paid": {"object": "invoice_payment", "invoice": "in_1", "payment": {}},
    "payment_intent.succeeded": INTENT,
    "refund.created": a_refund(),
}


def test_every_reader_is_tried_below() -> None:
    assert WHOLE.keys() == READERS.keys()


@pytest.mark.parametrize(
    ("type_", "field", "told"),
    [
        ("checkout.session.completed", "id", "checkout.session.id: expected text"),
        ("customer.subscription.created", "status", "subscription.status: expected text"),
        ("customer.subscription.updated", "id", "subscription.id: expected text"),
        ("customer.subscription.deleted", "id", "subscription.id: expected text"),
        ("invoice.paid", "amount_paid", "invoice.amount_paid: expected an integer"),
        ("invoice.paid", "currency", "invoice.currency: expected text"),
        ("invoice.paid", "id", "invoice.id: expected text"),
        ("invoice.payment_succeeded", "total", "invoice.total: expected an integer"),
        ("invoice.payment_failed", "amount_due", "invoice.amount_due: expected an integer"),
        ("invoice_payment.paid", "invoice", "invoice_payment.invoice: expected text"),
        (
            "payment_intent.succeeded",
            "amount_received",
            "payment_intent.amount_received: expected an integer",
        ),
        ("payment_intent.succeeded", "created", "payment_intent.created: expected an integer"),
        ("refund.created", "amount", "refund.amount: expected an integer"),
        ("refund.created", "created", "refund.created: expected an integer"),
    ],
)
@pytest.mark.parametrize("value", [None, [], {}, True])
def test_a_promised_field_that_is_not_there_is_named(
    type_: str, field: str, told: str, value: object
) -> None:
    with pytest.raises(Missing) as missing:
        read(event(type_, {**WHOLE[type_], field: value}))
    assert str(missing.value) == told


@pytest.mark.parametrize("type_", READERS)
@pytest.mark.parametrize(
    "value", [None, "x", -1, 2**70, 1.5, [[]], {"data": [[], {}, 7]}, "\ud800"]
)
def test_whatever_a_field_holds_the_event_is_read_or_something_is_missing(
    type_: str, value: object
) -> None:
    for field in WHOLE[type_]:
        with suppress(Missing):
            read(event(type_, {**WHOLE[type_], field: value}, {field: value}))


@pytest.mark.parametrize("type_", READERS)
@pytest.mark.parametrize("data", [None, [], {}, {"object": None}, {"object": "in_1"}])
def test_an_event_without_its_object_is_named_so(type_: str, data: object) -> None:
    with pytest.raises(Missing, match=r"^data\.object: expected an object$"):
        read({"object": "event", "type": type_, "created": CREATED, "data": data})


@pytest.mark.parametrize("type_", ["invoice.created", "charge.succeeded", "made.up", ""])
def test_a_type_that_we_do_not_read_is_ignored(type_: str) -> None:
    assert read(event(type_, {})) == Reading(ignored="type not read")


def test_a_thin_event_is_ignored_for_what_it_is() -> None:
    thin = {"object": "v2.core.event", "type": "v1.invoice.paid", "created": "2025-03-01T12:00Z"}

    assert read(thin) == Reading(ignored="thin event: it carries no object")
