"""What waits, and until when: a suspended destination, a next try, a worker; and staying until all
of it has ended."""

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

from sqlalchemy import Connection, Engine

from app.cli.demo import progress as bar_of
from app.cli.room import INTERRUPTED, USAGE, complain, count, show, stop
from app.history.replay import Plan, Progress, progress
from app.local.supervise import stop_signals
from app.settings import Settings
from app.store import owed
from app.store.health import Pause

NAMED = 10  # ids that are named on the screen
LOOK = 0.5  # seconds
STILL = 15.0  # seconds in which nothing ended, before it is said what it waits for


def suspended(pause: Pause) -> str:
    """Until when, why, and what ends it."""
    why = f" ({show(pause.reason)})" if pause.reason else ""
    until = f"{show(pause.until)} UTC"
    resume = f"bridge destinations resume {pause.destination}"
    return f"{pause.destination} is suspended until {until}{why}: {resume}"


def pause_of(row: Mapping[str, Any]) -> Pause | None:
    """Of a row with `suspended_until` and `suspended_for`, the suspension that is in force."""
    until = row.get("suspended_until")
    return Pause(row["destination"], until, row.get("suspended_for") or "") if until else None


def waiting_for(row: Mapping[str, Any]) -> str:
    """What deliveries to one destination wait for (a row of `owed.waits`)."""
    if pause := pause_of(row):
        return suspended(pause)
    sent = count(row["waiting"], "delivery", "deliveries")
    if row["at_work"]:
        return f"{sent} to {row['destination']}: a worker has {row['at_work']:,}"
    if row["due"]:
        since = f"due since {show(row['next_try'])} UTC"
        return f"{sent} to {row['destination']}: {since}. Is a worker running?"
    return f"{sent} to {row['destination']}: the next try is at {show(row['next_try'])} UTC"


def some(ids: Sequence[object], where: str = " (--json has all)") -> str:
    """The first ten by name. `where` says who has the others."""
    rest = len(ids) - NAMED
    more = f" and {rest:,} more{where}" if rest > 0 else ""
    return ", ".join(str(one) for one in ids[:NAMED]) + more


def known_destination(connection: Connection, settings: Settings, name: str | None) -> str | None:
    """The name in lower case. Leaves with 2 where no destination that is set has it, and none that
    anything was ever owed to."""
    if name is None:
        return None
    name, names = name.lower(), {one.name for one in settings.destinations}
    if name not in names:
        names |= owed.destination_names(connection)
    if name not in names:
        known = ", ".join(sorted(names)) or "none"
        raise stop(USAGE, f"No destination is called {name}. There are: {known}.")
    return name


# --- staying until the end


def stay(engine: Engine, planned: Plan) -> Progress:
    """Until none of it is at work any more; leaves with 130 when interrupted, which stops nothing
    but the waiting."""

    def look() -> Progress:
        with engine.connect() as connection:
            return progress(connection, planned)

    def why(found: Progress) -> list[str]:
        with engine.connect() as connection:
            rows = owed.waits(connection, planned.deliveries)
        unread = found.verdicts.get("waiting", 0)
        events = f"{count(unread, 'webhook event')} to be processed. Is a worker running?"
        return [waiting_for(row) for row in rows] + ([events] if unread else [])

    return stayed(look, why, len(planned.webhook_events) + len(planned.deliveries))


def stayed(
    look: Callable[[], Progress], why: Callable[[Progress], list[str]], total: int
) -> Progress:
    left, since, said = total, monotonic(), list[str]()
    with stop_signals() as stopping, bar_of() as bars:
        bar = bars.add_task("Until all of it has ended", total=total)
        while (found := look()).left:
            bars.update(bar, completed=total - found.left)
            if found.left != left:
                left, since = found.left, monotonic()
            elif monotonic() - since >= STILL:
                since = monotonic()
                if (words := why(found)) != said:
                    said = words
                    complain(*(f"Waiting: {one}" for one in words))
            if stopping.wait(LOOK):
                words = [f"{found.left:,} are under way still: only the waiting was stopped."]
                raise stop(INTERRUPTED, *words, *why(found))
        bars.update(bar, completed=total)
    return found
