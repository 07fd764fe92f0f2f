"""bridge destinations: who is told, how each is doing, and whether it would take what we send."""

import getpass
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from time import monotonic, time
from typing import Annotated, Any

import typer
from rich.markup import escape

from app.cli.room import FAILURES, USAGE, as_json, confirm, database, listing, screen, stop, table
from app.core.analytics import AnalyticsEvent, Identity, dedupe_id
from app.core.consent import Consent
from app.core.money import Money
from app.core.outcome import Delivered, Skipped
from app.core.taxonomy import EVENTS, example
from app.deliver import DEADLINE
from app.destinations.base import Destination, Payload
from app.destinations.judging import excerpt
from app.destinations.transports import open_transport
from app.settings import Settings, load_from_environment, shown
from app.store import audit, browse, health

Json = Annotated[bool, typer.Option("--json", help="Machine-readable, on stdout alone.")]
Name = Annotated[str, typer.Argument(help="The destination's name, in lower case.")]

# What a browser's checkout would have saved: every destination finds an id of its own.
VISITOR = {
    "user_id": "bridge-test-user",
    "device_id": "bridge-test-device",
    "ga_client_id": "1000000001.1700000001",
    "fbp": "fb.1.1700000000000.1000000001",
}
SAMPLES = ("payment_succeeded", "refund_created", "trial_started", "subscription_cancelled")
PROBE = "bridge_test"

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
        found = browse.destinations(connection)
    rows = [_row(one, found.get(one.name, {})) for one in settings.destinations]
    forgotten = [name for name in found if name not in {one.name for one in settings.destinations}]
    rows += [_row(None, {**found[name], "destination": name}) for name in sorted(forgotten)]
    columns: dict[str, Callable[[Mapping[str, Any]], object]] = {
        "name": lambda row: row["destination"],
        "kind": lambda row: row["kind"],
        "purpose": lambda row: row["purpose"],
        "state": lambda row: row["state"],
        "waiting": lambda row: row["waiting"],
        "oldest": lambda row: row["oldest_waiting"],
        "delivered": lambda row: row["delivered"],
        "skipped": lambda row: row["skipped"],
        "dead": lambda row: row["dead"],
        "why": lambda row: row["reason"],
    }
    empty = "No destination is set. See .env.example: BRIDGE_DEST_AMPLITUDE_API_KEY and others."
    listing(rows, json_, "Destinations (times are UTC)", columns, empty)


def _row(one: Destination | None, found: Mapping[str, Any]) -> dict[str, Any]:
    until = found.get("suspended_until")
    state = "suspended" if until else "failing" if found.get("failures") else "well"
    return {
        "destination": one.name if one else found["destination"],
        "kind": one.KIND if one else None,
        "purpose": one.purpose if one else None,
        "state": state if one else "no longer set",
        "suspended_until": until,
        "reason": found.get("reason"),
        "oldest_waiting": found.get("oldest_waiting"),
        **{name: found.get(name, 0) for name in ("waiting", "delivered", "skipped", "dead")},
    }


def show_destination(name: Name, json_: Json = False) -> None:
    """What one destination declares, its settings (secrets masked), and why deliveries to it were
    skipped or are dead."""
    settings = load_from_environment()
    one = _named(settings, name)
    with database(settings) as connection:
        found = browse.destinations(connection).get(one.name, {})
        reasons = browse.delivery_reasons(connection, one.name)
    own = [each for each in shown(settings) if each.name.startswith(one.variable(""))]
    if json_:
        as_json(
            {
                **_row(one, found),
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


def try_out(
    name: Name,
    send: Annotated[
        bool, typer.Option("--send", help=f"Also send one event, {PROBE}, without revenue.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json_: Json = False,
) -> None:
    """Render a payment, a refund and two changes as this destination would get them, and ask it to
    check them where it can. Nothing is counted there without --send."""
    settings = load_from_environment()
    one = _named(settings, name)
    results = [_sampled(settings, one, sample) for sample in SAMPLES]
    problems = one.warnings() + [line for each in results for line in each["problems"]]
    if not json_:
        for each in results:
            screen.print(f"[bold]{each['event']}[/bold]  {escape(each['told'])}")
        for line in problems:
            screen.print(escape(f"! {line}"))
    if send:
        confirm(yes)
        answer = _posted(settings, one)
        problems += [] if answer["taken"] else [f"{one.name} did not take it: {answer['answer']}"]
        results.append(answer)
        if not json_:
            screen.print(f"{PROBE} sent: {escape(answer['answer'])}")
    if json_:
        as_json({"destination": one.name, "events": results, "problems": problems})
    if problems:
        raise typer.Exit(FAILURES)


def _sampled(settings: Settings, one: Destination, name: str) -> dict[str, Any]:
    """How a sample is told, and what the vendor's own validation says of it, where there is one."""
    event = _sample(name)
    body = one.render(event, dedupe_id(one.name, event.id))
    if isinstance(body, Skipped):
        return {"event": name, "told": f"not sent: {body.reason}", "problems": []}
    problems = _validated(settings, one, Payload(dedupe_id(one.name, event.id), body))
    return {"event": name, "told": body.decode(), "problems": problems}


def _validated(settings: Settings, one: Destination, payload: Payload) -> list[str]:
    request = one.validation([payload], time())
    if request is None:
        return []
    with closing(open_transport(one, allow_local=settings.allow_local_urls)) as transport:
        response = transport.send(request, until=monotonic() + DEADLINE)
    return one.validation_problems(response)


def _posted(settings: Settings, one: Destination) -> dict[str, Any]:
    event = _event(PROBE, {}, None)
    body = one.render(event, dedupe_id(one.name, event.id))
    if isinstance(body, Skipped):
        return {"event": PROBE, "taken": False, "answer": body.reason, "problems": []}
    batch = [Payload(dedupe_id(one.name, event.id), body)]
    with closing(open_transport(one, allow_local=settings.allow_local_urls)) as transport:
        response = transport.send(one.request(batch, time()), until=monotonic() + DEADLINE)
    [outcome] = one.judge(response, batch)
    answer = excerpt(f"{response.status or ''} {response.text}".strip(), one.secrets())
    return {
        "event": PROBE,
        "taken": isinstance(outcome, Delivered),
        "answer": answer,
        "problems": [],
    }


def _sample(name: str) -> AnalyticsEvent:
    definition = EVENTS[name]
    revenue = Money(4900 * definition.sign, "usd") if definition.sign else None
    properties = example(definition)
    # As both would be told of one payment: its refund has the invoice alone.
    key = f"payment:{properties['invoice_id']}" if name == "payment_succeeded" else None
    return _event(name, properties, revenue, key)


def _event(
    name: str, properties: Mapping[str, Any], revenue: Money | None, key: str | None = None
) -> AnalyticsEvent:
    now = datetime.now(UTC)
    return AnalyticsEvent(
        key=key or f"{name}:{int(now.timestamp())}",
        account="",
        livemode=False,
        name=name,
        occurred_at=now,
        identity=Identity(ids=VISITOR, source="bridge destinations test"),
        properties=properties,
        revenue=revenue,
        consent=Consent(analytics=True, ads=True, at=now),
    )


def resume(
    name: Name,
    why: Annotated[str, typer.Option(help="For the audit log.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """End a suspension now: the key was mended, or the endpoint is back. One request finds out."""
    settings = load_from_environment()
    one = _named(settings, name)
    with database(settings) as connection:
        until = browse.destinations(connection).get(one.name, {}).get("suspended_until")
        if until is None:
            screen.print(f"{one.name} is not suspended.")
            return
        screen.print(f"{one.name} is suspended until {until:%Y-%m-%d %H:%M:%S} UTC.")
        confirm(yes)
        health.resume(connection, one.name)
        audit.note(connection, getpass.getuser(), "resume", why, {"destination": one.name}, 1)
    screen.print("One request tries it now; the rest follows if it is taken.")


def _named(settings: Settings, name: str) -> Destination:
    for one in settings.destinations:
        if one.name == name.lower():
            return one
    known = ", ".join(one.name for one in settings.destinations) or "none"
    raise stop(USAGE, f"No destination is called {name}. There are: {known}.")
