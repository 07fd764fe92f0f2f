"""Close a month: from then on, what comes late is posted to the next open one, so that what was
reported stays. Reopening is possible, and never silent."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from app.store import audit, periods, reconciles
from app.store.identities import Scope
from app.store.periods import Period, Totals
from app.store.reconciles import Run


class Refused(Exception):
    """The month cannot be closed or reopened: why, and what to do first."""


class Changed(Exception):
    """The totals are no longer those that were shown."""


@dataclass(frozen=True, slots=True)
class Month:
    """A month of finance's calendar, [start, end) in the reporting time zone."""

    start: date
    zone: ZoneInfo

    @property
    def end(self) -> date:
        return (self.start + timedelta(days=31)).replace(day=1)

    @property
    def bounds(self) -> tuple[datetime, datetime]:
        """Its first moment and the first one after it, UTC."""
        first, last = (
            datetime(day.year, day.month, day.day, tzinfo=self.zone).astimezone(UTC)
            for day in (self.start, self.end)
        )
        return first, last

    def __str__(self) -> str:
        return f"{self.start:%Y-%m}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What is closed: totals by currency and kind, and what is known to be missing in them.
    `breaks` are what only --accept-breaks closes over."""

    scope: Scope
    month: Month
    totals: Totals
    unattributed: list[dict[str, Any]]
    unfinished: dict[str, int]
    run: Run | None
    breaks: list[str]


def preview(connection: Connection, scope: Scope, month: Month) -> Preview:
    """What a close would close now. Raises Refused."""
    known = periods.of(connection, scope)
    _in_order(connection, scope, month, known)
    found = periods.totals(connection, scope, month.start, month.end)
    run = reconciles.latest(connection, scope, month.start, month.end, month.zone.key)
    return Preview(
        scope=scope,
        month=month,
        totals=found,
        unattributed=periods.unattributed(connection, scope, *month.bounds),
        unfinished=periods.unfinished(connection, scope, month.bounds[1]),
        run=run,
        breaks=[
            *_unproved(scope, month, run, found),
            *_unproved_late(connection, scope, month),
            *_other_zones(month, known),
        ],
    )


def close(
    connection: Connection,
    scope: Scope,
    month: Month,
    *,
    who: str,
    why: str,
    accept_breaks: bool,
    shown: Totals | None = None,
) -> tuple[Preview, int]:
    """Close it, in a transaction of its own that has done nothing yet; what was closed, and its
    version. Nothing is booked meanwhile. Raises Refused, and Changed where the totals are not
    those that were `shown`."""
    periods.take_turns(connection)
    found = preview(connection, scope, month)
    if shown is not None and shown != found.totals:
        raise Changed(f"The totals of {month} have changed since they were shown.")
    if found.breaks and not (accept_breaks and why):
        raise Refused(
            f"{' '.join(found.breaks)} To close all the same: --accept-breaks, and --why."
        )
    run = found.run.id if found.run else None
    columns = {
        "period_start": month.start,
        "period_end": month.end,
        "timezone": month.zone.key,
        "closed_by": who,
        "totals": found.totals,
        "reconcile_run": run,
        "why": why or None,
    }
    version = periods.close(connection, scope, columns)
    told = {"version": version, "breaks": found.breaks, "reconcile_run": run}
    _note(connection, who, "close", why, scope, month, found.totals, told)
    return found, version


def reopen(connection: Connection, scope: Scope, month: Month, *, who: str, why: str) -> Period:
    """Open a closed month again; it as it is now. What was posted to later months meanwhile stays
    there: entries never change. Raises Refused."""
    periods.take_turns(connection)
    if periods.reopen(connection, scope, month.start, who) is None:
        raise Refused(f"{month} is not closed.")
    [period] = [one for one in periods.of(connection, scope) if one.start == month.start]
    told = {"version": period.version}
    _note(connection, who, "reopen", why, scope, month, period.totals, told)
    return period


def _note(
    connection: Connection,
    who: str,
    action: str,
    why: str,
    scope: Scope,
    month: Month,
    totals: Totals,
    told: dict[str, Any],
) -> None:
    """The audit log has the totals of every close, accounting_periods only those of the last."""
    account, livemode = scope
    asked = {"account": account, "livemode": livemode, "month": str(month), **told}
    entries = sum(row["entries"] for row in totals["as_closed"])
    audit.note(connection, who, action, why, {**asked, "totals": totals}, entries)


def _in_order(connection: Connection, scope: Scope, month: Month, known: list[Period]) -> None:
    """A month is closed once it has ended, and after every earlier one from the first that has
    entries or was closed."""
    closed = {one.start for one in known if one.closed}
    if month.start in closed:
        raise Refused(f"{month} is closed already.")
    today = periods.today(connection, month.zone.key)
    if today < month.end:
        raise Refused(f"{month} ends on {month.end}: it is {today} in {month.zone.key}.")
    posted = periods.first_posted(connection, scope)
    begins = min(([posted.replace(day=1)] if posted else []) + sorted(closed), default=month.start)
    while begins < month.start:
        if begins not in closed:
            raise Refused(f"{begins:%Y-%m} is open: months are closed in order.")
        begins = Month(begins, month.zone).end


def _unproved(scope: Scope, month: Month, run: Run | None, totals: Totals) -> list[str]:
    """Why no reconciliation proves this month."""
    account, livemode = scope
    command = (
        f"bridge reconcile --from {month.start} --to {month.end}"
        f" {'--live' if livemode else '--test'}{f' --account {account}' if account else ''}"
    )
    if run is None:
        return [f"No reconciliation of exactly {month} in {month.zone.key}: {command}"]
    if run.verdict != "clean":
        return [f"Reconciliation {run.id} of {month} found: {run.verdict}. Again: {command}"]
    # Entries only ever come, so as many as then are the same as then.
    entries = sum(row["entries"] for row in totals["restated"])
    if run.entries != entries:
        return [
            f"Reconciliation {run.id} had {run.entries:,} entries of {month}, and there are"
            f" {entries:,} now. Again: {command}"
        ]
    return []


def _unproved_late(connection: Connection, scope: Scope, month: Month) -> Iterator[str]:
    """A reconciliation has the entries of its own days: late ones are proved by their own month's,
    made again."""
    for start in periods.late_months(connection, scope, month.start, month.end):
        own = Month(start, month.zone)
        run = reconciles.latest(connection, scope, own.start, own.end, own.zone.key)
        found = periods.totals(connection, scope, own.start, own.end)
        for why in _unproved(scope, own, run, found):
            yield f"Late entries in it are of {own}. {why}"


def _other_zones(month: Month, known: list[Period]) -> list[str]:
    """Days of another time zone begin at other moments: one month would not fit the next."""
    others = sorted({one.timezone for one in known if one.closed} - {month.zone.key})
    if not others:
        return []
    return [f"Other months were closed in {', '.join(others)}; BRIDGE_TIMEZONE is {month.zone}."]
