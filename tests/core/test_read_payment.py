"""Payment intents and charges: money that is revenue only once it is known to pay no invoice."""

from typing import Any

import pytest

from app.core.facts import Claim, Entry, Fact, Payment, Reading, Ref
from app.core.money import Money
from app.core.reading.payment import standalone_payment
from tests.core.stripe_objects import (
    ANNOUNCED,
    IDS,
    INTENT,
    NOON,
    Json,
    a_charge,
    a_link,
    a_refund,
    facts,
    read,
)

PAYMENT = Payment(id="pi_1", customer="cus_1", money=Money(900, "eur"), charge="ch_1", at=ANNOUNCED)
SPOKEN: Json = {
    "customer": "cus_1",
    "source": "payment_intent.metadata",
    "stated_at": ANNOUNCED,
    "completed_at": NOON,
    "anchor": True,
}

# Payment intents


def test_a_payment_alone_is_kept_in_mind_and_is_no_revenue() -> None:
    assert read("payment_intent.succeeded", INTENT) == Reading(
        links=(a_link("pi_1", ids=IDS, **SPOKEN),),
        refs=(Ref("ch_1", "pi_1"), Ref("pi_1", "cus_1", customer=True)),
        payment=PAYMENT,
    )


@pytest.mark.parametrize("metadata", [None, {}, {"order": "7"}])
def test_a_payment_without_ids_was_heard_to_be_silent(metadata: object) -> None:
    reading = read("payment_intent.succeeded", {**INTENT, "metadata": metadata})

    assert reading.links == (a_link("pi_1", **SPOKEN),)


def test_before_november_2022_a_payment_lists_its_attempts_and_one_of_them_succeeded() -> None:
    attempts = [{"id": "ch_0", "status": "failed"}, {"id": "ch_1", "status": "succeeded"}]
    old = {**INTENT, "latest_charge": None, "charges": {"object": "list", "data": attempts}}
    reading = read("payment_intent.succeeded", old)

    assert reading.payment == PAYMENT
    assert reading.refs == (
        Ref("ch_1", "pi_1"),
        Ref("ch_0", "pi_1"),
        Ref("pi_1", "cus_1", customer=True),
    )


def test_before_basil_a_payment_names_its_invoice() -> None:
    reading = read("payment_intent.succeeded", {**INTENT, "invoice": "in_1"})

    assert Ref("pi_1", "in_1") in reading.refs


def test_a_payment_that_names_no_invoice_may_still_get_one() -> None:
    assert read("payment_intent.succeeded", {**INTENT, "invoice": None}) == read(
        "payment_intent.succeeded", INTENT
    )


def test_a_payment_of_nothing_is_none() -> None:
    assert read("payment_intent.succeeded", {**INTENT, "amount_received": 0}).payment is None


# What a payment becomes


def a_fact(claimed: Json, tax: int = 0, discount: int = 0) -> Fact:
    return Fact(
        key="payment:pi_1",
        name="payment_succeeded",
        at=ANNOUNCED,
        about=("pi_1",),
        customer="cus_1",
        properties={
            "payment_intent_id": "pi_1",
            "charge_id": "ch_1",
            **claimed,
            "customer_id": "cus_1",
            "amount": 9.0,
            "amount_net_of_tax": (900 - tax) / 100,
            "tax": tax / 100,
            "discount": discount / 100,
            "currency": "EUR",
        },
        money=Entry(
            kind="payment",
            money=Money(900, "eur"),
            tax_minor=tax,
            discount_minor=discount,
            payment_intent="pi_1",
            charge="ch_1",
        ),
    )


def test_a_payment_that_a_session_claims_has_its_tax_and_discount_at_its_own_time() -> None:
    claim = Claim(payment="pi_1", session="cs_1", tax_minor=144, discount_minor=100)

    assert standalone_payment(PAYMENT, claim) == a_fact({"checkout_session_id": "cs_1"}, 144, 100)


def test_a_payment_that_only_the_setting_books_has_neither() -> None:
    assert standalone_payment(PAYMENT, Claim(payment=PAYMENT.id)) == a_fact({})


def test_a_charge_without_payment_intent_is_a_payment_by_its_own_id() -> None:
    alone = Payment(id="ch_1", customer=None, money=Money(900, "jpy"), charge="ch_1", at=NOON)

    assert standalone_payment(alone, Claim(payment="ch_1")) == Fact(
        key="payment:ch_1",
        name="payment_succeeded",
        at=NOON,
        about=("ch_1",),
        properties={
            "charge_id": "ch_1",
            "amount": 900.0,
            "amount_net_of_tax": 900.0,
            "tax": 0.0,
            "discount": 0.0,
            "currency": "JPY",
        },
        money=Entry(
            kind="payment",
            money=Money(900, "jpy"),
            tax_minor=0,
            discount_minor=0,
            charge="ch_1",
        ),
    )


# Charges

UP = (Ref("ch_1", "pi_1"), Ref("ch_1", "cus_1", customer=True))


@pytest.mark.parametrize(
    "type_", ["charge.succeeded", "charge.captured", "charge.updated", "charge.refunded"]
)
def test_a_charge_of_a_payment_intent_only_belongs_to_it(type_: str) -> None:
    assert read(type_, a_charge()) == Reading(refs=UP)
    assert read(type_, a_charge(invoice=None)) == Reading(refs=UP)


def test_before_basil_a_charge_names_its_invoice_and_so_that_of_its_payment_intent() -> None:
    assert read("charge.succeeded", a_charge(invoice="in_1")).refs == (
        Ref("ch_1", "pi_1"),
        Ref("ch_1", "in_1"),
        Ref("pi_1", "in_1"),
        Ref("ch_1", "cus_1", customer=True),
    )


def alone(**changes: Any) -> Json:
    """Made with the Charges API: no payment intent."""
    return a_charge(**{"payment_intent": None, **changes})


@pytest.mark.parametrize(
    ("changes", "claims", "refs"),
    [
        ({}, (), ()),  # since basil nothing says whether it pays an invoice
        ({"invoice": None}, (Claim(payment="ch_1"),), ()),
        ({"invoice": "in_1"}, (), (Ref("ch_1", "in_1"),)),
    ],
)
def test_a_charge_alone_is_money_and_before_basil_says_if_it_pays_no_invoice(
    changes: Json, claims: tuple[Claim, ...], refs: tuple[Ref, ...]
) -> None:
    link = a_link(
        "ch_1",
        ids=IDS,
        customer="cus_1",
        source="charge.metadata",
        stated_at=NOON,
        completed_at=NOON,
        anchor=True,
    )

    assert read("charge.succeeded", alone(**changes)) == Reading(
        links=(link,),
        refs=(*refs, Ref("ch_1", "cus_1", customer=True)),
        payment=Payment(
            id="ch_1", customer="cus_1", money=Money(900, "eur"), charge="ch_1", at=NOON
        ),
        claims=claims,
    )


def test_what_is_only_set_aside_is_no_money_until_it_is_captured() -> None:
    aside = alone(captured=False, amount_captured=0)
    reading = read("charge.captured", alone(amount_captured=700, invoice=None))

    assert read("charge.succeeded", aside) == Reading(refs=(Ref("ch_1", "cus_1", customer=True),))
    assert reading.payment == Payment(
        id="ch_1", customer="cus_1", money=Money(700, "eur"), charge="ch_1", at=ANNOUNCED
    )
    assert reading.claims == (Claim(payment="ch_1"),)


def test_before_june_2020_what_a_capture_left_out_counted_as_refunded() -> None:
    old = alone(amount_refunded=200)
    del old["amount_captured"]
    payment = read("charge.captured", old).payment

    assert payment is not None
    assert payment.money == Money(700, "eur")


def test_an_update_of_a_charge_does_not_say_when_it_was_captured() -> None:
    assert read("charge.updated", alone()) == Reading(refs=(Ref("ch_1", "cus_1", customer=True),))


# Refunds that a charge lists


def test_before_november_2022_a_charge_lists_refunds_as_their_own_events_tell_them() -> None:
    second = a_refund(id="re_2", amount=100)
    listed = [second, a_refund(), a_refund(id="re_3", status="failed")]
    charge = a_charge(amount_refunded=350, refunds={"object": "list", "data": listed})
    reading = read("charge.refunded", charge)

    assert reading.facts == (
        *facts("refund.created", second),
        *facts("refund.created", a_refund()),
    )
    assert reading.refs == (
        *UP,
        *(
            Ref(refund, parent)
            for refund in ("re_2", "re_1", "re_3")
            for parent in ("ch_1", "pi_1")
        ),
    )


def test_since_november_2022_a_refunded_charge_books_nothing_by_itself() -> None:
    charge = a_charge(amount_refunded=250)

    assert read("charge.refunded", charge, {"amount_refunded": 0}) == Reading(refs=UP)
