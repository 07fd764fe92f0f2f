"""Stripe's transactions and the ledger's entries in groups, with all that judging them takes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine

from app.core.reconcile import match
from app.core.reconcile.categories import BOOKED
from app.core.reconcile.corrected import as_corrected
from app.core.reconcile.frame import Frame
from app.core.reconcile.match import Group, Keyed
from app.core.reconcile.rows import LedgerEntry, Period, StripeRow
from app.finance import evidence
from app.finance.keep import Before, before
from app.finance.snapshot import AROUND, Snapshot
from app.store import comparison
from app.store.identities import Scope
from app.stripe_api import StripeApi


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """`entries` are the period's; `known`: its transactions as earlier runs kept them."""

    groups: Sequence[Group]
    frame: Frame
    entries: Sequence[LedgerEntry]
    known: Before


def pair(
    engine: Engine,
    api: StripeApi | None,
    scope: Scope,
    snapshot: Snapshot,
    period: Period,
    now: datetime,
) -> Paired:
    """`api` is asked about what does not agree. No transaction is open meanwhile."""
    with engine.connect() as connection:
        sides = _read(connection, scope, snapshot, period)
    groups = sides.groups(period)
    doubts = evidence.sort(groups)
    account, livemode = scope
    if api and doubts.without_entry:
        found = evidence.ask_for_invoices(api, account, doubts.without_entry, sides.refs)
        if found:
            with engine.connect() as connection:
                sides.learn(connection, scope, found)
            groups = sides.groups(period)
            doubts = evidence.sort(groups)
    refs = sides.refs
    with engine.connect() as connection:
        why = evidence.gather(connection, scope, doubts, refs, period)
    if api:
        why = evidence.ask(api, account, doubts, refs, why)
    why = replace(why, earlier=sides.known.others)
    frame = Frame(
        period=period,
        now=now,
        covered=snapshot.covered,
        refs=refs,
        evidence=why,
        account=account,
        livemode=livemode,
        with_key=api is not None,
    )
    return Paired(
        groups=groups,
        frame=frame,
        entries=[one for one in sides.entries.values() if period.has(one.effective_date)],
        known=sides.known,
    )


@dataclass(slots=True)
class _Sides:
    """The ledger around the period, what belongs to what, and Stripe's transactions around the
    period with their keys; `known`: as earlier runs kept them."""

    entries: dict[str, LedgerEntry]
    refs: dict[str, tuple[str, ...]]
    known: Before
    rows: list[StripeRow]
    keyed: list[Keyed]

    def groups(self, period: Period) -> list[Group]:
        return match.groups(self.keyed, as_corrected(self.entries.values()), period)

    def learn(self, connection: Connection, scope: Scope, pairs: Iterable[tuple[str, str]]) -> None:
        """Adds to what belongs to what, and the entries of other days that these are of."""
        self.refs |= match.parents(pairs)
        self.keyed = match.keyed(self.rows, self.refs)
        keys = {key for _, keys in self.keyed for key in keys} - self.entries.keys()
        self.entries |= comparison.entries_of_keys(connection, scope, keys)


def _read(connection: Connection, scope: Scope, snapshot: Snapshot, period: Period) -> _Sides:
    days = timedelta(days=AROUND)
    known = before(connection, scope, snapshot, period)
    here = {row.id for row in snapshot.rows}
    # A file of one month does not have what was settled on the days around it.
    absent = [one.row for one in known.others.values() if one.row.id not in here]
    inside = {row.id for row in period.inside(absent)}
    near = [row for row in absent if row.id not in inside]
    rows = [*snapshot.rows, *near]
    sides = _Sides(
        entries=comparison.entries_of_days(
            connection, scope, period.start - days, period.end + days
        ),
        refs={},
        known=known,
        rows=rows,
        keyed=[],
    )
    sides.learn(connection, scope, comparison.parents(connection, scope, _payments(rows)))
    return sides


def _payments(rows: Iterable[StripeRow]) -> set[str]:
    """The charges and payment intents that these transactions are of."""
    return {
        one
        for row in rows
        if BOOKED.get(row.category) == "payments"
        for one in (row.source, row.charge, row.payment_intent)
        if one
    }
