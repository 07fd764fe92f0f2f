"""Credit notes: told with their parts, and without money of their own."""

from typing import Any

import pytest

from app.core.facts import Fact, Reading, Ref
from tests.core.stripe_objects import NOON, Json, a_note, read


def issued(**properties: Any) -> Reading:
    told: Json = {
        "credit_note_id": "cn_1",
        "invoice_id": "in_1",
        "customer_id": "cus_1",
        "amount_credited": 5.95,
        "tax": 0.95,
        "currency": "EUR",
        "reason": "order_change",
        **properties,
    }
    return Reading(
        facts=(
            Fact(
                key="credit_note:cn_1",
                name="credit_note_issued",
                at=NOON,
                about=("cn_1", "in_1"),
                customer="cus_1",
                invoice="in_1",
                properties={name: value for name, value in told.items() if value is not None},
            ),
        ),
        refs=(
            Ref("cn_1", "in_1"),
            Ref("cn_1", "cus_1", customer=True),
            Ref("in_1", "cus_1", customer=True),
        ),
    )


TAX = [{"amount": 95}]


@pytest.mark.parametrize(
    "note",
    [
        a_note(tax_amounts=TAX, type="post_payment", refund="re_1"),
        a_note(
            total_taxes=TAX,
            type="post_payment",
            refunds=[{"amount_refunded": 595, "refund": "re_1"}],
        ),
        a_note(
            total_taxes=TAX,
            type="post_payment",
            pre_payment_amount=0,
            post_payment_amount=595,
            refunds=[{"amount_refunded": 595, "refund": "re_1"}],
        ),
    ],
    ids=["old", "basil", "clover"],
)
def test_a_credit_note_that_is_refunded_is_the_same_in_every_shape(note: Json) -> None:
    assert read("credit_note.created", note) == issued(
        amount_refunded=5.95, pre_payment_amount=0.0, post_payment_amount=5.95
    )


@pytest.mark.parametrize(
    "note",
    [
        a_note(tax_amounts=TAX, type="pre_payment", refund=None),
        a_note(total_taxes=TAX, type="pre_payment", refunds=[]),
        a_note(
            total_taxes=TAX,
            type="pre_payment",
            pre_payment_amount=595,
            post_payment_amount=0,
            refunds=[],
        ),
    ],
    ids=["old", "basil", "clover"],
)
def test_a_credit_note_on_an_unpaid_invoice_is_the_same_in_every_shape(note: Json) -> None:
    assert read("credit_note.created", note) == issued(
        amount_refunded=0.0, pre_payment_amount=5.95, post_payment_amount=0.0
    )


def test_a_credit_note_may_be_both() -> None:
    note = a_note(
        total_taxes=TAX,
        type="mixed",
        pre_payment_amount=195,
        post_payment_amount=400,
        refunds=[{"amount_refunded": 100}, {"amount_refunded": 50}],
    )

    assert read("credit_note.created", note) == issued(
        amount_refunded=1.5, pre_payment_amount=1.95, post_payment_amount=4.0
    )


@pytest.mark.parametrize(
    "elsewhere", [{"customer_balance_transaction": "cbtxn_1"}, {"out_of_band_amount": 95}]
)
def test_before_basil_a_refund_beside_other_ways_back_does_not_say_how_much(
    elsewhere: Json,
) -> None:
    note = a_note(tax_amounts=TAX, type="post_payment", refund="re_1", **elsewhere)

    assert read("credit_note.created", note) == issued(
        pre_payment_amount=0.0, post_payment_amount=5.95
    )
    expanded = {**note, "refund": {"id": "re_1", "amount": 300}}
    assert read("credit_note.created", expanded) == issued(
        amount_refunded=3.0, pre_payment_amount=0.0, post_payment_amount=5.95
    )


def test_what_a_credit_note_does_not_say_is_left_out() -> None:
    assert read("credit_note.created", a_note(reason=None)) == issued(tax=None, reason=None)


@pytest.mark.parametrize("type_", ["credit_note.updated", "credit_note.voided"])
def test_a_later_word_on_a_credit_note_only_says_whose_it_is(type_: str) -> None:
    assert read(type_, a_note(status="void")) == Reading(refs=issued().refs)
