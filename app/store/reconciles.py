"""Every comparison ever made: its parameters, its totals, its verdict, and what did not agree."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from sqlalchemy import Connection, text

from app.core.reconcile.results import Result
from app.store.bulk import insert_all, insert_rows
from app.store.identities import Scope
from app.store.schema import reconcile_results, reconcile_runs

Verdict = Literal["clean", "differences", "incomplete"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A comparison of one account and mode over the days [start, end) of a time zone. `verdict` is
    of Stripe against the ledger, `delivered` of the ledger against the destinations. `entries`:
    of the ledger, by effective date. `classes`: what was found, as results.classes says it."""

    id: int
    at: datetime
    start: date
    end: date
    timezone: str
    source: str
    snapshot_sha256: str
    entries: int
    verdict: Verdict
    delivered: bool
    classes: Sequence[Mapping[str, Any]]


def record(
    connection: Connection,
    scope: Scope,
    run: Mapping[str, Any],
    results: Iterable[Result],
) -> int:
    """Keep a run (the columns of reconcile_runs but for its scope) and its results; its id."""
    account, livemode = scope
    values = {"account": account, "livemode": livemode, **run}
    [kept] = insert_rows(connection, reconcile_runs, [values], returning=("id",))
    rows = (
        {
            "run": kept.id,
            "line": line,
            "class": one.kind,
            "reason": one.reason,
            "part": one.part,
            "currency": one.currency,
            "stripe_minor": one.stripe,
            "ledger_minor": one.ledger,
            "subject": one.subject,
            "transactions": list(one.transactions),
            "entries": list(one.entries),
            "stripe_date": one.stripe_date,
            "ledger_date": one.ledger_date,
            "note": one.note,
            "next_step": one.next_step,
            "explained": one.explained,
        }
        for line, one in enumerate(results, 1)
    )
    insert_all(connection, reconcile_results, rows)
    return int(kept.id)


def newest(connection: Connection, scope: Scope, but: int = 0) -> int:
    """The last run of whatever days, `but` this one; 0: there is none."""
    query = text("""
        SELECT coalesce(max(id), 0) FROM reconcile_runs
        WHERE account = :account AND livemode = :livemode AND id <> :but
    """)
    account, livemode = scope
    values = {"account": account, "livemode": livemode, "but": but}
    return int(connection.execute(query, values).scalar_one())


def sources(connection: Connection, runs: Collection[int]) -> dict[int, str]:
    """Of these runs."""
    query = text("SELECT id, source FROM reconcile_runs WHERE id = ANY(CAST(:runs AS bigint[]))")
    found = connection.execute(query, {"runs": sorted(runs)}) if runs else ()
    return {row.id: row.source for row in found}


def latest(
    connection: Connection, scope: Scope, start: date, end: date, timezone: str
) -> Run | None:
    """The last run of exactly these days in this time zone, whatever it found."""
    query = text("""
        SELECT id, at, period_start, period_end, timezone, source, snapshot_sha256, entries,
               verdict, delivered, classes
        FROM reconcile_runs WHERE account = :account AND livemode = :livemode
        AND period_start = :start AND period_end = :end AND timezone = :timezone
        ORDER BY id DESC LIMIT 1
    """)
    account, livemode = scope
    values = {"account": account, "livemode": livemode, "start": start, "end": end}
    row = connection.execute(query, {**values, "timezone": timezone}).one_or_none()
    if row is None:
        return None
    return Run(
        id=row.id,
        at=row.at,
        start=row.period_start,
        end=row.period_end,
        timezone=row.timezone,
        source=row.source,
        snapshot_sha256=row.snapshot_sha256,
        entries=row.entries,
        verdict=row.verdict,
        delivered=row.delivered,
        classes=row.classes,
    )
