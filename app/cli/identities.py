"""bridge identities: whose a Stripe object is, where that was said, and saying it by hand."""

import getpass
from typing import Annotated, Any

import typer
from rich.markup import escape
from sqlalchemy import Connection

from app.cli.room import (
    FAILURES,
    USAGE,
    as_json,
    confirm,
    database,
    knock,
    listing,
    screen,
    stop,
    table,
)
from app.core.identity import IDS, read_metadata
from app.link import Forgotten, link
from app.settings import load_from_environment
from app.store import browse, identities
from app.store.identities import Scope

Json = Annotated[bool, typer.Option("--json", help="Machine-readable, on stdout alone.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="Rows at most.")]
Account = Annotated[
    str | None, typer.Option(help="A connected account's id, where several know the object.")
]
TestMode = Annotated[
    bool | None, typer.Option("--test/--live", help="The mode, where both know the object.")
]

verbs = typer.Typer(no_args_is_help=True, help="Whose Stripe's objects are, and saying so by hand.")


def add_to(cli: typer.Typer) -> None:
    verbs.command("list")(list_identities)
    verbs.command("show")(show_identity)
    verbs.command("link")(link_by_hand)
    cli.add_typer(verbs, name="identities")


def list_identities(
    unresolved: Annotated[
        bool, typer.Option(help="Those of whom nobody is known, with what waits or left so.")
    ] = False,
    limit: Limit = 20,
    json_: Json = False,
) -> None:
    """What was said of whose Stripe's objects are, newest first. Times are UTC."""
    with database() as connection:
        found = (browse.nobodies if unresolved else browse.identity_links)(connection, limit)
    if unresolved:
        listing(
            found,
            json_,
            "Nobody is known for (UTC)",
            {
                "object": lambda row: row["object_id"],
                "mode": _mode,
                "held": lambda row: row["held"],
                "withheld": lambda row: row["withheld"],
                "under a pseudonym": lambda row: row["told"],
                "latest": lambda row: row["latest"],
            },
            "Every analytics event has found its user or device.",
        )
        return
    listing(
        found,
        json_,
        "Identities (UTC)",
        {
            "object": lambda row: row["object_id"],
            "mode": _mode,
            "ids": lambda row: _pairs(row["ids"]),
            "said by": lambda row: row["source"],
            "when": lambda row: row["stated_at"],
        },
        "No identity yet: save ids in the checkout's metadata (see the README).",
    )


def _mode(row: browse.Row) -> str:
    mode = "live" if row["livemode"] else "test"
    return f"{mode} {row['account']}".strip()


def _pairs(ids: dict[str, Any]) -> str:
    return "  ".join(f"{name}={value}" for name, value in sorted(ids.items()))


def show_identity(
    object_id: Annotated[str, typer.Argument(help="A Stripe id: cus_, sub_, in_, pi_, cs_ ...")],
    account: Account = None,
    test: TestMode = None,
    json_: Json = False,
) -> None:
    """Whose one Stripe object is: what it belongs to, what was said, what was told. UTC."""
    with database() as connection:
        scope = _scope(connection, object_id, account, test)
        found = browse.identity_of(connection, scope, object_id)
    if json_:
        as_json(found)
        return
    screen.print(f"[bold]{escape(object_id)}[/bold]  {_mode(found)}")
    if found["belongs_to"]:
        screen.print(escape(f"belongs to {', '.join(found['belongs_to'])}"))
    said = [
        [
            *(row[name] for name in ("stated_at", "object_id", "source")),
            *(_pairs(row[name]) for name in ("ids", "campaign")),
            row["consent"],
        ]
        for row in found["said"]
    ]
    if said:
        columns = ["said (UTC)", "of", "by", "ids", "campaign", "consent"]
        table("What was said of it and of what it belongs to", columns, said)
    else:
        screen.print("Nobody said whose it is.")
    told = [
        [row["occurred_at"], row["name"], row["state"], row["source"] or "-", _pairs(row["ids"])]
        for row in found["told"]
    ]
    if told:
        columns = ["occurred (UTC)", "analytics event", "state", "identity from", "ids"]
        table("Its latest analytics events", columns, told)


def _scope(connection: Connection, object_id: str, account: str | None, test: bool | None) -> Scope:
    """The one account and mode that is meant; leaves with a sentence if it is none or many."""
    scopes = [
        scope
        for scope in identities.scopes_of(connection, object_id)
        if account in (None, scope[0]) and test in (None, not scope[1])
    ]
    match scopes:
        case [one]:
            return one
        case []:
            raise stop(FAILURES, f"Nothing is known of {object_id} here.")
        case _:
            known = ", ".join(
                f"{'live' if live else 'test'} {account or '(own account)'}"
                for account, live in scopes
            )
            raise stop(USAGE, f"{object_id} is known in {known}: say --account, --test or --live.")


def link_by_hand(
    object_id: Annotated[str, typer.Argument(help="A Stripe id: cus_, sub_, in_ or pi_.")],
    ids: Annotated[
        list[str], typer.Argument(help="name=value, such as user_id=42 device_id=ab-12.")
    ],
    why: Annotated[str, typer.Option(help="For the audit log.")] = "",
    account: Account = None,
    test: TestMode = None,
    dry_run: Annotated[bool, typer.Option(help="Only say what it would be linked to.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Say whose a Stripe object is: what waits for that leaves at once, and later events use it."""
    settings = load_from_environment()
    given = _given(ids)
    with database(settings) as connection:
        scope = _scope(connection, object_id, account, test)
        screen.print(escape(f"{object_id} will be {_pairs(dict(given))}"))
        if dry_run:
            return
        confirm(yes)
        who = getpass.getuser()
        try:
            done = link(connection, settings, scope, object_id, given, who=who, why=why)
        except Forgotten as error:
            raise stop(FAILURES, str(error)) from None
    knock(settings)
    screen.print(f"Linked: {done.released:,} analytics events that waited have left.")
    if done.told:
        screen.print(f"{done.told:,} had left under a pseudonym before; those stay as they are.")


def _given(pairs: list[str]) -> dict[str, str]:
    given = dict(pair.partition("=")[::2] for pair in pairs)
    known, _, _ = read_metadata(given)
    for name in given:
        if name not in IDS:
            raise stop(USAGE, f"{name} is no id. There are: {', '.join(sorted(IDS))}.")
        if name not in known:
            raise stop(USAGE, f"{name}: expected 1 to 500 printable characters after the =.")
    return known
