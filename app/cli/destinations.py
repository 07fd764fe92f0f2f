"""bridge destinations: who is told, how each is doing, and what to do about it."""

import getpass
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.markup import escape

from app.cli.room import as_json, confirm, count, database, listing, screen, show, table
from app.cli.try_out import Json, Name, named, try_out
from app.cli.waits import pause_of, suspended
from app.destinations.base import Destination
from app.settings import load_from_environment, shown
from app.store import audit, health, owed

verbs = typer.Typer(no_args_is_help=True, help="Who is told, and how each is doing.")


def add_to(cli: typer.Typer) -> None:
    verbs.command("list")(list_destinations)
    verbs.command("show")(show_destination)
    verbs.command("test")(try_out)
    verbs.command("resume")(resume)
    cli.add_typer(verbs, name="destinations")


def list_destinations(json_: Json = False) -> None:
    """Every destination that is set: what is under way, and whether it is suspended. UTC."""
    settings = load_from_environment()
    with database(settings) as connection:
        found = owed.destinations(connection)
    rows = [_row(one, found.get(one.name, {})) for one in settings.destinations]
    forgotten = [name for name in found if name not in {one.name for one in settings.destinations}]
    rows += [_row(None, {**found[name], "destination": name}) for name in sorted(forgotten)]
    columns: dict[str, Callable[[Mapping[str, Any]], object]] = {
        "name": lambda row: row["destination"],
        "kind": lambda row: row["kind"],
        "purpose": lambda row: row["purpose"],
        "state": lambda row: row["state"],
        "until": lambda row: row["suspended_until"],
        "waiting": lambda row: row["waiting"],
        "oldest": lambda row: row["oldest_waiting"],
        "delivered": lambda row: row["delivered"],
        "skipped": lambda row: row["skipped"],
        "dead": lambda row: row["dead"],
        "why": lambda row: row["reason"],
    }
    empty = "No destination is set. See .env.example: BRIDGE_DEST_AMPLITUDE_API_KEY and others."
    listing(rows, json_, "Destinations (times are UTC)", columns, empty)
    if not json_:
        _print_steps([line for row in rows for line in _steps(row)])


def _row(one: Destination | None, found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "destination": one.name if one else found["destination"],
        "kind": one.KIND if one else None,
        "purpose": one.purpose if one else None,
        "state": _state(found) if one else "no longer set",
        "suspended_until": found.get("suspended_until"),
        "reason": found.get("reason"),
        "oldest_waiting": found.get("oldest_waiting"),
        **{name: found.get(name, 0) for name in ("waiting", "delivered", "skipped", "dead")},
    }


def _state(found: Mapping[str, Any]) -> str:
    """In a word; a reason stays until a request is taken."""
    if found.get("suspended_until"):
        return "suspended"
    if found.get("failures") or found.get("reason"):
        return "failing"
    return "has dead ones" if found.get("dead") else "well"


def _steps(row: Mapping[str, Any]) -> list[str]:
    """What a person may have to do about a destination."""
    name, lines = row["destination"], list[str]()
    if pause := pause_of({**row, "suspended_for": row["reason"]}):
        lines.append(suspended(pause))
    if row["state"] == "no longer set" and row["waiting"]:
        skip = f"bridge deliveries skip --destination {name} --waiting --why ..."
        lines.append(f"{name} is not set: its {row['waiting']:,} wait until it is, or for: {skip}")
    if row["dead"]:
        dead = f"{count(row['dead'], 'delivery is', 'deliveries are')} dead at {name}"
        lines.append(f"{dead}: bridge deliveries --group --destination {name}")
    return lines


def _print_steps(lines: list[str]) -> None:
    for line in lines:
        screen.print(escape(line))


def show_destination(name: Name, json_: Json = False) -> None:
    """What one destination declares, its settings (secrets masked), what waits for it, and why
    deliveries to it were skipped or are dead."""
    settings = load_from_environment()
    one = named(settings, name)
    with database(settings) as connection:
        found = owed.destinations(connection).get(one.name, {})
        reasons = owed.delivery_reasons(connection, one.name)
    own = [each for each in shown(settings) if each.name.startswith(one.variable(""))]
    row = _row(one, found)
    if json_:
        as_json(
            {
                **row,
                "declares": declared(one),
                "settings": {each.name: each.value for each in own},
                "reasons": reasons,
            }
        )
        return
    table(f"{one.name}: {one.TITLE}", ("", ""), list(declared(one).items()))
    table("Settings", ("name", "value", "from"), [tuple(each) for each in own])
    empty = "Nothing was skipped, and nothing is dead."
    columns: dict[str, Callable[[Mapping[str, Any]], object]] = {
        "state": lambda row: row["state"],
        "deliveries": lambda row: row["deliveries"],
        "reason": lambda row: row["reason"],
    }
    listing(reasons, False, "Why", columns, empty)
    oldest = f", the oldest since {show(row['oldest_waiting'])} UTC" if row["waiting"] else ""
    screen.print(f"{one.name}: {row['state']}, {row['waiting']:,} waiting{oldest}.")
    _print_steps(_steps(row))


def declared(one: Destination) -> dict[str, str]:
    """What a destination says of itself, in words."""
    return {
        "kind": one.KIND,
        "purpose": one.purpose,
        "consent": "none" if one.purpose == "own" else f"for {one.purpose}",
        "needs": one.NEEDS,
        "refunds": one.REFUNDS,
        "dedupes by": one.DEDUPED_BY,
        "for": _length(one.DEDUPE_WINDOW, "as long as it remembers"),
        "takes what happened within": _length(one.lateness, "any time"),
        "events a request": str(one.MAX_BATCH),
        "deletion of a person": one.ERASURE,
    }


def _length(given: timedelta | None, otherwise: str) -> str:
    return otherwise if given is None else str(given).removesuffix(", 0:00:00")


def resume(
    name: Name,
    why: Annotated[str, typer.Option(help="For the audit log.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """End a suspension now: the key was mended, or the endpoint is back. One request finds out."""
    settings = load_from_environment()
    one = named(settings, name)
    with database(settings) as connection:
        row = _row(one, owed.destinations(connection).get(one.name, {}))
        if row["suspended_until"] is None:
            screen.print(f"{one.name} is not suspended.")
            return
        until = f"{show(row['suspended_until'])} UTC"
        screen.print(escape(f"{one.name} is suspended until {until}: {show(row['reason'])}"))
        screen.print(_probe(row["waiting"]))
        confirm(yes, dry_run=False)
        health.resume(connection, one.name)
        audit.note(connection, getpass.getuser(), "resume", why, {"destination": one.name}, 1)
    screen.print("Resumed.")


def _probe(waiting: int) -> str:
    """What a resumption sends."""
    if not waiting:
        return "Nothing waits for it: the next delivery is the probe."
    if waiting == 1:
        return "The delivery that waits is sent at once. If it is refused, the suspension is back."
    return (
        f"One of {waiting:,} waiting deliveries is sent at once, as the probe: if it is taken, the"
        " others follow; if it is refused, the suspension is back."
    )
