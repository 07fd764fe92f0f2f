"""The lines of a comparison, and their sums."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

from app.core.reconcile.categories import BOOKED

PARTS = frozenset(BOOKED.values())


@dataclass(frozen=True, slots=True)
class Said:
    """What a group comes to, and what to do about it."""

    kind: str
    reason: str = ""
    explained: bool = False
    note: str = ""
    next_step: str = ""


MATCHED = Said("matched", explained=True)


@dataclass(slots=True, kw_only=True)
class Result:
    """One line of the comparison, in one currency. Amounts are minor units, of the period alone;
    None: nothing on that side. `explained`: nothing is wrong, and why is known."""

    kind: str  # the class
    reason: str
    part: str
    currency: str
    stripe: int | None
    ledger: int | None
    subject: str
    transactions: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()
    stripe_date: date | None = None
    ledger_date: date | None = None
    note: str = ""
    next_step: str = ""
    explained: bool = False

    @property
    def delta(self) -> int:
        """Stripe's less the ledger's."""
        return (self.stripe or 0) - (self.ledger or 0)

    @property
    def order(self) -> tuple[Any, ...]:
        """Differences first, the biggest first; of one size by id."""
        size = max(abs(self.delta), abs(self.stripe or 0), abs(self.ledger or 0))
        return (self.explained, -size, self.kind, self.subject, self.currency)


def classes(results: Iterable[Result]) -> list[dict[str, Any]]:
    """By class, reason and currency: how many, both sides' sums in minor units, the difference."""
    found: dict[tuple[str, str, str, bool], list[int]] = {}
    for one in results:
        key = (one.kind, one.reason, one.currency, one.explained)
        sum_ = found.setdefault(key, [0, 0, 0])
        sum_[0] += 1
        sum_[1] += one.stripe or 0
        sum_[2] += one.ledger or 0
    return [
        {
            "class": kind,
            "reason": reason,
            "currency": currency,
            "explained": explained,
            "count": count,
            "stripe": theirs,
            "ledger": ours,
            "difference": theirs - ours,
        }
        for (kind, reason, currency, explained), (count, theirs, ours) in sorted(found.items())
    ]


def totals(results: Iterable[Result]) -> list[dict[str, Any]]:
    """By part of the ledger and currency: Stripe's minor units, the ledger's, and the difference;
    what the ledger has no entries of is left out."""
    found: dict[tuple[str, str], list[int]] = {}
    for one in results:
        if one.part in PARTS:
            sum_ = found.setdefault((one.part, one.currency), [0, 0])
            sum_[0] += one.stripe or 0
            sum_[1] += one.ledger or 0
    return [
        {
            "part": part,
            "currency": currency,
            "stripe": theirs,
            "ledger": ours,
            "difference": theirs - ours,
        }
        for (part, currency), (theirs, ours) in sorted(found.items())
    ]
