"""What speaks against closing a month: no reconciliation proves it, or something of it is missing.
Each says what to do about it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from app.core.money import Money
from app.finance.month import Month
from app.store import periods, reconciles
from app.store.identities import Scope
from app.store.periods import Period, Totals
from app.store.reconciles import Run


@dataclass(frozen=True, slots=True)
class Break:
    """What only --accept-breaks closes over. `accepted`: what that would accept, in sums of minor
    units by `run`, `class`, `reason` and `currency`."""

    said: str
    accepted: Sequence[Mapping[str, Any]] = ()


def unproved(
    scope: Scope, month: Month, run: Run | None, totals: Totals, by_api: bool
) -> Iterator[Break]:
    """Why the last run does not prove this month, with all that it found."""
    again = _command(scope, month, by_api=by_api and (run is None or run.source == "api"))
    # Entries only ever come, so as many as then are the same as then.
    entries = sum(row["entries"] for row in totals["restated"])
    if run is None:
        yield Break(f"No reconciliation of exactly {month} in {month.zone.key}: {again}")
    elif run.verdict != "clean":
        found = [{"run": run.id, **one} for one in run.classes if not one["explained"]]
        sums = "" if found or run.verdict == "incomplete" else " (sums that do not foot)"
        said = f"Reconciliation {run.id} of {month} found: {run.verdict}{sums}. Again: {again}"
        yield Break(said, found)
    elif run.entries != entries:
        had = f"{run.entries:,} {'entry' if run.entries == 1 else 'entries'}"
        now = f"there {'is' if entries == 1 else 'are'} {entries:,} now"
        yield Break(f"Reconciliation {run.id} had {had} of {month}, and {now}. Again: {again}")


def unproved_late(
    connection: Connection, scope: Scope, month: Month, by_api: bool
) -> Iterator[Break]:
    """A reconciliation has the entries of its own days: late ones are proved by their own month's,
    made again."""
    for start in periods.late_months(connection, scope, month.start, month.end):
        own = Month(start, month.zone)
        run = reconciles.latest(connection, scope, own.start, own.end, own.zone.key)
        found = periods.totals(connection, scope, own.start, own.end)
        for one in unproved(scope, own, run, found, by_api):
            yield Break(f"Late entries in it are of {own}. {one.said}", one.accepted)


def _command(scope: Scope, month: Month, *, by_api: bool) -> str:
    account, livemode = scope
    return (
        f"bridge reconcile --from {month.start} --to {month.end}"
        f" {'--live' if livemode else '--test'}{f' --account {account}' if account else ''}"
        f"{'' if by_api else ' --source csv FILE'}"
    )


def other_zones(month: Month, known: Sequence[Period]) -> Iterator[Break]:
    """Days of another time zone begin at other moments: one month would not fit the next."""
    others = sorted({one.timezone for one in known if one.closed} - {month.zone.key})
    if others:
        zones = f"{', '.join(others)}; BRIDGE_TIMEZONE is {month.zone}"
        yield Break(f"Other months were closed in {zones}.")


def missing(unattributed: Iterable[Mapping[str, Any]], waiting: int) -> Iterator[Break]:
    """What is known to be of the month, and should be in it."""
    for row in unattributed:
        if not row["parts"]:
            one = row["payments"] == 1
            yield Break(
                f"{_payments('captured payment', row)} {'is' if one else 'are'} no revenue yet:"
                f" bridge revenue unattributed says what would speak for {'it' if one else 'them'}."
            )
    if waiting:
        one = waiting == 1
        yield Break(
            f"{waiting:,} webhook {'event' if one else 'events'} of until then"
            f" {'waits' if one else 'wait'} to be processed: let a worker do that (bridge doctor"
            " says if one runs); bridge events --verdict waiting, or held, names them."
        )


def left_out(unattributed: Iterable[Mapping[str, Any]], quarantined: int) -> Iterator[str]:
    """What may rightly not be in the month, and should be looked at all the same."""
    for row in unattributed:
        if row["parts"]:
            those = f"{_payments('part payment', row)}, of invoices that are still open"
            yield f"Not in it: {those}: bridge revenue unattributed"
    if quarantined:
        events = f"{quarantined:,} quarantined webhook {'event' if quarantined == 1 else 'events'}"
        yield f"Not in it: {events} of until then: bridge events --verdict quarantined"


def _payments(noun: str, row: Mapping[str, Any]) -> str:
    number, money = row["payments"], Money(row["minor"], row["currency"])
    return f"{number:,} {noun if number == 1 else noun + 's'} of {money}"
