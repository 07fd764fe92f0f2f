"""What every group of a comparison is judged in: the period, and what else is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from app.core.reconcile.rows import LedgerEntry, Period, StripeRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What else is known, of the groups that do not simply agree. Ids are Stripe's.

    `failed`: the webhook event that could not be read, by what it is about; `heard`: types of
    webhook events that were kept at all; `captured`: payments that nobody claims; `due`: what an
    invoice asks for, in minor units; `not_by_stripe`: invoices that were paid without it;
    `elsewhere`: the mode or account that an entry is really of, by its key; `credited`: minor units
    that the customer's credit paid; `other_parts`: payments of an entry on other days; `told_by`:
    the webhook event that made it; `earlier`: transactions as earlier runs knew them.
    """

    failed: Mapping[str, str] = field(default_factory=dict)
    heard: frozenset[str] = frozenset()
    captured: frozenset[str] = frozenset()
    due: Mapping[str, int] = field(default_factory=dict)
    not_by_stripe: frozenset[str] = frozenset()
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    credited: Mapping[str, int] = field(default_factory=dict)
    other_parts: Mapping[str, int] = field(default_factory=dict)
    told_by: Mapping[str, str] = field(default_factory=dict)
    earlier: Mapping[str, StripeRow] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What every group is judged in. `covered`: the first and last moment that the snapshot has
    transactions of. `refs`: what belongs to what."""

    period: Period
    now: datetime
    covered: tuple[datetime, datetime]
    refs: Mapping[str, Sequence[str]]
    evidence: Evidence = Evidence()


def look(entry: LedgerEntry, frame: Frame) -> str:
    event = frame.evidence.told_by.get(entry.key)
    return f"bridge events show {event}" if event else f"Look for {entry.key} in Stripe."
