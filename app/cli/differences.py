"""What a replay would change, on a screen and as JSON."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.markup import escape

from app.cli.room import count, screen, show, table
from app.history.rehearse import Change, Kind, Rehearsal, What

SHOWN = 50  # of each on a screen; --json has them all
MANY: Mapping[What, str] = {
    "revenue entry": "revenue entries",
    "analytics event": "analytics events",
}
KINDS: tuple[Kind, ...] = ("new", "changed", "gone")


def as_plain(found: Rehearsal) -> dict[str, Any]:
    return {
        "same": {what: found.same[what] for what in MANY},
        "changes": [asdict(one) for one in found.changes],
        "verdicts": [
            {"webhook_event": id_, "stored": old, "derived": new}
            for id_, old, new in found.verdicts
        ],
        "owed": [
            {"destination": name, "state": state, "deliveries": number}
            for (name, state), number in sorted(found.owed.items())
        ],
        "waiting_anyway": found.busy,
    }


def print_differences(found: Rehearsal) -> None:
    screen.print("Today's code, against what is stored (nothing was written):")
    for what, many in MANY.items():
        differ = ", ".join(f"{found.count(what, kind):,} {kind}" for kind in KINDS)
        screen.print(f"  {many}: {differ}, {found.same[what]:,} the same")
    for (name, state), number in sorted(found.owed.items()):
        screen.print(escape(f"  {name}: {count(number, 'delivery', 'deliveries')} more, {state}"))
    if found.busy:
        screen.print(f"  {count(found.busy, 'webhook event')} left out: to be processed anyway")
    if found.verdicts:
        columns = ["webhook event", "stored", "derived"]
        table("Verdicts that differ", columns, found.verdicts[:SHOWN])
    if found.changes:
        columns = ["", "what", "key", "name", "told by", "stored -> derived"]
        table("Differences", columns, [_row(one) for one in found.changes[:SHOWN]])
        screen.print("A replay adds what is new; what is stored stays as it is, changed or gone.")
    if max(len(found.changes), len(found.verdicts)) > SHOWN:
        screen.print(f"The first {SHOWN} of each are shown: --json has all.")


def _row(one: Change) -> tuple[str, ...]:
    fields = "\n".join(f"{name}: {show(a)} -> {show(b)}" for name, (a, b) in one.fields.items())
    return (one.change, one.what, one.key, one.name, one.webhook_event, fields)
