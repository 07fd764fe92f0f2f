"""bridge gap: what Stripe sent and never arrived."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress, TextColumn, TimeElapsedColumn

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
    stop,
    table,
)
from app.history.gap import Mended, Run, mend, recorded
from app.history.listing import Pace, Stopped
from app.local.supervise import stop_signals
from app.settings import Settings, load_from_environment
from app.store.db import make_engine
from app.store.gaps import GAP_LOCK, alone
from app.stripe_api import StripeApi, livemode_of

TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


def add_to(cli: typer.Typer) -> None:
    cli.command()(gap)


def gap(
    since: Annotated[
        datetime | None,
        typer.Option(formats=TIMES, help="From when (BRIDGE_TIMEZONE); else from where it was."),
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
    begin = since.replace(tzinfo=settings.zone) if since else None
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
                pace=Pace(stopping.wait, stopping.is_set),
                dry_run=dry_run,
                told=lambda number: bars.advance(bar, number),
            )
            mended = mend(run, begin) if dry_run else recorded(run, begin)
    except Stopped:
        raise stop(INTERRUPTED, "Stopped. What was found until now is kept.") from None
    finally:
        engine.dispose()
    if mended.missing and not dry_run:
        knock(settings)
    if json_:
        as_json(_plain(mended, dry_run))
    else:
        _print(mended, settings, dry_run)
    _leave(mended, dry_run)


def key_of(settings: Settings) -> str:
    """Leaves with 2 where there is none."""
    if not settings.stripe_api_key:
        raise stop(USAGE, "Set STRIPE_API_KEY: Stripe is to be asked. Read access will do.")
    return settings.stripe_api_key


def counting() -> Progress:
    """A bar that counts what has no known end; on a terminal only."""
    return Progress(
        TextColumn("{task.completed:>9,.0f} {task.description}"),
        TimeElapsedColumn(),
        console=aside,
        disable=not aside.is_terminal,
        transient=True,
    )


def _plain(mended: Mended, dry_run: bool) -> dict[str, Any]:
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
        "not_listed_any_more": mended.unlisted,
        "failures": mended.failures,
    }


def _print(mended: Mended, settings: Settings, dry_run: bool) -> None:
    window = f"{_time(mended.since)} to {_time(mended.until)} UTC"
    if mended.missing:
        rows = [(name, one.count, one.oldest) for name, one in sorted(mended.missing.items())]
        table(f"Missing webhook events, {window}", ["type", "missing", "oldest (UTC)"], rows)
        kept = "would be kept" if dry_run else "kept now, and on their way"
        screen.print(f"{mended.absent:,} were missing: {kept}. {mended.known:,} were known.")
    else:
        screen.print(f"Nothing is missing, {window}: {mended.known:,} webhook events are known.")
    for account, cursor in mended.unlisted.items():
        day, today = (one.astimezone(settings.zone) for one in (cursor, mended.since))
        complain(
            f"{_whose(account)}: last compared {day:%Y-%m-%d}, and Stripe lists 30 days. For the"
            f" time before: bridge backfill --from {day:%Y-%m-%d} --to {today:%Y-%m-%d}"
        )
    if mended.unreadable:
        complain(f"{mended.unreadable:,} were no webhook events and are left out: see the log.")


def _leave(mended: Mended, dry_run: bool) -> None:
    for account, reason in mended.failures.items():
        complain(f"{_whose(account)} was not compared: {reason}")
    if mended.out_of_reach:
        raise typer.Exit(OUT_OF_REACH)
    if mended.failures or (dry_run and mended.missing):
        raise typer.Exit(FAILURES)


def _whose(account: str) -> str:
    return escape(account) or "The own account"


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"
