"""bridge gap: what Stripe sent and never arrived."""

import threading
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from app.cli import moments
from app.cli.room import (
    FAILURES,
    INTERRUPTED,
    OUT_OF_REACH,
    RUNNING_ALREADY,
    USAGE,
    as_json,
    aside,
    complain,
    database_url,
    knock,
    screen,
    show,
    stop,
    table,
)
from app.core.uncovered import backfill_command, in_words, uncovered
from app.history.gap import UNDER_WAY, Mended, Run, mend, recorded
from app.history.listing import Pace, Stopped
from app.local.supervise import stop_signals
from app.settings import Settings, load_from_environment
from app.store.db import make_engine
from app.store.gaps import GAP_LOCK, alone
from app.stripe_api import StripeApi, StripeUnavailable, livemode_of


def add_to(cli: typer.Typer) -> None:
    cli.command()(gap)


def gap(
    since: Annotated[
        str | None, typer.Option(help=f"From when; else from where it was. {moments.HELP}.")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Only say what is missing.")] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="Machine-readable, on stdout alone.")
    ] = False,
) -> None:
    """Compare Stripe's event list (30 days) with what is kept, and keep what never arrived.

    Needs STRIPE_API_KEY. The leading worker does the same every BRIDGE_GAP_INTERVAL seconds. Exit
    code 1 if an account could not be compared, or --dry-run found something missing.
    """
    settings = load_from_environment()
    api_key = key_of(settings)
    begin = _begin(since)
    engine = make_engine(database_url(settings), "cli", pool_size=2)
    try:
        with alone(engine, GAP_LOCK) as ours, stop_signals() as stopping, counting() as bars:
            if not ours:
                raise stop(RUNNING_ALREADY, "A comparison is under way already.")
            bar = bars.add_task("webhook events compared", total=None)
            run = Run(
                engine=engine,
                api=StripeApi(api_key, settings.stripe_api_base),
                livemode=livemode_of(api_key),
                pace=paced(stopping),
                dry_run=dry_run,
                told=lambda number: bars.advance(bar, number),
            )
            mended = mend(run, begin) if dry_run else recorded(run, begin)
    except Stopped:
        kept = "Nothing was kept: a dry run." if dry_run else "What was found until now is kept."
        raise stop(INTERRUPTED, f"Stopped. {kept}") from None
    finally:
        engine.dispose()
    if mended.missing and not dry_run:
        knock(settings)
    if json_:
        as_json(_plain(mended, settings, dry_run))
    else:
        _print(mended, settings, dry_run)
    if begin and begin < mended.since:
        complain(_listed_no_more(begin, mended, settings))
    _leave(mended, dry_run)


def _begin(since: str | None) -> datetime | None:
    """Leaves with 2 where nothing could be compared from then on."""
    begin = moments.moment(since)
    if begin and begin > datetime.now(UTC) - UNDER_WAY:
        minutes = round(UNDER_WAY.total_seconds() / 60)
        raise stop(
            USAGE,
            f"--since {since} is less than {minutes} minutes ago: webhook events of that time may"
            " still be on their way, and are left to a later run.",
        )
    return begin


def _listed_no_more(begin: datetime, mended: Mended, settings: Settings) -> str:
    """Of a time that was asked for and that Stripe's list has no more."""
    before = uncovered("", False, begin, mended.since)
    return (
        f"Stripe lists events of 30 days: compared from {_time(mended.since)} UTC on, not from"
        f" {_time(begin)}. For the time before: {backfill_command([before], settings.zone)}"
    )


def key_of(settings: Settings) -> str:
    """Leaves with 2 where there is none."""
    if not settings.stripe_api_key:
        raise stop(USAGE, "Set STRIPE_API_KEY: Stripe is to be asked. Read access will do.")
    return settings.stripe_api_key


def paced(stopping: threading.Event) -> Pace:
    """Waits for Stripe until it answers or we are to stop, and says so."""
    return Pace(stopping.wait, stopping.is_set, _say_wait)


def _say_wait(_path: str, seconds: float, error: StripeUnavailable) -> None:
    complain(f"{str(error).rstrip('.')}: again in {seconds:.0f} s; Ctrl-C stops.")


def counting() -> Progress:
    """A bar that counts what has no known end; on a terminal only."""
    return Progress(
        TextColumn("{task.completed:>9,.0f} {task.description}"),
        TimeElapsedColumn(),
        console=aside,
        disable=not aside.is_terminal,
        transient=True,
    )


def _plain(mended: Mended, settings: Settings, dry_run: bool) -> dict[str, Any]:
    return {
        "since": mended.since,
        "until": mended.until,
        "dry_run": dry_run,
        "missing": {
            name: {"count": one.count, "oldest": one.oldest}
            for name, one in sorted(mended.missing.items())
        },
        "known": mended.known,
        "unreadable": mended.unreadable,
        "not_listed_any_more": [
            {
                "account": one.account,
                "livemode": one.livemode,
                "compared_until": one.compared,
                "listed_from": one.until,
                "next": backfill_command([one], settings.zone),
            }
            for one in mended.uncovered
        ],
        "compared": mended.compared,
        "failures": mended.failures,
    }


def _print(mended: Mended, settings: Settings, dry_run: bool) -> None:
    window = f"{_time(mended.since)} to {_time(mended.until)} UTC"
    if mended.missing:
        rows = [(name, one.count, one.oldest) for name, one in sorted(mended.missing.items())]
        table(f"Missing webhook events, {window}", ["type", "missing", "oldest (UTC)"], rows)
        kept = "would be kept" if dry_run else "kept now, and on their way"
        screen.print(f"{mended.absent:,} were missing: {kept}. {mended.known:,} were known.")
    elif mended.compared:
        whole = len(mended.compared) + len(mended.failures)
        of = f" of {len(mended.compared)} of {whole} accounts" if mended.failures else ""
        screen.print(
            f"Nothing is missing{of}, {window}: {mended.known:,} webhook events are known."
        )
    else:
        screen.print("Nothing was compared.")
    for account, reason in mended.failures.items():
        screen.print(f"{_whose(account)} was not compared: {escape(reason)}")
    for what, command in in_words(mended.uncovered, settings.zone):
        complain(show(f"{what}: Stripe lists 30 days. Next: {command}"))
    if mended.unreadable:
        complain(f"{mended.unreadable:,} were no webhook events and are left out: see the log.")


def _leave(mended: Mended, dry_run: bool) -> None:
    if mended.out_of_reach:
        raise typer.Exit(OUT_OF_REACH)
    if mended.failures or (dry_run and mended.missing):
        raise typer.Exit(FAILURES)


def _whose(account: str) -> str:
    return escape(show(account)) if account else "The own account"


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"
