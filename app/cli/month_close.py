"""bridge revenue close, reopen and periods: the months of finance."""

import getpass
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.markup import escape

from app.cli.room import (
    FAILURES,
    USAGE,
    as_json,
    complain,
    confirm,
    database,
    screen,
    stop,
    table,
)
from app.core.money import Money
from app.finance.close import Changed, Month, Preview, Refused, preview
from app.finance.close import close as shut
from app.finance.close import reopen as open_again
from app.settings import load_from_environment
from app.store import periods
from app.store.identities import Scope

MONTH = ["%Y-%m"]
Which = Annotated[datetime, typer.Argument(formats=MONTH, help="2026-10: October 2026.")]
Account = Annotated[str, typer.Option(help="A connected account (acct_...), or own.")]
Test = Annotated[bool, typer.Option("--test", help="Test mode, not live.")]
DryRun = Annotated[bool, typer.Option(help="Only say what would be done.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def add_to(verbs: typer.Typer) -> None:
    verbs.command("close")(close)
    verbs.command("reopen")(reopen)
    verbs.command("periods")(months)


def close(
    month: Which,
    account: Account = "own",
    test: Test = False,
    accept_breaks: Annotated[
        bool, typer.Option(help="Although no reconciliation proves it; needs --why.")
    ] = False,
    why: Annotated[str, typer.Option(help="For the audit log.")] = "",
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Close a month that has ended: what comes late is posted to the next open one.

    Needs a clean `bridge reconcile` of exactly that month, and every earlier month closed.
    """
    settings = load_from_environment()
    scope, which = _scope(account, test), Month(month.date(), settings.zone)
    if accept_breaks and not why.strip():
        raise stop(USAGE, "--accept-breaks needs --why.")
    try:
        with database(settings) as connection:
            found = preview(connection, scope, which)
        _show(found)
        if dry_run:
            raise typer.Exit(FAILURES if found.breaks else 0)
        if found.breaks and not accept_breaks:
            raise stop(FAILURES, "Not closed. To close all the same: --accept-breaks, and --why.")
        confirm(yes)
        with database(settings) as connection:
            _, version = shut(
                connection,
                scope,
                which,
                who=getpass.getuser(),
                why=why.strip(),
                accept_breaks=accept_breaks,
                shown=found.totals,
            )
    except (Refused, Changed) as error:
        raise stop(FAILURES, str(error), "Nothing was changed.") from None
    screen.print(f"{which} is closed, version {version}. What comes late is posted from")
    screen.print(f"{which.end} on, or to the next month that is open.")


def reopen(
    month: Which,
    why: Annotated[str, typer.Option(help="For the audit log; needed.")],
    account: Account = "own",
    test: Test = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Open a closed month again. What was posted to later months meanwhile stays there."""
    settings = load_from_environment()
    scope, which = _scope(account, test), Month(month.date(), settings.zone)
    if not why.strip():
        raise stop(USAGE, "--why must say something.")
    with database(settings) as connection:
        known = {one.start: one for one in periods.of(connection, scope) if one.closed}
    if which.start not in known:
        raise stop(FAILURES, f"{which} is not closed. Nothing was changed.")
    old = known[which.start]
    screen.print(f"{which}, {_whose(scope)}: closed on {old.closed_at:%Y-%m-%d} by {old.closed_by}")
    if dry_run:
        return
    confirm(yes)
    try:
        with database(settings) as connection:
            who = getpass.getuser()
            period = open_again(connection, scope, which, who=who, why=why.strip())
    except Refused as error:
        raise stop(FAILURES, str(error), "Nothing was changed.") from None
    screen.print(f"{which} is open again, version {period.version}.")


def months(
    json_: Annotated[
        bool, typer.Option("--json", help="Machine-readable, on stdout alone.")
    ] = False,
) -> None:
    """Every month that has revenue entries or was closed: open or closed, by whom and why."""
    with database() as connection:
        known = periods.every(connection)
        posted = periods.posted_months(connection)
    rows = sorted(_months(known, posted), key=lambda row: (row["account"], row["start"]))
    if json_:
        as_json(rows)
    elif not rows:
        screen.print("There are no revenue entries yet.")
    else:
        names = ["account", "mode", "month", "status", "version", "entries", "closed (UTC)"]
        cells = [[row[name] for name in (*SHOWN, "why")] for row in rows]
        table("Months, by posting date", [*names, "by", "time zone", "why"], cells)


SHOWN = (
    *("account", "mode", "month", "status", "version", "entries", "closed_at", "closed_by"),
    "timezone",
)


def _months(known: list[periods.Period], posted: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    entries = {(row["account"], row["livemode"], row["start"]): row["entries"] for row in posted}
    closed = {(one.account, one.livemode, one.start): asdict(one) for one in known}
    nothing: dict[str, Any] = dict.fromkeys(periods.Period.__slots__)
    for key in entries.keys() | closed.keys():
        account, livemode, start = key
        yield {
            **nothing,
            **closed.get(key, {"status": "open", "livemode": livemode, "start": start}),
            "account": account or "own",
            "mode": "live" if livemode else "test",
            "month": f"{start:%Y-%m}",
            "entries": entries.get(key, 0),
        }


def _scope(account: str, test: bool) -> Scope:
    return "" if account == "own" else account, not test


def _whose(scope: Scope) -> str:
    account, livemode = scope
    return f"account {escape(account) or 'own'}, {'live' if livemode else 'test'} mode"


def _show(found: Preview) -> None:
    zone = found.month.zone.key
    screen.print(f"{found.month}, {_whose(found.scope)}, days of {zone}")
    columns = ["currency", "kind", "as closed", "entries", "late", "restated", "entries"]
    rows = list(_totals(found))
    if rows:
        table("Totals", columns, rows)
    else:
        screen.print("No revenue entries.")
    for row in found.unattributed:
        amount = Money(row["minor"], row["currency"])
        complain(f"Not in it: {row['payments']:,} unattributed payments of {amount}")
    for verdict, count in found.unfinished.items():
        complain(f"Not in it: {count:,} {verdict} webhook events of until then")
    if found.run:
        run = found.run
        screen.print(f"Reconciliation {run.id} of {run.at:%Y-%m-%d %H:%M} UTC: {run.verdict}")
    complain(*found.breaks)


def _totals(found: Preview) -> Iterator[list[object]]:
    """By currency: a line for each kind, and their sum."""
    closed, restated = (
        {(row["currency"], row["kind"]): row for row in found.totals[name]}
        for name in ("as_closed", "restated")
    )
    nothing = _sum(())
    for currency in sorted({currency for currency, _ in closed.keys() | restated.keys()}):
        kinds = sorted(kind for of, kind in closed.keys() | restated.keys() if of == currency)
        lines: list[tuple[str, dict[str, int], dict[str, int]]] = [
            (kind, closed.get((currency, kind), nothing), restated.get((currency, kind), nothing))
            for kind in kinds
        ]
        net_ours, net_theirs = (_sum(one for _, one, _ in lines), _sum(one for _, _, one in lines))
        for kind, ours, theirs in [*lines, ("net", net_ours, net_theirs)]:
            amounts = [str(Money(one["minor"], currency)) for one in (ours, theirs)]
            yield [
                *(currency.upper(), kind, amounts[0], ours["entries"], ours["late"]),
                *(amounts[1], theirs["entries"]),
            ]


def _sum(found: Iterable[dict[str, int]]) -> dict[str, int]:
    rows = list(found)
    return {name: sum(row[name] for row in rows) for name in ("minor", "entries", "late")}
