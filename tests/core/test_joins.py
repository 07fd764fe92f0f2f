"""Facts that need two webhook events: the same one comes out whichever half came first."""

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from app.core.facts import Fact
from app.core.joins import cycle_name, joined

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def failure(at: datetime = NOON, invoice: str = "in_1") -> Fact:
    key = f"payment_failed:{invoice}:{int(at.timestamp())}"
    return Fact(key=key, name="payment_failed", at=at, about=(invoice, "sub_1"), invoice=invoice)


def payment(at: datetime = NOON + HOUR, invoice: str | None = "in_1", **changes: Any) -> Fact:
    values = {
        "key": f"payment:{invoice}",
        "name": "payment_succeeded",
        "at": at,
        "about": ("in_1", "sub_1"),
        "customer": "cus_1",
        "invoice": invoice,
        "subscription": "sub_1",
    }
    return Fact(**{**values, **changes})


def end(at: datetime = NOON, subscription: str = "sub_1", customer: str | None = "cus_1") -> Fact:
    return Fact(
        key=f"ended:{subscription}",
        name="subscription_cancelled",
        at=at,
        about=(subscription,),
        customer=customer,
        subscription=subscription,
    )


def start(
    at: datetime = NOON + HOUR, subscription: str = "sub_2", customer: str | None = "cus_1"
) -> Fact:
    return Fact(
        key=f"started:{subscription}",
        name="subscription_started",
        at=at,
        about=(subscription,),
        customer=customer,
        subscription=subscription,
    )


RECOVERED = Fact(
    key="recovered:in_1",
    name="payment_recovered",
    at=NOON + HOUR,
    about=("in_1", "sub_1"),
    customer="cus_1",
    invoice="in_1",
    subscription="sub_1",
    properties={"customer_id": "cus_1", "subscription_id": "sub_1", "invoice_id": "in_1"},
)
REACTIVATED = Fact(
    key="reactivated:sub_2",
    name="subscription_reactivated",
    at=NOON + HOUR,
    about=("sub_2",),
    customer="cus_1",
    subscription="sub_2",
    properties={"customer_id": "cus_1", "subscription_id": "sub_2"},
)


@pytest.mark.parametrize("order", list(permutations([failure(), payment()])))
def test_a_payment_after_a_failure_is_recovered_and_carries_no_money(order: list[Fact]) -> None:
    assert joined(order) == [RECOVERED]


@pytest.mark.parametrize("order", list(permutations([end(), start()])))
def test_a_start_after_this_customers_end_is_a_reactivation(order: list[Fact]) -> None:
    assert joined(order) == [REACTIVATED]


def test_several_failures_and_ends_make_one_of_each() -> None:
    halves = [
        failure(NOON - HOUR),
        failure(),
        payment(),
        end(NOON - HOUR, "sub_0"),
        end(),
        start(),
    ]

    for order in permutations(halves):
        assert sorted(fact.key for fact in joined(order)) == ["reactivated:sub_2", "recovered:in_1"]


def test_the_same_second_counts_as_after() -> None:
    assert joined([failure(NOON), payment(NOON)]) == [
        Fact(
            key="recovered:in_1",
            name="payment_recovered",
            at=NOON,
            about=("in_1", "sub_1"),
            customer="cus_1",
            invoice="in_1",
            subscription="sub_1",
            properties=RECOVERED.properties,
        )
    ]
    assert [fact.key for fact in joined([end(NOON), start(NOON)])] == ["reactivated:sub_2"]


@pytest.mark.parametrize(
    "halves",
    [
        [payment()],
        [failure()],
        [failure(NOON + 2 * HOUR), payment()],  # it failed after it was paid
        [failure(invoice="in_2"), payment()],
        [failure(), payment(invoice=None)],  # a one-off payment has no invoice to recover
        [start()],
        [end()],
        [end(NOON + 2 * HOUR), start()],
        [end(subscription="sub_2"), start()],  # its own end
        [end(customer="cus_2"), start()],
        [end(customer=None), start(customer=None)],  # nobody is not one person
        [],
    ],
)
def test_halves_of_different_things_join_to_nothing(halves: list[Fact]) -> None:
    assert joined(halves) == []


TRIAL_END = NOON


BEFORE, SINCE = TRIAL_END - HOUR, TRIAL_END + HOUR  # when a subscription event was created
Trials = set[tuple[datetime, datetime | None]]


@pytest.mark.parametrize(
    ("trial_ends", "name"),
    [
        ({(SINCE, TRIAL_END)}, "trial_converted"),
        ({(TRIAL_END, TRIAL_END)}, "trial_converted"),  # said in the very second
        ({(BEFORE, TRIAL_END + HOUR), (SINCE, TRIAL_END)}, "trial_converted"),  # cut short
        ({(BEFORE, TRIAL_END - HOUR), (SINCE, TRIAL_END)}, "trial_converted"),  # extended
        ({(SINCE, None)}, "subscription_renewed"),
        ({(SINCE, TRIAL_END - HOUR)}, "subscription_renewed"),
        ({(BEFORE, None), (SINCE, TRIAL_END - HOUR)}, "subscription_renewed"),
        ({(SINCE, TRIAL_END), (SINCE + HOUR, TRIAL_END + HOUR)}, "trial_converted"),  # a second one
    ],
)
@pytest.mark.parametrize("final", [False, True])
def test_a_paid_period_that_starts_at_a_trials_end_converts_it_and_any_other_renews(
    trial_ends: Trials, name: str, final: bool
) -> None:
    assert cycle_name(TRIAL_END, trial_ends, final=final) == name


@pytest.mark.parametrize(
    ("trial_ends", "at_last"),
    [
        (set(), "subscription_renewed"),
        ({(BEFORE, TRIAL_END + HOUR)}, "subscription_renewed"),
        ({(BEFORE, None)}, "subscription_renewed"),
        ({(BEFORE, TRIAL_END)}, "trial_converted"),
        ({(SINCE, TRIAL_END + HOUR)}, "subscription_renewed"),  # of another, later trial
    ],
)
def test_it_waits_for_what_is_said_once_the_period_began_and_is_then_told_as_it_is_known(
    trial_ends: Trials, at_last: str
) -> None:
    assert cycle_name(TRIAL_END, trial_ends, final=False) is None
    assert cycle_name(TRIAL_END, trial_ends, final=True) == at_last
