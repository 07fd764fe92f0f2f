"""What a run leaves of Stripe's transactions: settlements, where it found something else than the
runs before. So the next right run puts right what a wrong source once said."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from sqlalchemy import Connection

from app.core.reconcile.match import Group
from app.core.reconcile.rows import KeptRow, Period, StripeRow
from app.finance.snapshot import AROUND, Snapshot
from app.store import reconciles, settlements
from app.store.identities import Scope


@dataclass(frozen=True, slots=True)
class Before:
    """The transactions around a period as earlier runs kept them: `same` are the ids of those of
    which the snapshot says nothing else, `others` those of which it does, or that it has not.
    `newest` was the last run then."""

    same: Set[str]
    others: Mapping[str, KeptRow]
    newest: int


def before(connection: Connection, scope: Scope, snapshot: Snapshot, period: Period) -> Before:
    """What the snapshot is to be compared with, of the period and the days around it."""
    newest = reconciles.newest(connection, scope)
    here = {row.id: row for row in snapshot.rows}
    same: set[str] = set()
    others: dict[str, tuple[StripeRow, int]] = {}
    for kept, run in settlements.of_days(connection, scope, *period.bounds(AROUND)):
        row = here.get(kept.id)
        if row is not None and row.beside(kept) is kept:
            same.add(kept.id)
        else:
            others[kept.id] = (kept, run)
    sources = reconciles.sources(connection, {run for _, run in others.values()})
    found = {id_: KeptRow(row, run, sources.get(run, "")) for id_, (row, run) in others.items()}
    return Before(same, found, newest)


def keep(
    connection: Connection,
    scope: Scope,
    run: int,
    snapshot: Snapshot,
    period: Period,
    known: Before,
    groups: Iterable[Group],
) -> None:
    """In the transaction of the run, which has taken `settlements.take_turns`. A run speaks for its
    own days alone, and only where its source lacks none of them."""
    if snapshot.lacks:
        return
    if reconciles.newest(connection, scope, but=run) != known.newest:  # another one came meanwhile
        known = before(connection, scope, snapshot, period)
    rows = {row.id: row for row in period.inside(snapshot.rows)}
    keys = _keys(groups)
    kept_keys = settlements.keys_of_days(connection, scope, *period.bounds())
    new = dict(_new(rows, known))
    gone = {row.id for row in period.inside(one.row for one in known.others.values())} - rows.keys()
    otherwise = {
        one
        for one, its in keys.items()
        if one in known.same and set(its).symmetric_difference(kept_keys.get(one, ()))
    }
    settlements.repeat(connection, scope, run, otherwise)
    settlements.withdraw(connection, scope, run, {*new, *gone, *otherwise})
    settlements.add(connection, scope, run, new.values(), period.zone)
    pairs = (
        (one, key)
        for one in (*new, *otherwise)
        for key in keys.get(one) or _still(one, rows, known, kept_keys)
    )
    settlements.settle(connection, scope, run, pairs)


def _keys(groups: Iterable[Group]) -> dict[str, list[str]]:
    """The keys of the entries that each of the period's transactions is of, if any."""
    found: dict[str, list[str]] = {}
    for group in groups:
        if keys := [entry.key for entry in group.all_entries]:
            found |= dict.fromkeys([row.id for row in group.rows], keys)
    return found


def _new(rows: Mapping[str, StripeRow], known: Before) -> Iterator[tuple[str, StripeRow]]:
    """What the snapshot has that no run kept so."""
    for id_, row in rows.items():
        if id_ not in known.same:
            was = known.others.get(id_)
            yield id_, row.beside(was.row) if was else row


def _still(
    id_: str,
    rows: Mapping[str, StripeRow],
    known: Before,
    kept_keys: Mapping[str, Sequence[str]],
) -> Sequence[str]:
    """The keys that an earlier run knew of the same money, where this one could not tell."""
    was = known.others.get(id_)
    return kept_keys.get(id_, ()) if was and was.row.settled_as(rows[id_]) else ()
