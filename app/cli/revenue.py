"""bridge revenue: the ledger in sums and as a file, and what it does not count yet."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy import Connection

from app.cli import month_close
from app.cli.room import (
    FAILURES,
    USAGE,
    as_json,
    aside,
    complain,
    database,
    database_url,
    listing,
    screen,
    stop,
    table,
)
from app.core.money import Money
from app.finance.export import Format, file_name
from app.finance.export import export as write
from app.finance.sheets import NotAFile
from app.settings import Settings, load_from_environment
from app.store import exports, ledger
from app.store.db import make_engine
from app.store.exports import Dates, Part, Wanted

DAY = ["%Y-%m-%d"]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable, on stdout alone.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="Rows at most.")]
From = Annotated[
    datetime, typer.Option("--from", formats=DAY, help="First day, in BRIDGE_TIMEZONE.")
]
To = Annotated[datetime, typer.Option("--to", formats=DAY, help="The day after the last.")]
As = Annotated[
    Dates,
    typer.Option("--as", help="closed: by posting date, as reported; restated: by effective date."),
]

verbs = typer.Typer(no_args_is_help=True, help="The ledger, and what it does not count yet.")


def add_to(cli: typer.Typer) -> None:
    verbs.command("summary")(summary)
    verbs.command("export")(export)
    verbs.command("unattributed")(unattributed)
    month_close.add_to(verbs)
    cli.add_typer(verbs, name="revenue")


def summary(
    first: From,
    last: To,
    by: Annotated[Part | None, typer.Option(help="A line for each of these, too.")] = None,
    as_: As = "closed",
    json_: Json = False,
) -> None:
    """The ledger's sums by account, mode and currency, which are never added up.

    Net is payments, refunds and disputes together, tax included; fees are not in it.
    """
    settings = load_from_environment()
    wanted = Wanted(**_days(first, last), dates=as_)
    with _reading(settings) as connection:
        found = exports.summary(connection, wanted, by)
    if json_:
        head = {"from": wanted.first, "to": wanted.last, "timezone": settings.timezone, "as": as_}
        as_json({**head, "minor_units": True, "sums": found})
        return
    days = f"{wanted.first} until {wanted.last} (not included), {settings.timezone}"
    words = {"closed": "as closed (posting date)", "restated": "restated (effective date)"}
    if not found:
        screen.print(f"No revenue entries {days}, {words[as_]}.")
        return
    columns = ["account", "mode", *([by] if by else []), "payments", "refunds", "disputes"]
    rows = [_sums(row) for row in found]
    table(f"Revenue {days}, {words[as_]}", [*columns, "net", "tax in it", "entries", "late"], rows)


def _sums(row: dict[str, Any]) -> list[object]:
    amounts = (row[name] for name in ("payments", "refunds", "disputes", "net", "tax"))
    return [
        row["account"] or "own",
        "live" if row["livemode"] else "test",
        *([str(row["part"])] if "part" in row else []),
        *(str(Money(minor, row["currency"])) for minor in amounts),
        row["entries"],
        row["late"],
    ]


def export(
    first: From,
    last: To,
    form: Annotated[
        Format, typer.Option("--format", help="journal: debits and credits, as CSV.")
    ] = "csv",
    out: Annotated[
        Path | None, typer.Option(help="The file; else one named by what is in it, here.")
    ] = None,
    as_: As = "closed",
    account: Annotated[str, typer.Option(help="A connected account (acct_...), or own.")] = "own",
    test: Annotated[bool, typer.Option("--test", help="Test mode, not live.")] = False,
) -> None:
    """Write every revenue entry of one account and mode to a file, with what it was settled as.

    The same entries make the same bytes. A file of that name is replaced once the new one is whole.
    """
    settings = load_from_environment()
    whose = "" if account == "own" else account
    wanted = Wanted(**_days(first, last), dates=as_, account=whose, livemode=not test)
    file = out or Path(file_name(wanted, form, settings.timezone))
    try:
        with (
            _reading(settings) as connection,
            _bar(exports.count(connection, wanted)) as bars,
        ):
            [bar] = bars.task_ids
            entries = write(connection, wanted, form, file, lambda more: bars.advance(bar, more))
    except (NotAFile, OSError) as error:
        raise stop(USAGE, f"{file} cannot be written: {error}.") from None
    complain(f"{entries:,} revenue entries to {file}")


def _days(first: datetime, last: datetime) -> dict[str, Any]:
    if first >= last:
        raise stop(USAGE, "--from must be before --to, which is the day after the last.")
    return {"first": first.date(), "last": last.date()}


@contextmanager
def _reading(settings: Settings) -> Iterator[Connection]:
    """Without a limit of a statement's time: the whole ledger may be read."""
    engine = make_engine(database_url(settings), "cli", statement_timeout=0, pool_size=1)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _bar(rows: int) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bars = Progress(
        *columns,
        TimeRemainingColumn(),
        console=aside,
        disable=not aside.is_terminal,
        transient=True,
    )
    bars.add_task("revenue entries", total=rows)
    return bars


def unattributed(
    older_than: Annotated[
        int, typer.Option(min=0, help="Known to us for so many seconds at least.")
    ] = 0,
    limit: Limit = 20,
    json_: Json = False,
) -> None:
    """Captured payments that are no revenue yet: nobody speaks for them, or they are a part of an
    invoice that is still open. Times are UTC. Exit code 1 if there are any, for a timer's alarm.
    """
    with database() as connection:
        found = ledger.unattributed_payments(connection, limit, older_than=older_than)
        sums = ledger.unattributed(connection)
    if json_:
        as_json(found)
    else:
        listing(
            found,
            json_,
            "Payments that are no revenue yet (UTC)",
            {
                "captured": lambda row: row["occurred_at"],
                "payment": lambda row: row["payment"],
                "part of": lambda row: row["invoice"],
                "customer": lambda row: row["customer"],
                "mode": lambda row: "live" if row["livemode"] else "test",
                "amount": lambda row: str(Money(row["minor"], row["currency"])),
            },
            "Every captured payment is revenue.",
        )
        for row in sums if found else ():
            mode = "live" if row["livemode"] else "test"
            amount = Money(row["minor"], row["currency"])
            screen.print(f"In all, {mode} mode: {row['payments']:,} of {amount}")
        if found:
            screen.print(ADVICE)
    if found:
        raise typer.Exit(FAILURES)


ADVICE = (
    "Enable invoice_payment.paid and checkout.session.completed on the endpoint, or set"
    " STRIPE_API_KEY: then Stripe is asked. BRIDGE_STANDALONE_PAYMENTS=book is for accounts that"
    " have no invoices at all."
)
