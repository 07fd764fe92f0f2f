"""bridge revenue close and reopen: the months of finance."""

import getpass
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.markup import escape

from app.cli.books import in_its_zone, scope_of, whose
from app.cli.room import (
    FAILURES,
    USAGE,
    complain,
    confirm,
    database,
    screen,
    stop,
    table,
)
from app.core.money import Money
from app.finance.close import Changed, Closed, Preview, Refused, preview
from app.finance.close import close as shut
from app.finance.close import reopen as open_again
from app.finance.month import Month
from app.settings import Settings, load_from_environment
from app.store import periods
from app.store.identities import Scope
from app.store.periods import Totals
from app.stripe_api import livemode_of

MONTH = ["%Y-%m"]
Which = Annotated[datetime, typer.Argument(formats=MONTH, help="2026-10: October 2026.")]
Account = Annotated[str, typer.Option(help="A connected account (acct_...), or own.")]
Test = Annotated[bool, typer.Option("--test", help="Test mode, not live.")]
DryRun = Annotated[bool, typer.Option(help="Only say what would be done.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def add_to(verbs: typer.Typer) -> None:
    verbs.command("close")(close)
    verbs.command("reopen")(reopen)


def close(
    month: Which,
    account: Account = "own",
    test: Test = False,
    first: Annotated[
        bool,
        typer.Option("--first", help="The books begin with it: all before is locked. Needs --why."),
    ] = False,
    accept_breaks: Annotated[
        bool, typer.Option(help="Although something speaks against it; needs --why.")
    ] = False,
    why: Annotated[str, typer.Option(help="For the audit log.")] = "",
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Close a month that has ended: what comes late is posted to the next open one.

    Needs a clean `bridge reconcile` of exactly that month, every earlier month closed, and nothing
    that waits or is unattributed.
    """
    settings = load_from_environment()
    scope, which = scope_of(account, test=test), Month(month.date(), settings.zone)
    for option, given in (("--accept-breaks", accept_breaks), ("--first", first)):
        if given and not why.strip():
            raise stop(USAGE, f"{option} needs --why.")
    asked = {"first": first, "by_api": _by_api(settings, scope)}
    try:
        with database(settings) as connection:
            in_its_zone(connection, settings)
            found = preview(connection, scope, which, **asked)
        _show(found, accept_breaks=accept_breaks)
        if dry_run:
            raise typer.Exit(FAILURES if found.breaks else 0)
        if found.breaks and not accept_breaks:
            raise stop(FAILURES, "Not closed. To close all the same: --accept-breaks, and --why.")
        confirm(yes)
        with database(settings) as connection:
            told = {"who": getpass.getuser(), "why": why.strip(), "accept_breaks": accept_breaks}
            done = shut(connection, scope, which, **told, **asked, shown=found)  # type: ignore[arg-type]
    except (Refused, Changed) as error:
        raise stop(FAILURES, str(error), "Nothing was changed.") from None
    _say(done)


def _by_api(settings: Settings, scope: Scope) -> bool:
    """Whether a reconciliation can ask Stripe: a key of that mode is set."""
    key = settings.stripe_api_key
    return key is not None and livemode_of(key) == scope[1]


def _say(done: Closed) -> None:
    screen.print(f"{done.preview.month} is closed, version {done.version}.")
    before = "" if done.preview.before is None else ", or for a month before it,"
    screen.print(
        f"What comes late for it{before} is posted to {done.next_open}, while that is open."
    )


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
    scope, which = scope_of(account, test=test), Month(month.date(), settings.zone)
    if not why.strip():
        raise stop(USAGE, "--why must say something.")
    with database(settings) as connection:
        known = {one.start: one for one in periods.of(connection, scope) if one.closed}
    if which.start not in known:
        raise stop(FAILURES, f"{which} is not closed. Nothing was changed.")
    old = known[which.start]
    closed = f"closed on {old.closed_at:%Y-%m-%d} by {old.closed_by}"
    screen.print(escape(f"{which}, {whose(scope)}: {closed}"))
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


def _show(found: Preview, *, accept_breaks: bool) -> None:
    zone = found.month.zone.key
    screen.print(escape(f"{found.month}, {whose(found.scope)}, days of {zone}"))
    _print_totals("Totals", found.totals, "No revenue entries.")
    if found.before is not None:
        title = f"Before {found.month}: locked as it is"
        _print_totals(title, found.before, f"Nothing before {found.month}.")
    complain(*found.warnings)
    if found.run:
        run = found.run
        screen.print(f"Reconciliation {run.id} of {run.at:%Y-%m-%d %H:%M} UTC: {run.verdict}")
    accepted = [row for one in found.breaks for row in one.accepted]
    if accepted:
        title = "Accepted differences" if accept_breaks else "Differences that nothing explains"
        names = ["class", "reason", "count", "Stripe", "ledger", "difference", "reconciliation"]
        table(title, names, [_difference(row) for row in accepted])
    word = "Accepted: " if accept_breaks else ""
    complain(*(f"{word}{one.said}" for one in found.breaks))


def _difference(row: Mapping[str, Any]) -> list[object]:
    amounts = (row[name] for name in ("stripe", "ledger", "difference"))
    return [
        *(row["class"], row["reason"], row["count"]),
        *(str(Money(minor, row["currency"])) for minor in amounts),
        str(row["run"]),
    ]


def _print_totals(title: str, totals: Totals, nothing: str) -> None:
    rows = list(_totals(totals))
    if rows:
        columns = ["currency", "kind", "as closed", "entries", "late", "restated", "entries"]
        table(title, columns, rows)
    else:
        screen.print(nothing)


def _totals(totals: Totals) -> Iterator[Sequence[object]]:
    """By currency: a line for each kind, and their sum."""
    closed, restated = (
        {(row["currency"], row["kind"]): row for row in totals[name]}
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
