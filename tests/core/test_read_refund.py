"""Refunds: one object, one negative entry, and a reversal if it fails; in any order of events."""

from typing import Any

import pytest

from app.core.facts import Entry, Fact, Reading, Ref
from app.core.money import Money
from tests.core.stripe_objects import ANNOUNCED, NOON, Json, a_refund, facts, read

ABOUT = ("re_1", "ch_1", "pi_1")
REFS = (Ref("re_1", "ch_1"), Ref("re_1", "pi_1"), Ref("ch_1", "pi_1"))
PROPERTIES: Json = {
    "refund_id": "re_1",
    "payment_intent_id": "pi_1",
    "charge_id": "ch_1",
    "reason": "requested_by_customer",
    "currency": "EUR",
}


def an_entry(kind: str, minor: int) -> Entry:
    return Entry(
        kind=kind,
        money=Money(minor, "eur"),
        payment_intent="pi_1",
        charge="ch_1",
        refund="re_1",
    )


REFUNDED = Fact(
    key="refund:re_1",
    name="refund_created",
    at=NOON,
    about=ABOUT,
    properties={**PROPERTIES, "amount": -2.5},
    of_payment=True,
    money=an_entry("refund", -250),
)


def reversed_(**properties: Any) -> Fact:
    return Fact(
        key="refund:re_1:reversed",
        name="refund_reversed",
        at=ANNOUNCED,
        about=ABOUT,
        properties={**PROPERTIES, "amount": 2.5, **properties},
        of_payment=True,
        money=an_entry("refund_reversal", 250),
    )


UPDATES = pytest.mark.parametrize("type_", ["refund.updated", "charge.refund.updated"])


@pytest.mark.parametrize("status", ["succeeded", "pending", None])
def test_a_refund_is_negative_money_at_its_own_time(status: str | None) -> None:
    assert read("refund.created", a_refund(status=status)) == Reading(facts=(REFUNDED,), refs=REFS)


@UPDATES
@pytest.mark.parametrize("before", ["requires_action", "pending", None])
def test_an_update_tells_the_same_refund_once_it_moves_money(
    type_: str, before: str | None
) -> None:
    previous: Json = {"status": before} if before else {"metadata": {}}

    assert facts(type_, a_refund(), previous) == (REFUNDED,)


@pytest.mark.parametrize("status", ["failed", "canceled", "requires_action"])
def test_a_refund_that_moves_no_money_is_ignored_and_says_why(status: str) -> None:
    assert read("refund.created", a_refund(status=status)) == Reading(
        refs=REFS, ignored=f"refund is {status}"
    )


@UPDATES
@pytest.mark.parametrize(
    ("status", "before"), [("canceled", "requires_action"), ("requires_action", "pending")]
)
def test_an_update_that_moves_no_money_is_ignored_too(type_: str, status: str, before: str) -> None:
    reading = read(type_, a_refund(status=status), {"status": before})

    assert reading == Reading(refs=REFS, ignored=f"refund is {status}")


@UPDATES
@pytest.mark.parametrize("before", ["pending", "succeeded"])
def test_a_refund_canceled_under_way_came_back(type_: str, before: str) -> None:
    reading = facts(type_, a_refund(status="canceled"), {"status": before})

    assert reading == (REFUNDED, reversed_())


def test_a_failed_refund_is_told_with_what_undoes_it() -> None:
    failed = a_refund(status="failed", failure_reason="lost_or_stolen_card")

    assert facts("refund.failed", failed) == (
        REFUNDED,
        reversed_(failure_reason="lost_or_stolen_card"),
    )


@UPDATES
@pytest.mark.parametrize("before", ["succeeded", "pending"])
def test_an_update_to_failed_says_the_same(type_: str, before: str) -> None:
    assert facts(type_, a_refund(status="failed"), {"status": before}) == (REFUNDED, reversed_())


@UPDATES
@pytest.mark.parametrize("previous", [None, {}, {"metadata": {}}, {"status": "failed"}])
def test_a_later_update_of_a_failed_refund_is_no_second_failure(
    type_: str, previous: Json | None
) -> None:
    assert read(type_, a_refund(status="failed"), previous) == Reading(
        refs=REFS, ignored="refund is failed"
    )


def test_a_failed_refund_sums_to_nothing_whichever_events_came() -> None:
    failed = a_refund(status="failed")
    told = [
        facts("refund.created", a_refund(status="pending")),
        facts("refund.updated", failed, {"status": "succeeded"}),
        facts("charge.refund.updated", failed, {"status": "succeeded"}),
        facts("refund.failed", failed),
    ]
    by_key = {fact.key: fact.money for one in told for fact in one}

    assert sum(entry.money.minor for entry in by_key.values() if entry) == 0
    assert sorted(by_key) == ["refund:re_1", "refund:re_1:reversed"]


def test_since_dahlia_a_refund_names_its_customer() -> None:
    reading = read("refund.created", a_refund(customer="cus_1"))

    assert reading.refs == (*REFS, Ref("re_1", "cus_1", customer=True))
    assert [(fact.customer, fact.properties["customer_id"]) for fact in reading.facts] == [
        ("cus_1", "cus_1")
    ]


def test_expanded_objects_are_read_as_their_ids() -> None:
    expanded = a_refund(charge={"id": "ch_1"}, payment_intent={"id": "pi_1", "object": "x"})

    assert facts("refund.created", expanded) == (REFUNDED,)


def test_a_refund_of_a_charge_without_payment_intent_names_the_charge_alone() -> None:
    (fact,) = facts("refund.created", a_refund(payment_intent=None))

    assert (fact.about, fact.money) == (
        ("re_1", "ch_1"),
        Entry(kind="refund", money=Money(-250, "eur"), charge="ch_1", refund="re_1"),
    )


def test_a_refund_in_a_currency_of_three_decimals_is_told_in_whole_units() -> None:
    (fact,) = facts("refund.created", a_refund(currency="kwd"))

    assert (fact.properties["amount"], fact.money and fact.money.money) == (
        -0.25,
        Money(-250, "kwd"),
    )
