"""Which transactions and which entries are of the same thing: by Stripe's ids, never by amounts.

A payment entry is a group: the transactions of all charges that pay its invoice. Ids are joined
from a charge to its payment intent to its invoice; refunds by refund, disputes by transaction.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import not_
from typing import TypeVar

from app.core.reconcile.categories import BOOKED
from app.core.reconcile.rows import LedgerEntry, Period, StripeRow, come_to

Refs = Mapping[str, Sequence[str]]  # of a charge, payment intent or refund: what it belongs to
Keyed = tuple[StripeRow, list[str]]

Value = TypeVar("Value")


@dataclass(slots=True)
class Group:
    """What belongs together. `near` rows and entries are of days around the period: they explain,
    and count for nothing."""

    part: str
    rows: Sequence[StripeRow] = ()
    near_rows: Sequence[StripeRow] = ()
    entries: Sequence[LedgerEntry] = ()
    near_entries: Sequence[LedgerEntry] = ()

    @property
    def all_rows(self) -> Sequence[StripeRow]:
        return (*self.rows, *self.near_rows) if self.near_rows else self.rows

    @property
    def all_entries(self) -> Sequence[LedgerEntry]:
        return (*self.entries, *self.near_entries) if self.near_entries else self.entries

    @property
    def agrees(self) -> bool:
        """Whether its transactions come to its one entry."""
        entries = self.all_entries
        return len(entries) == 1 and come_to(self.all_rows, entries[0].money)


def keys_of(row: StripeRow, refs: Refs) -> list[str]:
    """The keys under which the ledger would have this transaction; none if it is not of its kind.

    Nearest first: a payment's charge, payment intent, invoice.
    """
    match BOOKED.get(row.category):
        case None:
            return []
        case "payments":
            return [f"payment:{one}" for one in payment_ids(row, refs)]
        case "refunds":
            return [f"refund:{row.source}"] if row.source else []
        case "refund failures":
            return [f"refund:{row.source}:reversed"] if row.source else []
        case _:
            return [f"dispute:{row.source}:{row.id}"] if row.source else []


def payment_ids(row: StripeRow, refs: Refs) -> list[str]:
    """A payment's ids from its charge upwards to its invoice, as the row and our refs have them."""
    way: list[str] = []
    for one in (row.charge, row.source, row.payment_intent, row.invoice):
        if one and one not in way:
            way.append(one)
    for one in way:  # grows while it is walked
        if (above := refs.get(one)) and not one.startswith("in_"):
            way += [parent for parent in above if parent not in way]
    return way


def keyed(rows: Iterable[StripeRow], refs: Refs) -> list[Keyed]:
    """Those that the ledger has a kind for, by id, with the keys they go by: at least one."""
    booked = sorted((row for row in rows if row.category in BOOKED), key=lambda row: row.id)
    return [(row, keys_of(row, refs) or [f"transaction:{row.id}"]) for row in booked]


def entry_keys(entry: LedgerEntry) -> list[str]:
    """An entry's own key, and those of whatever else it says it is of."""
    match entry.kind:
        case "payment":
            ids = (entry.invoice, entry.payment_intent, entry.charge)
            said = [f"payment:{one}" for one in ids if one]
        case "refund":
            said = [f"refund:{entry.refund}"] if entry.refund else []
        case "refund_reversal":
            said = [f"refund:{entry.refund}:reversed"] if entry.refund else []
        case _:
            said = []
    return list(dict.fromkeys([entry.key, *said]))


def groups(rows: Sequence[Keyed], entries: Iterable[LedgerEntry], period: Period) -> list[Group]:
    """Every transaction and every entry of the period in exactly one group, in a stable order.

    Groups that are only of the days around are left out.
    """
    ordered = sorted(entries, key=lambda one: one.key)
    together = _Together()
    for _, keys in rows:
        together.join(keys)
    for entry in ordered:
        together.join(entry_keys(entry))
    rows_of: dict[str, list[StripeRow]] = defaultdict(list)
    entries_of: dict[str, list[LedgerEntry]] = defaultdict(list)
    for row, keys in rows:
        rows_of[together.root(keys[0])].append(row)
    for entry in ordered:
        entries_of[together.root(entry.key)].append(entry)
    first, last = period.bounds()
    found = []
    for root in dict.fromkeys((*rows_of, *entries_of)):
        theirs, ours = rows_of.get(root, []), entries_of.get(root, [])
        group = Group(
            BOOKED[theirs[0].category] if theirs else ours[0].part,
            *_split(theirs, [first <= row.created < last for row in theirs]),
            *_split(ours, [period.has(entry.effective_date) for entry in ours]),
        )
        if group.rows or group.entries:
            found.append(group)
    return found


def _split(
    found: Sequence[Value], inside: Sequence[bool]
) -> tuple[Sequence[Value], Sequence[Value]]:
    """(those inside, the others)"""
    if all(inside):  # nearly always
        return found, ()
    return tuple(compress(found, inside)), tuple(compress(found, map(not_, inside)))


def outside(rows: Iterable[StripeRow], period: Period) -> Iterator[StripeRow]:
    """The period's transactions that no entry of the ledger can be of, by id."""
    others = period.inside(row for row in rows if row.category not in BOOKED)
    yield from sorted(others, key=lambda one: one.id)


class _Together:
    """Which keys are of one thing: a union-find."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def root(self, key: str) -> str:
        above = self._above
        top = key
        while (higher := above.get(top)) is not None:
            top = higher
        while key != top:  # the next look is short
            above[key], key = top, above[key]
        return top

    def join(self, keys: Sequence[str]) -> None:
        first = self.root(keys[0])
        for key in keys[1:]:
            if (other := self.root(key)) != first:
                self._above[other] = first


def parents(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Refs from (child, parent) pairs, in a stable order."""
    found: dict[str, tuple[str, ...]] = {}
    for child, parent in sorted(pairs):
        found[child] = (*found.get(child, ()), parent)
    return found
