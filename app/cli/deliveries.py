"""bridge deliveries: what each destination is owed, what failed and why; sent again, or not."""

from collections.abc import Callable, Set
from datetime import UTC, datetime
from typing import Annotated, Literal

import typer
from rich.markup import escape

from app.cli import undelivered
from app.cli.moments import span
from app.cli.replay import Customer, Error, Json, Since, Until
from app.cli.room import (
    FAILURES,
    as_json,
    database,
    listing,
    screen,
    show,
    stop,
)
from app.cli.undelivered import Name, To
from app.cli.waits import known_destination, pause_of, suspended
from app.settings import load_from_environment
from app.store import health, owed
from app.store.owed import Row
from app.store.sought import Deliveries

State = Literal["pending", "delivered", "skipped", "dead"]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="Rows at most.")]

ATTEMPT: dict[str, Callable[[Row], object]] = {
    "started": lambda row: row["started_at"],
    "outcome": lambda row: row["outcome"],
    "status": lambda row: row["status"],
    "ms": lambda row: row["latency_ms"],
    "answer": lambda row: row["answer"],
}

verbs = typer.Typer()


def add_to(cli: typer.Typer) -> None:
    verbs.callback(invoke_without_command=True)(list_deliveries)
    verbs.command("list")(list_deliveries)
    verbs.command("show")(show_delivery)
    undelivered.add_to(verbs)
    cli.add_typer(verbs, name="deliveries")


def list_deliveries(
    context: typer.Context,
    state: Annotated[State | None, typer.Option(help="How far they got.")] = None,
    destination: To = None,
    name: Name = None,
    customer: Customer = None,
    since: Since = None,
    until: Until = None,
    error: Error = None,
    group: Annotated[
        bool, typer.Option("--group", help="What failed, by destination and error.")
    ] = False,
    limit: Limit = 20,
    json_: Json = False,
) -> None:
    """The newest deliveries with their last answers, or what failed by its error. Times are UTC.

    --since and --until are of when they ended, or while pending of when they were owed. --group
    counts dead deliveries, those that failed and wait for their next try, and those that wait
    behind a destination that fails.
    """
    if context.invoked_subcommand:
        return
    begin, end = span(since, until)
    settings = load_from_environment()
    with database(settings) as connection:
        wanted = Deliveries(
            states=(state,) if state else ("dead", "pending") if group else None,
            destination=known_destination(connection, settings, destination),
            name=name,
            customer=customer,
            since=begin,
            until=end,
            error=error,
        )
        found = (owed.failures if group else owed.deliveries)(connection, wanted, limit)
        pauses = {one.destination: one for one in health.pauses(connection)}
    if group:
        _print_groups(found, json_)
    else:
        _print_deliveries(found, json_, wanted == Deliveries())
    if not json_:
        named = {row["destination"] for row in found} & pauses.keys()
        for line in sorted(suspended(pauses[one]) for one in named):
            screen.print(escape(line))


def _print_deliveries(found: list[Row], json_: bool, every: bool) -> None:
    listing(
        found,
        json_,
        "Deliveries (UTC)",
        {
            "id": lambda row: str(row["id"]),
            "destination": lambda row: row["destination"],
            "event": lambda row: row["name"],
            "state": lambda row: row["state"],
            "status": lambda row: row["status"],
            "ended or due": lambda row: row["finished_at"] or row["next_try"] or row["due_at"],
            "reason": _reason,
        },
        "No delivery yet. Is a destination set? See `bridge config`."
        if every
        else "No delivery matches.",
    )


def _reason(row: Row) -> str:
    """Why it ended so, or what it waits for."""
    if row["state"] != "pending":
        return row["reason"] or ""
    return f"suspended: {row['suspended_for']}" if row["suspended_until"] else row["answer"] or ""


def _print_groups(found: list[Row], json_: bool) -> None:
    listing(
        found,
        json_,
        "What failed (UTC)",
        {
            "destination": lambda row: row["destination"],
            "state": lambda row: row["state"],
            "status": lambda row: row["status"],
            "deliveries": lambda row: row["deliveries"],
            "first": lambda row: row["first"],
            "last": lambda row: row["last"],
            "one of them": lambda row: str(row["example"]),
            "error": lambda row: row["error"],
        },
        "Nothing failed that matches.",
    )


def show_delivery(
    delivery_id: int,
    payload: Annotated[
        bool, typer.Option("--payload", help="Also the frozen bytes, which hold a person's ids.")
    ] = False,
    json_: Json = False,
) -> None:
    """One delivery: where it comes from, every attempt, and what comes next. Times are UTC."""
    settings = load_from_environment()
    with database(settings) as connection:
        found = owed.delivery(connection, delivery_id)
        attempts = owed.attempts_of(connection, delivery_id)
        frozen = owed.payload(connection, delivery_id) if payload else None
    if found is None:
        raise stop(FAILURES, f"No delivery {delivery_id}. `bridge deliveries` lists them.")
    step = _next_step(found, {one.name for one in settings.destinations})
    body = None if frozen is None else frozen.decode(errors="replace")
    if json_:
        more = {"payload": body} if payload else {}
        as_json({**found, "next": step, "attempts": [dict(one) for one in attempts], **more})
        return
    screen.print(
        f"[bold]{found['id']}[/bold] {escape(found['name'])} to {escape(found['destination'])}"
    )
    for name, cell in _told_of(found).items():
        screen.print(escape(f"  {name:12} {show(cell)}"))
    listing(attempts, False, "Attempts (UTC)", ATTEMPT, "No attempt yet.")
    if payload:
        screen.print(
            escape("Nothing was ever to be sent, or it was erased." if body is None else body)
        )
    screen.print(escape(f"Next: {step}"))


def _told_of(found: Row) -> dict[str, object]:
    """By name, what a person wants to know of a delivery beside its attempts."""
    reason = f": {found['reason']}" if found["reason"] else ""
    return {
        "state": found["state"] + reason,
        "owed": found["created_at"],
        "ended": found["finished_at"],
        "fact": found["key"],
        "customer": found["customer"],
        "told by": found["webhook_event"],
        "dedupe id": found["dedupe_id"],
    }


def _next_step(found: Row, set_: Set[str]) -> str:
    """Who acts next on a delivery, when, and by which command."""
    number, give_up = found["id"], f"bridge deliveries skip {found['id']} --why ..."
    if found["state"] in ("delivered", "skipped"):
        return "nothing"
    if found["state"] == "dead":
        again = f"mend what the reason names, then: bridge replay {number} (the same bytes)"
        return f"{again}; or close it: {give_up}"
    if found["destination"] not in set_:
        return f"it waits until {found['destination']} is set again; or give it up: {give_up}"
    if found["leased"]:
        return f"a worker has it; due again at {show(found['due_at'])} UTC if that one dies"
    if pause := pause_of(found):
        own = f"tried again at {show(found['next_try'])} UTC. "
        return (own if found["next_try"] > pause.until else "") + suspended(pause)
    if found["next_try"] and found["next_try"] <= datetime.now(UTC):
        return f"due since {show(found['next_try'])} UTC, at once if a worker is running"
    again = f"tried again at {show(found['next_try'])} UTC"
    return f"{again}; at once by: bridge deliveries retry {number}"
