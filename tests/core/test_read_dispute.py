"""Disputes: what the bank takes and returns, by balance transaction, whoever lists it."""

from itertools import permutations
from typing import Any

import pytest

from app.core.facts import Entry, Fact, Reading, Ref
from app.core.money import Money
from tests.core.stripe_objects import (
    ANNOUNCED,
    CREATED,
    NOON,
    PAID,
    Json,
    a_dispute,
    a_transaction,
    facts,
    read,
)

ABOUT = ("dp_1", "ch_1", "pi_1")
REFS = (Ref("dp_1", "ch_1"), Ref("dp_1", "pi_1"), Ref("ch_1", "pi_1"))
COMMON: Json = {
    "dispute_id": "dp_1",
    "charge_id": "ch_1",
    "payment_intent_id": "pi_1",
}
REASON = {"reason": "fraudulent"}
EVERY_EVENT = [
    f"charge.dispute.{name}"
    for name in ("created", "updated", "funds_withdrawn", "funds_reinstated", "closed")
]


def moved(minor: int, transaction: str = "txn_1", **properties: Any) -> Fact:
    withdrawn = minor < 0
    return Fact(
        key=f"dispute:dp_1:{transaction}",
        name="dispute_funds_withdrawn" if withdrawn else "dispute_funds_reinstated",
        at=PAID,
        about=ABOUT,
        properties={
            **COMMON,
            "balance_transaction_id": transaction,
            "amount": minor / 100,
            "currency": "EUR",
            "fee": 15.0,
            "fee_currency": "EUR",
            **properties,
        },
        of_payment=True,
        money=Entry(
            kind="dispute" if withdrawn else "dispute_reversal",
            money=Money(minor, "eur"),
            payment_intent="pi_1",
            charge="ch_1",
            dispute="dp_1",
        ),
    )


def money(type_: str, dispute: Json) -> tuple[Fact, ...]:
    return tuple(fact for fact in facts(type_, dispute) if fact.money)


@pytest.mark.parametrize("type_", EVERY_EVENT)
def test_each_balance_transaction_is_one_entry_whichever_event_lists_it(type_: str) -> None:
    back = a_transaction("txn_2", 900, fee=0)

    assert money(type_, a_dispute(a_transaction(), back)) == (
        moved(-900),
        moved(900, "txn_2", fee=0.0),
    )


def test_transactions_are_told_in_the_order_of_time_however_they_are_listed() -> None:
    taken = a_transaction("txn_9")
    back = a_transaction("txn_1", 900, created=CREATED + 120)

    for listed in permutations([taken, back]):
        told = money("charge.dispute.updated", a_dispute(*listed))
        assert [(fact.key, fact.at.timestamp()) for fact in told] == [
            ("dispute:dp_1:txn_9", CREATED + 60),
            ("dispute:dp_1:txn_1", CREATED + 120),
        ]


def test_a_part_that_comes_back_is_that_part() -> None:
    part = a_dispute(a_transaction(), a_transaction("txn_2", 400))

    assert money("charge.dispute.funds_reinstated", part) == (moved(-900), moved(400, "txn_2"))


def test_converted_without_a_rate_the_first_is_the_whole_and_others_are_by_size_or_the_whole() -> (
    None
):
    dispute = a_dispute(
        a_transaction(amount=-1000, currency="usd"),
        a_transaction("txn_2", 1050, currency="usd", fee=-1500),
        a_transaction("txn_3", -500, currency="usd", fee=0, created=CREATED + 61),
    )
    told = money("charge.dispute.closed", dispute)

    assert [(fact.key, fact.money and fact.money.money) for fact in told] == [
        ("dispute:dp_1:txn_1", Money(-900, "eur")),
        ("dispute:dp_1:txn_2", Money(900, "eur")),  # the rate moved: within a fifth it is all
        ("dispute:dp_1:txn_3", Money(-450, "eur")),  # 9.00 * 500 / 1000
    ]
    assert told[1] == moved(900, "txn_2", fee=-15.0, fee_currency="USD")


def test_converted_what_comes_back_alone_is_the_disputes_amount() -> None:
    dispute = a_dispute(a_transaction(amount=1050, currency="usd"))

    assert money("charge.dispute.funds_reinstated", dispute) == (moved(900, fee_currency="USD"),)


@pytest.mark.parametrize("type_", EVERY_EVENT)
def test_converted_each_is_at_the_rate_of_its_own_day_whichever_event_lists_it(type_: str) -> None:
    taken = a_transaction(amount=-9200, exchange_rate=0.92)
    back = a_transaction("txn_2", 9350, exchange_rate=0.935, created=CREATED + 90)
    dispute = {"amount": 10_000, "currency": "usd"}
    amounts = [
        [fact.money and fact.money.money for fact in money(type_, a_dispute(*listed, **dispute))]
        for listed in ([taken], [back, taken])
    ]

    assert amounts == [
        [Money(-10_000, "usd")],
        [Money(-10_000, "usd"), Money(10_000, "usd")],
    ]


@pytest.mark.parametrize("changes", [{"balance_transactions": None}, {"balance_transactions": []}])
@pytest.mark.parametrize("type_", EVERY_EVENT)
def test_what_lists_no_transactions_moves_no_money(type_: str, changes: Json) -> None:
    assert money(type_, a_dispute(**changes)) == ()
    old = a_dispute()
    del old["balance_transactions"]
    assert money(type_, old) == ()


def test_a_transaction_that_moves_nothing_is_no_entry() -> None:
    fee_alone = a_transaction(amount=0)

    assert facts("charge.dispute.updated", a_dispute(fee_alone)) == ()


def test_a_transaction_without_a_fee_names_none() -> None:
    (fact,) = money("charge.dispute.updated", a_dispute(a_transaction(fee=None)))

    assert fact.properties.keys() & {"fee", "fee_currency"} == set()


STATE: Json = {
    **COMMON,
    **REASON,
    "amount_disputed": 9.0,
    "currency": "EUR",
    "inquiry": False,
    "evidence_due_by": "2025-03-02T12:00:00+00:00",
}


@pytest.mark.parametrize(
    ("status", "inquiry"), [("needs_response", False), ("warning_needs_response", True)]
)
def test_a_dispute_is_opened_at_its_own_time_or_only_asked_about(
    status: str, inquiry: bool
) -> None:
    expected = Fact(
        key="dispute_opened:dp_1",
        name="dispute_opened",
        at=NOON,
        about=ABOUT,
        properties={**STATE, "inquiry": inquiry},
    )

    assert read("charge.dispute.created", a_dispute(status=status)) == Reading(
        facts=(expected,), refs=REFS
    )


@pytest.mark.parametrize(
    ("outcome", "inquiry"), [("won", False), ("lost", False), ("warning_closed", True)]
)
def test_a_dispute_is_closed_with_its_outcome(outcome: str, inquiry: bool) -> None:
    assert facts("charge.dispute.closed", a_dispute(status=outcome)) == (
        Fact(
            key="dispute_closed:dp_1",
            name="dispute_closed",
            at=ANNOUNCED,
            about=ABOUT,
            properties={**STATE, "inquiry": inquiry, "outcome": outcome},
        ),
    )


def test_a_dispute_opened_with_its_money_tells_both() -> None:
    names = [fact.name for fact in facts("charge.dispute.created", a_dispute(a_transaction()))]

    assert names == ["dispute_opened", "dispute_funds_withdrawn"]


@pytest.mark.parametrize("type_", EVERY_EVENT)
def test_before_2019_a_dispute_names_its_charge_alone(type_: str) -> None:
    old = a_dispute(evidence_details=None)
    del old["payment_intent"]
    reading = read(type_, old)

    assert reading.refs == (Ref("dp_1", "ch_1"),)
    assert [fact.about for fact in reading.facts] == [("dp_1", "ch_1")] * len(reading.facts)
