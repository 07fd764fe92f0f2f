"""Invoices: one payment each, its tax and discount, its lines, and whose it is."""

from datetime import UTC, datetime
from typing import Any

import pytest

from app.core.facts import Entry, Fact, Payment, Reading, Ref
from app.core.money import Money
from tests.core.stripe_objects import (
    ANNOUNCED,
    CREATED,
    DAY,
    IDS,
    INVOICES,
    MONTH,
    NOON,
    PAID,
    Json,
    a_link,
    facts,
    new_bill,
    new_line,
    old_bill,
    old_line,
    read,
)

WHOSE: Json = {
    "about": ("in_1", "sub_1"),
    "customer": "cus_1",
    "invoice": "in_1",
    "subscription": "sub_1",
}
COMMON: Json = {
    "invoice_id": "in_1",
    "subscription_id": "sub_1",
    "customer_id": "cus_1",
    "billing_reason": "subscription_create",
}
PRO: Json = {"price_id": "price_pro", "product_id": "prod_pro"}


def paid(invoice: Json) -> tuple[Fact, ...]:
    found = facts("invoice.paid", invoice)
    assert facts("invoice.payment_succeeded", invoice) == found, "its alias says the same"
    return found


def a_payment(
    minor: int = 1190,
    tax: int = 0,
    discount: int = 0,
    *,
    line: int | None = None,
    out_of_band: bool | None = False,
    at: datetime = PAID,
    **changes: Any,
) -> Fact:
    item = {**PRO, "quantity": 1, "amount": (1190 - tax if line is None else line) / 100}
    return Fact(
        key="payment:in_1",
        name="payment_succeeded",
        at=at,
        money=Entry(
            kind="payment",
            money=Money(minor, "eur"),
            tax_minor=tax,
            discount_minor=discount,
            out_of_band=out_of_band,
        ),
        properties={
            **COMMON,
            "amount": minor / 100,
            "amount_net_of_tax": (minor - tax) / 100,
            "tax": tax / 100,
            "discount": discount / 100,
            "currency": "EUR",
            "period_start": "2025-03-01T12:00:00+00:00",
            "period_end": "2025-04-01T12:00:00+00:00",
            **PRO,
            "items": [item],
            **changes,
        },
        **WHOSE,
    )


def said(shape: Any) -> Json:
    """What the shape says of payments outside of Stripe: before basil no, since then nothing."""
    return {"out_of_band": False if shape is old_bill else None}


def shares(invoice: Json) -> tuple[int, int | None, int | None]:
    """(paid, tax, discount) of its payment, minor units."""
    (fact,) = paid(invoice)
    assert fact.money is not None
    return fact.money.money.minor, fact.money.tax_minor, fact.money.discount_minor


# What was paid


@INVOICES
def test_a_paid_invoice_is_one_payment_at_the_time_it_was_paid(shape: Any) -> None:
    assert paid(shape()) == (a_payment(**said(shape)),)


@INVOICES
def test_tax_is_read_from_where_the_version_keeps_it(shape: Any) -> None:
    assert paid(shape(tax=190)) == (a_payment(tax=190, **said(shape)),)


def test_tax_of_before_2019_stands_in_one_field() -> None:
    invoice = old_bill(tax=190)
    del invoice["total_tax_amounts"]

    assert paid(invoice) == (a_payment(tax=190),)


@INVOICES
@pytest.mark.parametrize("inclusive", [True, False])
def test_tax_that_the_price_includes_counts_as_tax_too(shape: Any, inclusive: bool) -> None:
    tax = {
        "amount": 190,
        "inclusive": inclusive,
        "tax_behavior": "inclusive" if inclusive else "exclusive",
    }

    assert shares({**shape(), "total_taxes": [tax], "total_tax_amounts": [tax]}) == (1190, 190, 0)


@INVOICES
def test_several_taxes_and_discounts_are_summed(shape: Any) -> None:
    field = "total_taxes" if shape is new_bill else "total_tax_amounts"
    changes: Json = {field: [{"amount": 100}, {"amount": 90}]}
    discounts = [{"amount": 250, "discount": "di_1"}, {"amount": 50, "discount": "di_2"}]
    invoice = {**shape(), **changes, "total_discount_amounts": discounts}

    expected = a_payment(tax=190, discount=300, line=1190, **said(shape))
    assert paid(invoice) == (expected,)


def test_before_2020_08_the_discount_is_what_lies_between_the_subtotal_and_the_total() -> None:
    invoice = old_bill(tax=190, discount={"coupon": {"id": "off"}}, subtotal=1200)
    del invoice["total_discount_amounts"]

    assert shares(invoice) == (1190, 190, 200)  # 12.00 - 2.00 + 1.90 tax on top = 11.90


@INVOICES
def test_what_the_credit_balance_pays_is_no_payment_and_tax_and_discount_shrink_with_it(
    shape: Any,
) -> None:
    credit = {"starting_balance": -590, "ending_balance": 0, "amount_due": 600, "amount_paid": 600}
    invoice = {**shape(tax=190), **credit, "total_discount_amounts": [{"amount": 119}]}

    # 190 * 600 / 1190 = 95.80 and 119 * 600 / 1190 = 60.00
    expected = a_payment(600, tax=96, discount=60, line=1000, credit_applied=5.9, **said(shape))
    assert paid(invoice) == (expected,)


@INVOICES
def test_an_old_debt_that_an_invoice_collects_brings_no_tax_of_this_invoice(shape: Any) -> None:
    debt = {"starting_balance": 300, "ending_balance": 0, "amount_due": 1490, "amount_paid": 1490}
    invoice = {**shape(tax=190), **debt}

    expected = a_payment(1490, tax=190, line=1000, credit_applied=-3.0, **said(shape))
    assert paid(invoice) == (expected,)


@INVOICES
def test_what_a_credit_note_took_off_before_payment_takes_its_tax_along(shape: Any) -> None:
    invoice = {**shape(tax=190), "pre_payment_credit_notes_amount": 595, "amount_due": 595}

    assert shares({**invoice, "amount_paid": 595}) == (595, 95, 0)


@INVOICES
@pytest.mark.parametrize("total", [0, -500])
def test_an_invoice_of_nothing_is_no_payment(shape: Any, total: int) -> None:
    invoice = shape(total=total, amount_due=0, amount_paid=0, billing_reason="subscription_cycle")

    assert paid(invoice) == ()


@INVOICES
@pytest.mark.parametrize("total", [0, -500])
def test_an_old_debt_paid_on_an_invoice_of_nothing_has_no_tax(shape: Any, total: int) -> None:
    invoice = shape(tax=190, total=total, amount_due=200, amount_paid=200)

    assert shares(invoice) == (200, 0, 0)


@INVOICES
@pytest.mark.parametrize("status", ["open", "uncollectible", "draft"])
def test_a_part_of_an_invoice_that_is_not_paid_yet_is_no_revenue(shape: Any, status: str) -> None:
    invoice = shape(status=status, amount_paid=500)

    reading = read("invoice.payment_succeeded", invoice)
    assert (reading.facts, [link.anchor for link in reading.links]) == ((), [False])


def test_before_november_2018_a_flag_says_that_it_is_paid() -> None:
    invoice = old_bill(paid=True)
    del invoice["status"]

    assert paid(invoice) == (a_payment(),)
    assert paid({**invoice, "paid": False}) == ()


def test_before_basil_an_invoice_paid_elsewhere_took_what_was_due_and_is_marked() -> None:
    invoice = {**old_bill(), "paid_out_of_band": True, "amount_paid": 0}

    (fact,) = paid(invoice)
    assert fact.properties["out_of_band"] is True
    assert fact.money == Entry(
        kind="payment",
        money=Money(1190, "eur"),
        tax_minor=0,
        discount_minor=0,
        out_of_band=True,
    )


def test_an_invoice_of_which_stripe_took_a_part_is_paid_whole_and_marked() -> None:
    (fact,) = paid({**old_bill(), "paid_out_of_band": True, "amount_paid": 500})

    assert (fact.properties["amount"], fact.properties["out_of_band"]) == (11.9, True)


def test_before_october_2019_the_announcement_is_the_time_of_payment() -> None:
    invoice = {**old_bill(), "status_transitions": None}

    assert [fact.at for fact in paid(invoice)] == [ANNOUNCED]


@pytest.mark.parametrize(
    ("currency", "minor", "amount", "tax"),
    [
        ("jpy", 1190, 1190.0, 190.0),
        ("kwd", 1190, 1.19, 0.19),
        ("ugx", 119_000, 1190.0, 1.9),
        ("ISK", 200, 2.0, 1.9),
        ("huf", 119_000, 1190.0, 1.9),
        ("twd", 119_000, 1190.0, 1.9),
    ],
)
@INVOICES
def test_whole_units_are_those_of_the_currency(
    shape: Any, currency: str, minor: int, amount: float, tax: float
) -> None:
    invoice = {**shape(tax=190), "currency": currency, "amount_paid": minor, "total": minor}
    (fact,) = paid(invoice)

    assert fact.money is not None
    assert fact.money.money == Money(minor, currency.lower())
    told = (fact.properties["amount"], fact.properties["tax"], fact.properties["currency"])
    assert told == (amount, tax, currency.upper())


# The period and the lines


def cycle(period: datetime = NOON, name: str = "subscription_renewed", **changes: Any) -> Fact:
    return Fact(
        key="cycle:in_1",
        name=name,
        at=PAID,
        cycle_start=period,
        properties={**COMMON, "billing_reason": "subscription_cycle", **PRO, **changes},
        **WHOSE,
    )


@INVOICES
def test_a_cycles_invoice_is_a_payment_and_begins_a_period(shape: Any) -> None:
    payment = a_payment(billing_reason="subscription_cycle", **said(shape))

    assert paid(shape(billing_reason="subscription_cycle")) == (payment, cycle())


@INVOICES
def test_a_cycle_paid_wholly_from_the_balance_begins_a_period_without_money(shape: Any) -> None:
    invoice = shape(billing_reason="subscription_cycle", amount_due=0, amount_paid=0)

    assert paid(invoice) == (cycle(),)


@INVOICES
def test_the_period_is_that_of_the_service_and_not_that_of_the_invoice(shape: Any) -> None:
    later = datetime(2025, 3, 2, 12, tzinfo=UTC)
    invoice = shape(period=CREATED + DAY, billing_reason="subscription_cycle", period_start=CREATED)
    payment, begun = paid(invoice)

    assert begun == cycle(later)
    told = {name: payment.properties[name] for name in ("period_start", "period_end")}
    assert told == {
        "period_start": "2025-03-02T12:00:00+00:00",
        "period_end": "2025-04-02T12:00:00+00:00",
    }


@INVOICES
def test_metered_lines_of_the_last_period_do_not_hide_the_new_one(shape: Any) -> None:
    line = old_line if shape is old_bill else new_line
    invoice = shape(billing_reason="subscription_cycle", period=CREATED)
    invoice["lines"]["data"].append(line(50, CREATED - MONTH))

    payment, begun = paid(invoice)
    assert begun.cycle_start == NOON
    assert payment.properties["period_start"] == "2025-03-01T12:00:00+00:00"


@INVOICES
def test_an_update_that_bills_a_whole_period_may_be_a_trial_cut_short(shape: Any) -> None:
    _, begun = paid(shape(billing_reason="subscription_update"))

    assert begun == cycle(name="trial_converted", billing_reason="subscription_update")


@INVOICES
def test_an_update_that_bills_prorations_alone_begins_no_period_but_has_theirs(shape: Any) -> None:
    part = old_line(1190, proration=True) if shape is old_bill else new_line(1190, proration=True)
    invoice = shape(billing_reason="subscription_update", lines={"data": [part]})

    item = {**PRO, "quantity": 1, "amount": 11.9, "proration": True}
    expected = a_payment(billing_reason="subscription_update", items=[item], **said(shape))
    assert paid(invoice) == (expected,)


@INVOICES
def test_the_lines_are_told_in_stripes_order_and_the_largest_names_the_product(shape: Any) -> None:
    if shape is old_bill:
        small: Json = {"price": {"id": "price_s", "product": "prod_s"}}
        lines = [old_line(-400, proration=True, **small), old_line(1590, quantity=3)]
    else:
        small = {"pricing": {"price_details": {"price": "price_s", "product": "prod_s"}}}
        lines = [new_line(-400, proration=True, **small), new_line(1590, quantity=3)]
    (fact,) = paid(shape(lines={"data": lines, "has_more": True}))

    assert fact.properties["items"] == [
        {
            "price_id": "price_s",
            "product_id": "prod_s",
            "quantity": 1,
            "amount": -4.0,
            "proration": True,
        },
        {**PRO, "quantity": 3, "amount": 15.9},
    ]
    named = {name: fact.properties[name] for name in ("price_id", "product_id", "items_truncated")}
    assert named == {**PRO, "items_truncated": True}


@pytest.mark.parametrize(
    ("changes", "quantity"),
    [
        ({"quantity": 2, "quantity_decimal": "2.5"}, {"quantity": 2.5}),
        ({"quantity": 2, "quantity_decimal": "2"}, {"quantity": 2}),
        ({"quantity": 2, "quantity_decimal": None}, {"quantity": 2}),
        ({"quantity": None}, {}),
    ],
)
def test_since_endive_a_quantity_may_have_decimals(changes: Json, quantity: Json) -> None:
    (fact,) = paid(new_bill(lines={"data": [new_line(**changes)]}))

    assert fact.properties["items"] == [{**PRO, **quantity, "amount": 11.9}]


@INVOICES
def test_bare_lines_are_told_as_far_as_they_go(shape: Any) -> None:
    invoice = shape(lines={"data": [{"amount": 1190}, {}, "il_1"]})
    (fact,) = paid(invoice)

    told = {name: value for name, value in fact.properties.items() if name not in COMMON}
    assert told == {
        "amount": 11.9,
        "amount_net_of_tax": 11.9,
        "tax": 0.0,
        "discount": 0.0,
        "currency": "EUR",
        "items": [{"amount": 11.9}, {}],
    }
    (fact,) = paid({**invoice, "lines": None})
    assert "items" not in fact.properties


@INVOICES
def test_a_manual_invoice_belongs_to_no_subscription(shape: Any) -> None:
    invoice = {**shape(), "billing_reason": "manual", "subscription": None, "parent": None}
    invoice["lines"] = {"data": [{"amount": 1190}]}
    (fact,) = paid(invoice)

    assert (fact.about, fact.subscription) == (("in_1",), None)
    assert paid({**invoice, "billing_reason": "subscription_cycle"})[1:] == ()


def test_an_account_stands_in_for_the_customer() -> None:
    invoice = {**new_bill(), "customer": None, "customer_account": "acct_7"}

    assert [fact.customer for fact in paid(invoice)] == ["acct_7"]


# What was not


@INVOICES
def test_a_voided_invoice_keeps_what_was_paid_of_it(shape: Any) -> None:
    invoice = shape(
        tax=190,
        status="void",
        amount_paid=595,
        amount_remaining=595,
        status_transitions={"paid_at": None, "voided_at": CREATED + 60},
    )
    voided = Fact(
        key="invoice_voided:in_1",
        name="invoice_voided",
        at=PAID,
        properties={**COMMON, "amount_due": 11.9, "amount_remaining": 5.95, "currency": "EUR"},
        **WHOSE,
    )
    payment = a_payment(595, tax=95, line=1000, **said(shape))

    assert facts("invoice.voided", invoice) == (payment, voided)
    assert facts("invoice.voided", {**invoice, "amount_paid": 0}) == (voided,)


@INVOICES
def test_an_uncollectible_invoice_is_told_at_its_own_time_and_has_no_revenue(shape: Any) -> None:
    transitions = {"paid_at": None, "marked_uncollectible_at": CREATED + 60}
    invoice = shape(
        status="uncollectible",
        amount_paid=500,
        amount_remaining=690,
        status_transitions=transitions,
    )

    assert facts("invoice.marked_uncollectible", invoice) == (
        Fact(
            key="invoice_uncollectible:in_1",
            name="invoice_uncollectible",
            at=PAID,
            properties={**COMMON, "amount_due": 11.9, "amount_remaining": 6.9, "currency": "EUR"},
            **WHOSE,
        ),
    )


@INVOICES
def test_a_failed_attempt_is_a_fact_of_its_second(shape: Any) -> None:
    invoice = shape(status="open", attempt_count=2, next_payment_attempt=CREATED + DAY)
    expected = Fact(
        key="payment_failed:in_1:1740830490",
        name="payment_failed",
        at=ANNOUNCED,
        properties={
            **COMMON,
            "amount_due": 11.9,
            "currency": "EUR",
            "attempt_count": 2,
            "next_payment_attempt": "2025-03-02T12:00:00+00:00",
        },
        **WHOSE,
    )

    assert facts("invoice.payment_failed", invoice) == (expected,)


@INVOICES
def test_a_payment_that_waits_for_the_customer_is_a_fact_of_its_second(shape: Any) -> None:
    invoice = shape(status="open", attempt_count=1, next_payment_attempt=CREATED + DAY)

    assert facts("invoice.payment_action_required", invoice) == (
        Fact(
            key="payment_action_required:in_1:1740830490",
            name="payment_action_required",
            at=ANNOUNCED,
            properties={**COMMON, "amount_due": 11.9, "currency": "EUR", "attempt_count": 1},
            **WHOSE,
        ),
    )


@INVOICES
@pytest.mark.parametrize("type_", ["invoice.finalized", "invoice.overpaid"])
def test_some_events_only_say_what_belongs_to_what(shape: Any, type_: str) -> None:
    reading, told = read(type_, shape()), read("invoice.paid", shape())

    assert (reading.facts, reading.refs) == ((), told.refs)
    assert [link.anchor for link in reading.links] == [False]


# Whose it is


def a_said(source: str, rank: int, ids: dict[str, str], **changes: Any) -> Any:
    values: Json = {"rank": rank, "ids": ids, "stated_at": NOON, "anchor": True, **changes}
    return a_link("in_1", source=source, **values)


def test_the_links_of_an_invoice_are_its_own_the_subscriptions_and_the_lines() -> None:
    old, new = old_bill(metadata={"user_id": "own"}), new_bill(metadata={"user_id": "own"})
    old["subscription_details"] = {"metadata": IDS}
    new["parent"]["subscription_details"]["metadata"] = IDS
    for invoice in (old, new):
        invoice["lines"]["data"][0]["metadata"] = {"br_user_id": "line"}
    expected = (
        a_said("invoice.metadata", 0, {"user_id": "own"}),
        a_said("invoice.subscription_details.metadata", 1, IDS),
        a_said("invoice.lines.metadata", 2, {"user_id": "line"}),
    )

    assert read("invoice.paid", old).links == expected
    assert read("invoice.paid", new).links == expected
    assert read("invoice.payment_succeeded", new).links == expected


def test_lines_that_say_the_same_say_it_once() -> None:
    invoice = new_bill(lines={"data": [new_line(metadata=IDS), new_line(metadata=IDS)]})

    assert read("invoice.paid", invoice).links == (
        a_said("invoice.metadata", 0, {}),
        a_said("invoice.lines.metadata", 2, IDS),
    )


@INVOICES
def test_an_invoice_without_ids_was_heard_to_be_silent(shape: Any) -> None:
    for metadata in ({}, {"order": "7"}, None):
        links = read("invoice.paid", shape(metadata=metadata)).links
        assert links == (a_said("invoice.metadata", 0, {}),)


def test_before_march_2019_an_invoice_was_stated_at_its_date() -> None:
    invoice = old_bill(date=CREATED)
    del invoice["created"]

    assert read("invoice.paid", invoice).links == (a_said("invoice.metadata", 0, {}),)


def test_a_renewal_does_not_say_when_the_visitor_was_there() -> None:
    invoice = new_bill(metadata=IDS, billing_reason="subscription_cycle")

    assert read("invoice.paid", invoice).links == (
        a_said("invoice.metadata", 0, IDS, completed_at=None),
    )


def test_who_belongs_to_whom_around_an_invoice() -> None:
    up = (
        Ref("in_1", "sub_1"),
        Ref("sub_1", "cus_1", customer=True),
        Ref("in_1", "cus_1", customer=True),
    )

    assert read("invoice.paid", new_bill()).refs == up
    assert read("invoice.paid", old_bill()).refs == (
        Ref("pi_1", "in_1"),
        Ref("ch_1", "in_1"),
        *up,
    )


@pytest.mark.parametrize(
    ("payment", "refs"),
    [
        ({"type": "payment_intent", "payment_intent": "pi_1"}, (Ref("pi_1", "in_1"),)),
        ({"type": "charge", "charge": "ch_1"}, (Ref("ch_1", "in_1"),)),
        ({"type": "payment_record", "payment_record": "prec_1"}, (Ref("prec_1", "in_1"),)),
    ],
)
@pytest.mark.parametrize("invoice", ["in_1", {"id": "in_1", "object": "invoice"}])
def test_an_invoice_payment_only_links_a_payment_to_its_invoice(
    payment: Json, refs: tuple[Ref, ...], invoice: object
) -> None:
    obj = {"id": "inpay_1", "object": "invoice_payment", "invoice": invoice, "payment": payment}

    assert read("invoice_payment.paid", obj) == Reading(refs=refs)


RECORDED: Json = {
    "id": "inpay_1",
    "object": "invoice_payment",
    "amount_paid": 390,
    "currency": "eur",
    "invoice": "in_1",
    "payment": {"type": "payment_record", "payment_record": "pr_1"},
    "status_transitions": {"canceled_at": None, "paid_at": CREATED},
}


def test_a_payment_record_says_how_much_was_paid_outside_of_stripe() -> None:
    reading = read("invoice_payment.paid", RECORDED)

    outside = Payment(id="pr_1", customer=None, money=Money(390, "eur"), charge=None, at=NOON)
    assert reading == Reading(refs=(Ref("pr_1", "in_1"),), payment=outside)


@pytest.mark.parametrize(
    "changes",
    [
        {"amount_paid": None},
        {"amount_paid": 0},
        {"payment": {"type": "payment_intent", "payment_intent": "pi_1"}},
        {"payment": {"type": "payment_record", "payment_record": "pi_1"}},
        {"payment": {"type": "payment_record", "payment_record": None}},
    ],
)
def test_what_is_no_payment_record_of_some_amount_was_not_paid_outside(changes: Json) -> None:
    assert read("invoice_payment.paid", {**RECORDED, **changes}).payment is None
