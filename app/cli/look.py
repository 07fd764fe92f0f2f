"""bridge events, config, doctor: what there is, and what is wrong."""

from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from app.cli import ignore
from app.cli.moments import span
from app.cli.replay import Customer, Json, Since, Until
from app.cli.room import (
    FAILURES,
    as_json,
    database,
    listing,
    running,
    screen,
    show,
    stop,
    table,
)
from app.core.envelope import NotAnEvent, parse
from app.core.money import Money
from app.core.reading.readers import read
from app.core.reading.shapes import Missing
from app.doctor.examine import examine
from app.doctor.finding import Finding
from app.settings import load_from_environment, shown
from app.store import browse, owed
from app.store.browse import Row
from app.store.sought import WebhookEvents
from app.store.webhook_events import MANUAL

Verdict = Literal["waiting", "held", "processed", "ignored", "quarantined"]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="Rows at most.")]

events = typer.Typer()


def add_to(cli: typer.Typer) -> None:
    events.callback(invoke_without_command=True)(list_events)
    ignore.add_to(events)
    cli.add_typer(events, name="events")
    cli.command()(config)
    cli.command()(doctor)


def list_events(
    context: typer.Context,
    type_: Annotated[
        str | None, typer.Option("--type", help="Stripe type, * for any part.")
    ] = None,
    verdict: Annotated[
        Verdict | None, typer.Option(help="What became of them.", show_choices=True)
    ] = None,
    customer: Customer = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
    json_: Json = False,
) -> None:
    """The newest webhook events with their verdicts, or (`show`) the way of one. Times are UTC.

    --since and --until are of their receipt. --customer finds those that told, booked or stated
    something of the customer's.
    """
    if context.invoked_subcommand:
        return
    begin, end = span(since, until)
    wanted = WebhookEvents(
        type=type_,
        verdicts=(verdict,) if verdict else None,
        customer=customer,
        since=begin,
        until=end,
    )
    with database() as connection:
        found = browse.webhook_events(connection, wanted, limit)
    listing(
        found,
        json_,
        "Webhook events (UTC)",
        {
            "received": lambda row: row["received_at"],
            "type": lambda row: row["type"],
            "id": lambda row: row["event_id"],
            "verdict": lambda row: row["verdict"],
            "reason": lambda row: row["reason"],
        },
        "No webhook event matches."
        if wanted != WebhookEvents()
        else "No webhook event yet. Try `bridge trigger invoice.paid`.",
    )


@events.command("show")
def show_event(
    event_id: str,
    payload: Annotated[bool, typer.Option(help="Print the kept body as well.")] = False,
    json_: Json = False,
) -> None:
    """One webhook event, hop by hop: received, understood, booked, told, delivered. UTC."""
    with database() as connection:
        kept = browse.way_of(connection, event_id)
        if not kept:
            raise stop(
                FAILURES, f"No webhook event {event_id} was kept. `bridge events` lists them."
            )
        ways = [_way(connection, row) for row in kept]
        bodies = [browse.raw(connection, row["id"]) for row in kept] if payload or json_ else []
    if json_:
        as_json([{**way, "payload": parse(raw)} for way, raw in zip(ways, bodies, strict=True)])
        return
    for way in ways:
        _print_way(way)
    for body in bodies:
        screen.print(escape(body.decode(errors="replace")))


def _way(connection: Any, row: Row) -> dict[str, Any]:
    keys = _keys(browse.raw(connection, row["id"]), by_hand=row["origin"] == MANUAL)
    told = browse.told_of(connection, row, keys)
    sent = owed.deliveries_of(connection, [one["id"] for one in told])
    return {
        "webhook_event": dict(row),
        "understood": keys,
        "revenue_entries": [dict(one) for one in browse.entries_of(connection, row, keys)],
        "analytics_events": [
            {**one, "deliveries": [dict(d) for d in sent if d["analytics_event_id"] == one["id"]]}
            for one in told
        ],
    }


def _keys(raw: bytes, *, by_hand: bool) -> list[str]:
    """The facts that this webhook event announces by itself, as today's code reads it."""
    try:
        return [fact.key for fact in read(parse(raw), by_hand=by_hand).facts]
    except (Missing, NotAnEvent):
        return []


def _print_way(way: dict[str, Any]) -> None:
    event = way["webhook_event"]
    mode = "live" if event["livemode"] else "test"
    screen.print(f"[bold]{escape(event['event_id'])}[/bold]  {escape(event['type'])}")
    _hop(event["received_at"], "received", f"{event['origin']}, {event['bytes']:,} bytes, {mode}")
    if event["api_version"]:
        screen.print(f"{'':21}API version {escape(event['api_version'])}")
    _hop(
        event["decided_at"],
        event["verdict"],
        event["reason"] or ", ".join(way["understood"]) or "nothing by itself",
    )
    if event["verdict"] == "quarantined":
        _hop(None, "next", ignore.next_step(event["event_id"]))
    for entry in way["revenue_entries"]:
        money = Money(entry["minor"], entry["currency"])
        _hop(entry["recorded_at"], "booked", f"{entry['key']}  {money}")
    for told in way["analytics_events"]:
        _print_told(told, event["event_id"])


def _print_told(told: dict[str, Any], event_id: str) -> None:
    identity = told["identity"] or {}
    whose = identity.get("source") or "nobody yet"
    first = "" if told["told_by"] in (None, event_id) else f", told by {told['told_by']}"
    if told["state"] == "held":
        state = f"held until {show(told['held_until'])}"
    else:
        state = told["reason"] or f"identity from {whose}"
    _hop(told["released_at"], told["state"], f"{told['name']}  ({state}{first})")
    for one in told["deliveries"]:
        detail = one["reason"] or one["status"] or one["answer"] or "not sent yet"
        took = f", {one['latency_ms']} ms" if one["latency_ms"] is not None else ""
        later = f", {_when(one)}" if one["state"] == "pending" else ""
        _hop(one["finished_at"], one["state"], f"{one['destination']}: {detail}{took}{later}", 2)


def _when(pending: dict[str, Any]) -> str:
    if pending["leased"]:
        return "at a worker"
    until = show(pending["next_try"])
    return f"suspended until {until}" if pending["suspended_until"] else f"next try {until}"


def _hop(at: Any, word: str, detail: str, indent: int = 0) -> None:
    screen.print(escape(f"{show(at):20} {' ' * indent}{word:12} {show(detail)}"))


def config(json_: Json = False) -> None:
    """Every setting as it is now, and where it comes from. Secrets are never shown."""
    rows = shown(load_from_environment())
    if json_:
        as_json([dict(zip(("name", "value", "origin"), row, strict=True)) for row in rows])
        return
    table("Settings", ["name", "value", "from"], rows)


def doctor(json_: Json = False) -> None:
    """Check what goes wrong on a first day, and say what to do about each."""
    settings = load_from_environment()
    stack = running(settings)
    findings = examine(
        settings,
        settings.database_url or (stack.database_url if stack else None),
        settings.redis_url or (stack.redis_url if stack else None),
    )
    if json_:
        as_json([{"check": f.check, "state": f.state, "advice": f.advice} for f in findings])
    else:
        for finding in findings:
            _print_finding(finding)
    if any(finding.state == "wrong" for finding in findings):
        raise typer.Exit(FAILURES)


def _print_finding(finding: Finding) -> None:
    color = {"fine": "green", "doubtful": "yellow", "wrong": "red"}[finding.state]
    screen.print(f"[{color}]{finding.state:9}[/{color}] {escape(show(finding.check))}")
    for line in finding.advice.splitlines():
        screen.print(escape(f"{'':10}{show(line)}"))
