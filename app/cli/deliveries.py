"""bridge deliveries: what each destination is owed, what failed and why; sent again, or not."""

import getpass
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from app.cli.moments import moment
from app.cli.replay import (
    LIMIT,
    AllowDuplicates,
    Customer,
    Error,
    Json,
    Most,
    Rate,
    Since,
    Until,
    Wait,
    Why,
    Yes,
    once_more,
)
from app.cli.room import (
    FAILURES,
    USAGE,
    as_json,
    complain,
    confirm,
    count,
    database,
    listing,
    screen,
    show,
    stop,
    table,
)
from app.history.replay import RATE, NotFound, Wanted, skip, skippable
from app.store import browse
from app.store.browse import Row
from app.store.sought import Deliveries

State = Literal["pending", "delivered", "skipped", "dead"]
To = Annotated[str | None, typer.Option(help="Its name.")]
Name = Annotated[str | None, typer.Option(help="The analytics event's name, * for any part.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="Rows at most.")]

verbs = typer.Typer()


def add_to(cli: typer.Typer) -> None:
    verbs.callback(invoke_without_command=True)(list_deliveries)
    verbs.command("list")(list_deliveries)
    verbs.command("show")(show_delivery)
    verbs.command("retry")(retry)
    verbs.command("skip")(skip_deliveries)
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
    counts dead deliveries and those that failed and wait for their next try.
    """
    if context.invoked_subcommand:
        return
    wanted = Deliveries(
        states=(state,) if state else ("dead", "pending") if group else None,
        destination=destination,
        name=name,
        customer=customer,
        since=moment(since),
        until=moment(until),
        error=error,
    )
    with database() as connection:
        found = (browse.failures if group else browse.deliveries)(connection, wanted, limit)
    if group:
        _print_groups(found, json_)
        return
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
            "finished or due": lambda row: row["finished_at"] or row["due_at"],
            "reason": lambda row: (
                row["reason"] or (row["state"] == "pending" and row["answer"]) or ""
            ),
        },
        "No delivery yet. Is a destination set? See `bridge config`."
        if wanted == Deliveries()
        else "No delivery matches.",
    )


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


def show_delivery(delivery_id: int, json_: Json = False) -> None:
    """One delivery with every attempt, and when it is tried next. Times are UTC."""
    with database() as connection:
        found = browse.delivery(connection, delivery_id)
        attempts = browse.attempts_of(connection, delivery_id)
    if found is None:
        raise stop(FAILURES, f"No delivery {delivery_id}. `bridge deliveries` lists them.")
    if json_:
        as_json({**found, "attempts": [dict(one) for one in attempts]})
        return
    screen.print(
        f"[bold]{found['id']}[/bold] {escape(found['name'])} to {escape(found['destination'])}"
    )
    screen.print(
        escape(f"{found['state']}  {found['reason'] or ''}  dedupe id {found['dedupe_id']}")
    )
    if found["due_at"]:
        doing = "at a worker, until" if found["leased"] else "next try"
        screen.print(f"{doing} {show(found['due_at'])}")
    columns = ("started_at", "outcome", "status", "latency_ms", "answer")
    rows = [[one[column] for column in columns] for one in attempts]
    table("Attempts (UTC)", ["started", "outcome", "status", "ms", "answer"], rows)


def retry(
    ids: Annotated[list[str] | None, typer.Argument(help="Of deliveries.")] = None,
    destination: To = None,
    name: Name = None,
    customer: Customer = None,
    since: Since = None,
    until: Until = None,
    error: Error = None,
    waiting: Annotated[
        bool, typer.Option("--waiting", help="Not dead ones, but those that wait for a next try.")
    ] = False,
    limit: Most = LIMIT,
    rate: Rate = RATE,
    wait: Wait = False,
    why: Why = "",
    allow_duplicates: AllowDuplicates = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be sent.")
    ] = False,
    yes: Yes = False,
    json_: Json = False,
) -> None:
    """Send dead deliveries again, the same bytes under the same dedupe id, and waiting ones now.

    By ids, or by filters. What is past its destination's dedupe window is left out.
    """
    if ids and not all(one.isdecimal() for one in ids):
        raise stop(USAGE, "Deliveries have numbers for ids. Of webhook events: `bridge replay`.")
    filters: dict[str, Any] = {
        "destination": destination,
        "type": name,
        "customer": customer,
        "since": moment(since),
        "until": moment(until),
        "error": error,
    }
    asked = {key: value for key, value in filters.items() if value is not None}
    if ids and (asked or waiting):
        raise stop(USAGE, "Name ids, or say which by filters: not both.")
    if not (ids or asked or waiting):
        raise stop(USAGE, "Say which: ids, or filters such as --destination or --since.")
    wanted = Wanted(
        ids=ids or (),
        dead=not ids and not waiting,
        waiting=bool(waiting),
        limit=limit,
        allow_duplicates=allow_duplicates,
        **asked,
    )
    once_more(wanted, rate=rate, dry_run=dry_run, wait=wait, why=why, yes=yes, json_=json_)


def skip_deliveries(
    ids: Annotated[list[str], typer.Argument(help="Of deliveries, dead or pending.")],
    why: Annotated[str, typer.Option(help="Kept with each, and in the audit log.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be skipped.")
    ] = False,
    yes: Yes = False,
    json_: Json = False,
) -> None:
    """Never send these: what is dead is closed, what waits is given up. It cannot be undone."""
    if not why.strip():
        raise stop(USAGE, "Say --why: who reads the numbers will ask.")
    if json_ and not (dry_run or yes):
        raise stop(USAGE, "With --json, say --yes or --dry-run.")
    with database() as connection:
        try:
            numbers = sorted(set(skippable(connection, ids)))
        except NotFound as error:
            raise stop(FAILURES, f"{error} is no delivery that is dead or pending.") from None
    if not json_:
        screen.print(f"{count(len(numbers), 'delivery', 'deliveries')} never to be sent.")
    if dry_run:
        if json_:
            as_json({"dry_run": True, "deliveries": len(numbers)})
        return
    confirm(yes)
    with database() as connection:
        done = skip(connection, numbers, who=getpass.getuser(), why=why)
    if json_:
        as_json({"dry_run": False, "skipped": done.skipped, "in_hand": done.in_hand})
    else:
        screen.print(f"{done.skipped:,} skipped.")
    if done.in_hand:
        complain(f"{done.in_hand:,} were in a worker's hands, and may arrive all the same.")
