"""bridge revenue: the ledger in sums and as a file, and what it does not count yet."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy import Connection

from app.cli import correct, month_close, unattributed
from app.cli import periods as periods_verb
from app.cli.books import OWN, any_open, as_lines, as_rows, in_its_zone, scope_of, whose
from app.cli.room import (
    FAILURES,
    USAGE,
    as_json,
    aside,
    complain,
    count,
    database_url,
    screen,
    stop,
    table,
)
from app.core.money import Money
from app.finance.export import Format, file_name
from app.finance.export import export as write
from app.finance.month import Stretch, stretches
from app.finance.sheets import NotAFile
from app.settings import Settings, load_from_environment
from app.store import exports, periods
from app.store.db import make_engine
from app.store.exports import Dates, Part, Wanted
from app.store.identities import Scope

DAY = ["%Y-%m-%d"]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable, on stdout alone.")]
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
    unattributed.add_to(verbs)
    correct.add_to(verbs)
    month_close.add_to(verbs)
    periods_verb.add_to(verbs)
    cli.add_typer(verbs, name="revenue")


def summary(
    first: From,
    last: To,
    by: Annotated[Part | None, typer.Option(help="A line for each of these, too.")] = None,
    as_: As = "closed",
    json_: Json = False,
) -> None:
    """The ledger's sums by account, mode and currency, which are never added up.

    Net is payments, refunds, disputes and corrections together, tax included; fees are not in it.
    """
    settings = load_from_environment()
    wanted = Wanted(**_days(first, last), dates=as_)
    with _reading(settings) as connection:
        found = exports.summary(connection, wanted, by)
        those = sorted({(row["account"], row["livemode"]) for row in found}, key=_live_first)
        months = {scope: _stretches(connection, scope, wanted) for scope in those}
    if json_:
        head = {"from": wanted.first, "to": wanted.last, "timezone": settings.timezone, "as": as_}
        sums = [{**row, "account": row["account"] or OWN} for row in found]
        as_json({**head, "minor_units": True, "months": as_rows(months), "sums": sums})
        return
    days = f"{wanted.first} until {wanted.last} (not included), {settings.timezone}"
    words = {"closed": "by posting date", "restated": "restated (by effective date)"}
    if not found:
        screen.print(f"No revenue entries {days}, {words[as_]}.")
        return
    columns = [
        "account",
        "mode",
        *([by] if by else []),
        *PARTS,
        "net",
        "tax in it",
        "entries",
        "late",
    ]
    table(f"Revenue {days}, {words[as_]}", columns, [_sums(row) for row in found])
    for line in as_lines(months):
        screen.print(escape(line))


def _live_first(scope: Scope) -> tuple[str, bool]:
    account, livemode = scope
    return account, not livemode


def _stretches(connection: Connection, scope: Scope, wanted: Wanted) -> list[Stretch]:
    """Which of the months that are asked for are closed."""
    return stretches(periods.of(connection, scope), wanted.first, wanted.last)


PARTS = ("payments", "refunds", "disputes", "corrections")


def _sums(row: dict[str, Any]) -> list[object]:
    amounts = (row[name] for name in (*PARTS, "net", "tax"))
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
    scope = scope_of(account, test=test)
    wanted = Wanted(**_days(first, last), dates=as_, account=scope[0], livemode=scope[1])
    if out == Path("-"):
        raise stop(USAGE, "--out is a file, which is replaced once it is whole: not - (stdout).")
    with _reading(settings) as connection:
        _is_known(connection, scope)
        months = _stretches(connection, scope, wanted)
        file = out or Path(file_name(wanted, form, settings.timezone, draft=any_open(months)))
        try:
            with _bar(exports.count(connection, wanted)) as bars:
                [bar] = bars.task_ids
                told = partial(bars.advance, bar)
                entries = write(connection, wanted, form, file, told)
        except (NotAFile, OSError) as error:
            raise stop(USAGE, f"{file} cannot be written: {error}.") from None
    complain(f"{count(entries, 'revenue entry', 'revenue entries')} to {file}")
    complain(*as_lines({scope: months}))


def _is_known(connection: Connection, scope: Scope) -> None:
    """Leaves with a sentence where it is not."""
    account, livemode = scope
    if exports.known(connection, account, livemode=livemode):
        return
    said = f"Nothing is known of {whose(scope)}: no revenue entry, no webhook event."
    if exports.known(connection, account, livemode=not livemode):
        raise stop(FAILURES, f"{said} It is known in the other mode: see --test.")
    raise stop(FAILURES, f"{said} bridge revenue periods lists what is.")


def _days(first: datetime, last: datetime) -> dict[str, Any]:
    if first >= last:
        raise stop(USAGE, "--from must be before --to, which is the day after the last.")
    return {"first": first.date(), "last": last.date()}


@contextmanager
def _reading(settings: Settings) -> Iterator[Connection]:
    """Without a limit of a statement's time: the whole ledger may be read, in its own days."""
    engine = make_engine(database_url(settings), "cli", statement_timeout=0, pool_size=1)
    try:
        with engine.connect() as connection:
            in_its_zone(connection, settings)
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
