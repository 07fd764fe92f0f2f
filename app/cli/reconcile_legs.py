"""What a reconciliation says of destinations and of browsers, on the screen."""

from rich.markup import escape

from app.cli.room import screen, show, table
from app.core.money import Money
from app.core.reconcile.told import Completeness, Sum
from app.finance.reconcile import Report


def print_delivered(report: Report) -> None:
    rows = []
    for (name, currency), place in sorted(report.told.destinations.items()):
        states = [
            f"{state} {_counted(one, currency)}" for state, one in sorted(place.states.items())
        ]
        owed, told = _counted(place.owed, currency), _told_amounts(place)
        rows.append([name, owed, "; ".join(states), told, next_of_delivery(name, place)])
    columns = ["destination", "owed", "of it", "amounts told", "next"]
    if rows:
        table("Ledger and destinations", columns, rows)
    for (state, currency), one in sorted(report.told.untold.items()):
        screen.print(escape(show(f"told to nobody: {state}: {_counted(one, currency)}")))


def _told_amounts(place: Completeness) -> str:
    """What the payloads tell of money. A destination that is not set here cannot be asked."""
    skipped = sum(one.count for state, one in place.states.items() if state[:7] == "skipped")
    as_owed = place.owed.count - skipped - place.unsaid - place.wrong
    said = {"WRONG": place.wrong, "as owed": as_owed, "not known": place.unsaid}
    return ", ".join(f"{number:,} {what}" for what, number in said.items() if number)


def next_of_delivery(name: str, place: Completeness) -> str:
    """What to do where a destination was not told what the ledger has."""
    if "dead" in place.states:
        return f"bridge replay --destination {name}"
    return "--csv DIR lists the wrong amounts" if place.wrong else ""


def _counted(one: Sum, currency: str) -> str:
    return f"{one.count:,} ({Money(one.minor, currency)})"


def print_browser(report: Report) -> None:
    if report.lost is None:
        return
    ours, theirs = (sum(getattr(one, name) for one in report.lost) for name in ("ours", "browser"))
    by_channel: dict[str, list[int]] = {}
    for one in report.lost:
        counts = by_channel.setdefault(one.channel, [0, 0])
        counts[0] += one.ours
        counts[1] += one.browser
    rows = [
        [name, f"{mine:,}", f"{seen:,}", f"{mine - seen:,}", _percent(mine - seen, mine)]
        for name, (mine, seen) in sorted(by_channel.items())
    ]
    if rows:
        table("What the browser lost", ["channel", "ours", "browser", "lost", "%"], rows)
    screen.print(
        f"In all: {ours - theirs:,} of {ours:,} conversions ({_percent(ours - theirs, ours)})"
    )


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"
