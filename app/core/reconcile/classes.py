"""What the comparison of one group comes to: a class, a reason, and what to do next.

Tolerance is zero minor units. The order of the questions matters: is it there at all, is it there
twice, is it the same currency, is it the same amount, is it of the same days.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from app.core.reconcile.both_sides import compared
from app.core.reconcile.earlier import changed
from app.core.reconcile.frame import Frame
from app.core.reconcile.match import Group
from app.core.reconcile.one_side import copied, missing_in_ledger, missing_in_stripe, outside
from app.core.reconcile.results import Result, Said
from app.core.reconcile.rows import LedgerEntry, StripeRow, come_to, sums


def classify(group: Group, frame: Frame) -> list[Result]:
    """The results of one group. Their stripe and ledger amounts are all of the period's rows and
    entries in it, each once."""
    rows, entries = group.all_rows, group.all_entries
    if not entries:
        return _results(group, missing_in_ledger(group, frame), frame)
    if len(entries) == 1:
        return _results(group, _of_one(group, frame), frame)
    main, *copies = sorted(entries, key=lambda one: _best_first(one, rows))
    found = []
    for copy in copies:
        if copy in group.entries:
            said = copied(copy, main, frame)
            found += _results(Group(group.part, entries=(copy,)), said, frame)
    alone = Group(
        group.part,
        group.rows,
        group.near_rows,
        entries=[one for one in group.entries if one is main],
        near_entries=[one for one in group.near_entries if one is main],
    )
    if alone.rows or alone.entries:
        found += _results(alone, _of_one(alone, frame), frame)
    return found


def _of_one(group: Group, frame: Frame) -> Said:
    [entry] = group.all_entries
    return compared(group, entry, frame) if group.all_rows else missing_in_stripe(entry, frame)


def outside_results(rows: Iterable[StripeRow], frame: Frame) -> Iterator[Result]:
    """Of the transactions that the ledger has no entries for."""
    for row in rows:
        money = row.money
        said = changed(row, frame) or outside(row)
        yield Result(
            kind=said.kind,
            reason=said.reason,
            part=row.category,
            currency=money.currency,
            stripe=money.minor,
            ledger=None,
            subject=row.id,
            transactions=(row.id,),
            stripe_date=row.day(frame.period.zone),
            note=said.note,
            next_step=said.next_step,
            explained=said.explained,
        )


def _results(group: Group, said: Said, frame: Frame) -> list[Result]:
    """A result for each currency of the period's rows and entries."""
    theirs = sums([row.money for row in group.rows])
    ours = sums([entry.money for entry in group.entries])
    rows, entries = group.all_rows, group.all_entries
    zone = frame.period.zone
    stripe_date = min([row.day(zone) for row in rows], default=None)
    ledger_date = min([entry.effective_date for entry in entries], default=None)
    return [
        Result(
            kind=said.kind,
            reason=said.reason,
            part=group.part,
            currency=currency,
            stripe=theirs.get(currency),
            ledger=ours.get(currency),
            subject=entries[0].key if entries else _subject(rows),
            transactions=tuple([row.id for row in rows]),
            entries=tuple([entry.key for entry in entries]),
            stripe_date=stripe_date,
            ledger_date=ledger_date,
            note=said.note,
            next_step=said.next_step,
            explained=said.explained,
        )
        for currency in sorted({*theirs, *ours})
    ]


def _subject(rows: Sequence[StripeRow]) -> str:
    return next((row.source for row in rows if row.source), rows[0].id)


def _best_first(entry: LedgerEntry, rows: Sequence[StripeRow]) -> tuple[Any, ...]:
    """Of several entries of one thing the one that is right: of Stripe's amount, of the invoice."""
    agrees = come_to(rows, entry.money)
    return (not agrees, not entry.key.startswith("payment:in_"), len(entry.key), entry.key)
