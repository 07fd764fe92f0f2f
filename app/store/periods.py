"""Accounting periods: months that are closed. The ledger's own trigger posts to the next open one
what comes after; how close and post take turns is said there (migrations 0007 and 0015)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Row, func, text
from sqlalchemy.dialects.postgresql import insert

from app.store.identities import Scope
from app.store.ledger import UNATTRIBUTED, WITH_TAX
from app.store.schema import accounting_periods
from app.store.work import HYDRATE

POSTING_LOCK = 7_203_514_010  # an advisory lock: shared by whoever books, alone by whoever closes

Totals = Mapping[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A month [start, end) that was closed at least once, in the time zone of then. `version` is 1,
    and one more with each reopening; `totals` and `why` are those of its last close."""

    account: str
    livemode: bool
    start: date
    end: date
    timezone: str
    status: str
    version: int
    closed_at: datetime
    closed_by: str
    totals: Totals
    reconcile_run: int | None
    why: str | None
    reopened_at: datetime | None
    reopened_by: str | None
    reopened_why: str | None

    @property
    def closed(self) -> bool:
        return self.status == "closed"


def take_turns(connection: Connection) -> None:
    """Until the transaction ends, nothing is booked; whoever was booking has committed. Take it
    before anything else, and with no snapshot of earlier (READ COMMITTED)."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": POSTING_LOCK})


def of(connection: Connection, scope: Scope) -> list[Period]:
    """Those of one account and mode, the oldest first."""
    return [one for one in every(connection) if (one.account, one.livemode) == scope]


def every(connection: Connection) -> list[Period]:
    query = text("SELECT * FROM accounting_periods ORDER BY account, livemode DESC, period_start")
    return [_period(row) for row in connection.execute(query)]


def _period(row: Row[Any]) -> Period:
    values = dict(row._mapping)
    return Period(start=values.pop("period_start"), end=values.pop("period_end"), **values)


def today(connection: Connection, timezone: str) -> date:
    """By the database's clock."""
    query = text("SELECT (clock_timestamp() AT TIME ZONE :zone)::date")
    day: date = connection.execute(query, {"zone": timezone}).scalar_one()
    return day


def first_posted(connection: Connection, scope: Scope) -> date | None:
    """The posting date of the first entry."""
    query = text("""
        SELECT posting_date FROM revenue_entries
        WHERE account = :account AND livemode = :livemode ORDER BY posting_date LIMIT 1
    """)
    account, livemode = scope
    found = connection.execute(query, {"account": account, "livemode": livemode})
    day: date | None = found.scalar_one_or_none()
    return day


def posted_months(connection: Connection) -> list[dict[str, Any]]:
    """Every account, mode and month of posting that has entries, and how many."""
    query = text("""
        SELECT account, livemode, date_trunc('month', posting_date::timestamp)::date AS start,
               count(*) AS entries
        FROM revenue_entries GROUP BY 1, 2, 3 ORDER BY 1, 2 DESC, 3
    """)
    return [dict(row) for row in connection.execute(query).mappings()]


def totals(connection: Connection, scope: Scope, start: date, end: date) -> Totals:
    """Of [start, end), by currency and kind: `as_closed` by posting date, `restated` by effective
    date. `late`: how many have two different dates."""
    return {
        "as_closed": _totals(connection, scope, start, end, "posting_date"),
        "restated": _totals(connection, scope, start, end, "effective_date"),
    }


def _totals(
    connection: Connection, scope: Scope, start: date, end: date, column: str
) -> list[dict[str, Any]]:
    query = text(f"""
        SELECT trim(e.currency) AS currency, e.kind, count(*) AS entries,
               sum(e.minor)::bigint AS minor,
               coalesce(sum(coalesce(e.tax_minor, told.tax_minor)), 0)::bigint AS tax_minor,
               count(*) FILTER (WHERE e.posting_date <> e.effective_date) AS late
        {WITH_TAX}
        WHERE e.account = :account AND e.livemode = :livemode
          AND e.{column} >= :start AND e.{column} < :end
        GROUP BY 1, 2 ORDER BY 1, 2
    """)
    account, livemode = scope
    values = {"account": account, "livemode": livemode, "start": start, "end": end}
    return [dict(row) for row in connection.execute(query, values).mappings()]


def late_months(connection: Connection, scope: Scope, start: date, end: date) -> list[date]:
    """The first days of the months that late entries posted in [start, end) are of."""
    query = text("""
        SELECT DISTINCT date_trunc('month', effective_date::timestamp)::date FROM revenue_entries
        WHERE account = :account AND livemode = :livemode
          AND posting_date >= :start AND posting_date < :end AND posting_date <> effective_date
        ORDER BY 1
    """)
    account, livemode = scope
    values = {"account": account, "livemode": livemode, "start": start, "end": end}
    return list(connection.execute(query, values).scalars())


def posted_on(connection: Connection, scope: Scope, day: date) -> date:
    """The day that what is of this day is posted on now, as the ledger's trigger says: the same,
    or the first one of the next month that is open."""
    query = text("SELECT posting_day(:account, :livemode, :day)")
    account, livemode = scope
    values = {"account": account, "livemode": livemode, "day": day}
    found: date = connection.execute(query, values).scalar_one()
    return found


def unattributed(
    connection: Connection, scope: Scope, first: datetime, last: datetime
) -> list[dict[str, Any]]:
    """Payments captured in [first, last) that are no revenue yet, by currency; apart, those that
    are `parts` of an invoice that is still open."""
    query = text(f"""
        SELECT trim(p.currency) AS currency, invoice.id IS NOT NULL AS parts,
               count(*) AS payments, sum(p.minor)::bigint AS minor
        {UNATTRIBUTED} AND p.account = :account AND p.livemode = :livemode
          AND p.occurred_at >= :first AND p.occurred_at < :last
        GROUP BY 1, 2 ORDER BY 1, 2
    """)
    account, livemode = scope
    values = {"account": account, "livemode": livemode, "first": first, "last": last}
    return [dict(row) for row in connection.execute(query, values).mappings()]


def unfinished(connection: Connection, scope: Scope, last: datetime) -> dict[str, int]:
    """Webhook events created before `last` that have booked nothing yet: waiting (for a worker, or
    a thin one for its object), quarantined."""
    query = text("""
        SELECT CASE verdict WHEN 'quarantined' THEN verdict ELSE 'waiting' END, count(*)
        FROM webhook_events
        WHERE (verdict IS NULL OR verdict = 'quarantined'
               OR id = ANY(ARRAY(SELECT ref_id FROM work WHERE lane = :hydrate)))
          AND account = :account AND livemode = :livemode AND created < :last
        GROUP BY 1 ORDER BY 1
    """)
    account, livemode = scope
    values = {"account": account, "livemode": livemode, "last": last, "hydrate": HYDRATE}
    return {row[0]: row[1] for row in connection.execute(query, values)}


def close(connection: Connection, scope: Scope, month: Mapping[str, Any]) -> int:
    """Close a month (its columns but for those below), with `take_turns` taken; its version."""
    account, livemode = scope
    values = {"account": account, "livemode": livemode, "status": "closed", "version": 1, **month}
    row = insert(accounting_periods).values(**values, closed_at=func.clock_timestamp())
    again = {name: row.excluded[name] for name in (*month, "status", "closed_at")}
    query = row.on_conflict_do_update(constraint="accounting_periods_pkey", set_=again).returning(
        accounting_periods.c.version
    )
    return int(connection.execute(query).scalar_one())


def reopen(connection: Connection, scope: Scope, start: date, *, who: str, why: str) -> int | None:
    """Open a closed month again; its new version, or None where no such month is closed."""
    query = text("""
        UPDATE accounting_periods SET status = 'open', version = version + 1, reopened_by = :who,
            reopened_why = :why, reopened_at = clock_timestamp()
        WHERE account = :account AND livemode = :livemode AND period_start = :start
          AND status = 'closed'
        RETURNING version
    """)
    account, livemode = scope
    values = {"account": account, "livemode": livemode, "start": start, "who": who, "why": why}
    version: int | None = connection.execute(query, values).scalar_one_or_none()
    return version
