"""What is known of a customer, as properties that an analytics tool keeps of a person.

It is the state of now, so it is no part of what every order of arrival gives alike.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.core.facts import Snapshot
from app.core.money import Money
from app.core.reading.shapes import id_of, item_price
from app.core.worth.mrr import COUNTED, currency_of

# The subscription that speaks is the first by this: a customer may have an ended one beside it.
LIVE = ("active", "trialing", "past_due", "unpaid", "paused", "incomplete")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribed:
    """A subscription as it stands. `minor` is its MRR as measured; None: not known yet."""

    snapshot: Snapshot
    minor: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Paid:
    """All entries of a customer in one currency: their signed sum, and of the payments among them
    how many and when the first was."""

    money: Money
    payments: int
    first_paid_at: datetime | None


Amounts = dict[str, int | None]  # by lower-case currency; None: not known


def describe(subscriptions: Sequence[Subscribed], paid: Sequence[Paid]) -> dict[str, Any]:
    """`subscription_status`, `plan` (a price id), `mrr`, `lifetime_revenue` (whole units),
    `payments`, `first_paid_at`; what is not known is left out.

    Amounts in several currencies have the currency in their names: `mrr_eur`, `mrr_usd`.
    """
    found = {**_standing(subscriptions), **_named("mrr", _mrr(subscriptions))}
    if paid:
        first = [one.first_paid_at for one in paid if one.first_paid_at]
        sums: Amounts = {one.money.currency: one.money.minor for one in paid}
        found |= _named("lifetime_revenue", sums)
        found |= {"payments": sum(one.payments for one in paid)}
        found |= {"first_paid_at": min(first).isoformat()} if first else {}
    return found


def with_tenure(profile: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    """The profile with the whole days from the first payment to this moment (`tenure_days`)."""
    first = profile.get("first_paid_at")
    days = (at - datetime.fromisoformat(first)).days if first else -1
    return {**profile, **({"tenure_days": days} if days >= 0 else {})}


def _standing(subscriptions: Iterable[Subscribed]) -> dict[str, Any]:
    snapshots = [one.snapshot for one in subscriptions]
    speaks = min(snapshots, key=_turn, default=None)
    if speaks is None:
        return {}
    price = id_of(item_price(speaks.items[0])) if speaks.items else None
    plan = {"plan": price} if price and speaks.status in LIVE else {}
    return {"subscription_status": speaks.status, **plan}


def _turn(snapshot: Snapshot) -> tuple[int, float, str]:
    status = snapshot.status
    rank = LIVE.index(status) if status in LIVE else len(LIVE)
    return rank, -snapshot.started_at.timestamp(), snapshot.subscription


def _mrr(subscriptions: Iterable[Subscribed]) -> Amounts:
    sums: Amounts = {}
    for one in subscriptions:
        currency = currency_of(one.snapshot)
        if currency is None:
            continue
        counts = one.snapshot.status in COUNTED and not one.snapshot.paused_collection
        minor, sum_ = one.minor if counts else 0, sums.get(currency, 0)
        sums[currency] = None if minor is None or sum_ is None else sum_ + minor
    return sums


def _named(name: str, amounts: Amounts) -> dict[str, float]:
    several = len(amounts) > 1
    return {
        f"{name}_{currency}" if several else name: Money(minor, currency).number
        for currency, minor in sorted(amounts.items())
        if minor is not None
    }
