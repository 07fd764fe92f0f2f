"""bridge deliveries retry and skip: sent again now, or never."""

import getpass
from collections import Counter
from dataclasses import replace
from typing import Annotated, Any

import typer
from rich.markup import escape

from app.cli.moments import span
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
    screen,
    stop,
)
from app.cli.waits import known_destination, some
from app.history.replay import RATE, NotFound, Wanted, for_audit
from app.history.skip import Chosen, choose, skip
from app.settings import Settings, load_from_environment

To = Annotated[str | None, typer.Option(help="Its name.")]
Name = Annotated[str | None, typer.Option(help="The analytics event's name, * for any part.")]


def add_to(verbs: typer.Typer) -> None:
    verbs.command("retry")(retry)
    verbs.command("skip")(skip_deliveries)


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
    begin, end = span(since, until)
    wanted = chosen(
        ids,
        destination=destination,
        type=name,
        customer=customer,
        since=begin,
        until=end,
        error=error,
        waiting=waiting,
        limit=limit,
        allow_duplicates=allow_duplicates,
    )
    once_more(wanted, rate=rate, dry_run=dry_run, wait=wait, why=why, yes=yes, json_=json_)


def chosen(ids: list[str] | None, *, waiting: bool, limit: int, **asked: Any) -> Wanted:
    """Deliveries by ids, or by filters: dead ones, or with `waiting` pending ones. Leaves with 2
    where it is neither, or both."""
    given = {name: value for name, value in asked.items() if value not in (None, False)}
    allowed = bool(given.pop("allow_duplicates", False))
    if ids and (given or waiting):
        raise stop(USAGE, "Name ids, or say which by filters: not both.")
    if not (ids or given or waiting):
        raise stop(USAGE, "Say which: ids, or filters such as --destination or --since.")
    return Wanted(
        ids=ids or (),
        dead=not ids and not waiting,
        waiting=waiting,
        limit=limit,
        allow_duplicates=allowed,
        **given,
    )


def skip_deliveries(
    why: Annotated[str, typer.Option(help="Kept with each, and in the audit log.")],
    ids: Annotated[list[str] | None, typer.Argument(help="Of deliveries, dead or pending.")] = None,
    destination: To = None,
    name: Name = None,
    customer: Customer = None,
    since: Since = None,
    until: Until = None,
    error: Error = None,
    waiting: Annotated[
        bool, typer.Option("--waiting", help="Not dead ones, but those that wait.")
    ] = False,
    limit: Most = LIMIT,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be skipped.")
    ] = False,
    yes: Yes = False,
    json_: Json = False,
) -> None:
    """Never send these: what is dead is closed, what waits is given up. It cannot be undone.

    By ids, or by filters.
    """
    if not why.strip():
        raise stop(USAGE, "Say --why: who reads the numbers will ask.")
    if json_ and not (dry_run or yes):
        raise stop(USAGE, "With --json, say --yes or --dry-run.")
    begin, end = span(since, until)
    wanted = chosen(
        ids,
        destination=destination,
        type=name,
        customer=customer,
        since=begin,
        until=end,
        error=error,
        waiting=waiting,
        limit=limit,
    )
    settings = load_from_environment()
    found = _found(settings, wanted)
    if not json_:
        _say(found, wanted)
    if dry_run or not found.deliveries:
        if json_:
            as_json({"dry_run": dry_run, "deliveries": len(found.deliveries), "more": found.more})
        return
    confirm(yes)
    asked = {"ids": found.ids} if wanted.ids else for_audit(wanted)
    with database(settings) as connection:
        done = skip(connection, found.ids, who=getpass.getuser(), why=why, asked=asked)
    if json_:
        as_json({"dry_run": False, "skipped": done.skipped, "in_hand": done.in_hand})
    else:
        screen.print(f"{done.skipped:,} skipped.")
    if done.in_hand:
        complain(f"{done.in_hand:,} were in a worker's hands, and may arrive all the same.")


def _found(settings: Settings, wanted: Wanted) -> Chosen:
    with database(settings) as connection:
        name = known_destination(connection, settings, wanted.destination)
        try:
            return choose(connection, replace(wanted, destination=name))
        except NotFound as error:
            raise stop(FAILURES, f"Nothing was done: {some(error.wrong, '')}.") from None


def _say(found: Chosen, wanted: Wanted) -> None:
    if not found.deliveries:
        screen.print("Nothing matches. See: bridge deliveries list")
        return
    screen.print(f"{count(len(found.deliveries), 'delivery', 'deliveries')} never to be sent:")
    counted = Counter((one.destination, one.state) for one in found.deliveries)
    for (destination, state), number in sorted(counted.items()):
        screen.print(escape(f"  {number:,} {state} to {destination}"))
    if found.more:
        complain(f"There are more: these are the oldest {wanted.limit:,} (--limit).")
