"""Close a month: from then on, what comes late is posted to the next open one, so that what was
reported stays. Reopening is possible, and never silent. The books begin with the first close: what
is of a month before it is late, too."""

from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection

from app.finance import proof
from app.finance.month import Month, after
from app.finance.proof import Break
from app.store import audit, periods, reconciles
from app.store.identities import Scope
from app.store.periods import Period, Totals
from app.store.reconciles import Run


class Refused(Exception):
    """The month cannot be closed or reopened: why, and what to do first."""


class Changed(Exception):
    """What would be closed is no longer what was shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What is closed: totals by currency and kind, what is known to be missing in them, and what
    only --accept-breaks closes over. `before`: the totals of all months before, which this close
    locks, being the first; else None."""

    scope: Scope
    month: Month
    totals: Totals
    before: Totals | None
    warnings: list[str]
    run: Run | None
    breaks: list[Break]


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """What was closed; `next_open` is where that goes which comes late for it."""

    preview: Preview
    version: int
    next_open: Month


def preview(
    connection: Connection,
    scope: Scope,
    month: Month,
    *,
    first: bool = False,
    by_api: bool = False,
) -> Preview:
    """What a close would close now. `first`: although months before it are open; `by_api`: whether
    Stripe can be asked. Raises Refused."""
    known = periods.of(connection, scope)
    _in_order(connection, scope, month, known, first)
    found = periods.totals(connection, scope, month.start, month.end)
    run = reconciles.latest(connection, scope, month.start, month.end, month.zone.key)
    unattributed = periods.unattributed(connection, scope, *month.bounds)
    unfinished = periods.unfinished(connection, scope, month.bounds[1])
    before = None if known else periods.totals(connection, scope, date.min, month.start)
    return Preview(
        scope=scope,
        month=month,
        totals=found,
        before=before,
        warnings=list(proof.left_out(unattributed, unfinished.get("quarantined", 0))),
        run=run,
        breaks=[
            *proof.unproved(scope, month, run, found, by_api),
            *proof.unproved_late(connection, scope, month, by_api),
            *proof.other_zones(month, known),
            *proof.missing(unattributed, unfinished.get("waiting", 0)),
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
    first: bool = False,
    by_api: bool = False,
    shown: Preview | None = None,
) -> Closed:
    """Close it, in a transaction of its own that has done nothing yet. Nothing is booked meanwhile.
    Raises Refused, and Changed where it is not what was `shown`."""
    periods.take_turns(connection)
    found = preview(connection, scope, month, first=first, by_api=by_api)
    if shown is not None and shown != found:
        raise Changed(f"What is known of {month} has changed since it was shown.")
    if found.breaks and not (accept_breaks and why):
        said = " ".join(one.said for one in found.breaks)
        raise Refused(f"{said} To close all the same: --accept-breaks, and --why.")
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
    told = {
        "version": version,
        "breaks": [one.said for one in found.breaks],
        "accepted": [row for one in found.breaks for row in one.accepted],
        "reconcile_run": run,
        **({} if found.before is None else {"before": found.before["as_closed"]}),
    }
    _note(connection, who, "close", why, scope, month, found.totals, told)
    next_open = Month(periods.posted_on(connection, scope, month.start), month.zone)
    return Closed(preview=found, version=version, next_open=next_open)


def reopen(connection: Connection, scope: Scope, month: Month, *, who: str, why: str) -> Period:
    """Open a closed month again; it as it is now. What was posted to later months meanwhile stays
    there: entries never change. Raises Refused."""
    periods.take_turns(connection)
    if periods.reopen(connection, scope, month.start, who=who, why=why) is None:
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


def _in_order(
    connection: Connection, scope: Scope, month: Month, known: list[Period], first: bool
) -> None:
    """A month is closed once it has ended, and after every earlier one from that with which the
    books begin: the first that was ever closed, or else `first`, or the first that has entries."""
    closed = {one.start for one in known if one.closed}
    if month.start in closed:
        raise Refused(f"{month} is closed already.")
    today = periods.today(connection, month.zone.key)
    if today < month.end:
        raise Refused(f"{month} ends on {month.end}: it is {today} in {month.zone.key}.")
    if known:
        begins, or_ = min(one.start for one in known), ""
        if first or month.start < begins:
            locked = "months before it are locked as they are"
            raise Refused(f"The books began with the close of {begins:%Y-%m}: {locked}.")
    else:
        posted = None if first else periods.first_posted(connection, scope)
        begins = posted.replace(day=1) if posted else month.start
        or_ = f" To begin the books with {month}, and lock all before it as it is: --first."
    while begins < month.start:
        if begins not in closed:
            raise Refused(f"{begins:%Y-%m} is open: months are closed in order.{or_}")
        begins = after(begins)
