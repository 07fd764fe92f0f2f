"""What is known of a customer, from subscriptions and entries alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.core.money import Money
from app.core.profile import Paid, Subscribed, describe, with_tenure
from tests.core.test_mrr import item, price, snapshot

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)


def subscribed(minor: int | None = 1000, **changes: Any) -> Subscribed:
    return Subscribed(snapshot=snapshot(item(price()), **changes), minor=minor)


def paid(minor: int, currency: str = "usd", payments: int = 1, at: datetime = NOON) -> Paid:
    first = at if payments else None
    return Paid(money=Money(minor, currency), payments=payments, first_paid_at=first)


def test_one_subscription_and_its_payments() -> None:
    assert describe([subscribed()], [paid(2598, payments=2)]) == {
        "subscription_status": "active",
        "plan": "price_1",
        "mrr": 10.0,
        "lifetime_revenue": 25.98,
        "payments": 2,
        "first_paid_at": "2025-03-01T12:00:00+00:00",
    }


def test_of_somebody_unknown_nothing_is_said() -> None:
    assert describe([], []) == {}


def test_amounts_of_several_currencies_are_never_summed() -> None:
    later = NOON + timedelta(days=1)
    euros = subscribed(2000, currency="eur", subscription="sub_2")
    found = describe([subscribed(), euros], [paid(999), paid(1500, "jpy", at=later)])

    assert found == {
        "subscription_status": "active",
        "plan": "price_1",
        "mrr_eur": 20.0,
        "mrr_usd": 10.0,
        "lifetime_revenue_jpy": 1500.0,
        "lifetime_revenue_usd": 9.99,
        "payments": 2,
        "first_paid_at": "2025-03-01T12:00:00+00:00",
    }


def test_the_liveliest_subscription_speaks_and_of_equals_the_newest() -> None:
    def told(*subscriptions: Subscribed) -> object:
        return describe(subscriptions, [])["subscription_status"]

    ended = subscribed(0, status="canceled", started_at=NOON + timedelta(days=9))
    trial = subscribed(0, status="trialing", subscription="sub_2")
    late = subscribed(status="past_due", subscription="sub_3")
    assert told(ended, late, trial) == told(trial, late, ended) == "trialing"
    assert told(ended, subscribed(0, status="incomplete_expired")) == "canceled"


@pytest.mark.parametrize("status", ["canceled", "incomplete_expired"])
def test_who_has_ended_has_no_plan_and_no_mrr(status: str) -> None:
    assert describe([subscribed(None, status=status)], []) == {
        "subscription_status": status,
        "mrr": 0.0,
    }


def test_what_is_not_collected_is_no_mrr() -> None:
    assert describe([subscribed(None, paused_collection=True)], [])["mrr"] == 0.0
    assert describe([subscribed(None, status="trialing")], [])["mrr"] == 0.0


def test_an_mrr_that_is_not_measured_is_not_told_nor_is_a_sum_with_it() -> None:
    assert "mrr" not in describe([subscribed(None)], [])
    assert "mrr" not in describe([subscribed(), subscribed(None), subscribed()], [])


def test_a_refund_without_a_payment_that_is_known_has_no_first_payment() -> None:
    assert describe([], [paid(-500, payments=0)]) == {"lifetime_revenue": -5.0, "payments": 0}


def test_a_subscription_without_items_or_currency() -> None:
    bare = Subscribed(snapshot=snapshot(currency=None, items=[]), minor=None)

    assert describe([bare], []) == {"subscription_status": "active"}


def test_tenure_is_whole_days_from_the_first_payment_and_never_before_it() -> None:
    known = describe([], [paid(999)])

    assert with_tenure(known, NOON + timedelta(days=40, hours=23))["tenure_days"] == 40
    assert with_tenure(known, NOON)["tenure_days"] == 0
    assert with_tenure(known, NOON - timedelta(seconds=1)) == known
    assert with_tenure({}, NOON) == {}
