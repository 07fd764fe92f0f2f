"""bridge reconcile: Stripe, the ledger and what every destination was told, to the minor unit."""

import gc
import getpass
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer

from app.cli.books import OWN, in_its_zone
from app.cli.gap import counting, paced
from app.cli.moments import day
from app.cli.reconcile_files import write_csv, write_xlsx
from app.cli.reconcile_text import as_plain, print_report
from app.cli.room import (
    FAILURES,
    INTERRUPTED,
    OUT_OF_REACH,
    USAGE,
    as_json,
    database_url,
    stop,
)
from app.core.reconcile.rows import Period
from app.core.reconcile.table_csv import Unreadable
from app.finance.elsewhere import KnownElsewhere
from app.finance.reconcile import Asked, Incomplete, Report
from app.finance.reconcile import reconcile as compare
from app.finance.sheets import NotAFile
from app.finance.snapshot import File, Snapshot, by_api, by_csv
from app.history.listing import Stopped
from app.local.supervise import stop_signals
from app.settings import Settings, load_from_environment
from app.store.db import make_engine
from app.stripe_api import (
    StripeApi,
    StripeMissing,
    StripeRefused,
    StripeUnavailable,
    livemode_of,
)

ACCOUNT = re.compile("acct_[A-Za-z0-9]+")
SOURCES = ("api", "csv")
STATEMENT_TIMEOUT = 600_000  # ms: a month of a large ledger is read at once


def add_to(cli: typer.Typer) -> None:
    cli.command()(reconcile)


def reconcile(
    begin: Annotated[
        date,
        typer.Option("--from", parser=day, metavar="DAY", help="First day, in BRIDGE_TIMEZONE."),
    ],
    end: Annotated[
        date, typer.Option("--to", parser=day, metavar="DAY", help="The day after the last.")
    ],
    file: Annotated[
        Path | None, typer.Argument(help="The itemized balance report, with --source csv.")
    ] = None,
    source: Annotated[
        str, typer.Option(help="api, or csv and a file; without it, api if STRIPE_API_KEY is set.")
    ] = "",
    account: Annotated[str, typer.Option(help="A connected account (acct_...), or own.")] = OWN,
    live: Annotated[
        bool | None,
        typer.Option("--live/--test", help="The mode; else that of STRIPE_API_KEY, or live."),
    ] = None,
    summary: Annotated[
        list[Path] | None,
        typer.Option(help="Stripe's balance summary, or its activity summary, as CSV."),
    ] = None,
    browser: Annotated[
        Path | None, typer.Option(help="What the browser counted, as CSV by day and channel.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="JSON alone on stdout.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write every table into this folder.")] = None,
    xlsx: Annotated[Path | None, typer.Option(help="Write a workbook.")] = None,
    allow_partial: Annotated[
        bool, typer.Option(help="Compare although the source may lack days; it proves nothing.")
    ] = False,
) -> None:
    """Prove that Stripe's balance, the ledger and what was delivered agree, or name each difference
    with its cause and the next step.

    Exit code 0 if all is matched or explained, 1 with differences, 3 if the source is incomplete
    or out of reach. Nothing is changed but for the run that is kept.
    """
    settings = load_from_environment()
    if end <= begin:
        raise stop(USAGE, "--to is the day after the last, so it is later than --from.")
    period = Period(start=begin, end=end, zone=settings.zone)
    source = _source(source, file, settings)
    live = _mode(live, source, settings)
    api = _api(settings, live)
    summaries = [_read(each) for each in summary or ()]
    asked = Asked(
        period=period,
        account=_account(account),
        livemode=live,
        who=getpass.getuser(),
        browser=_read(browser) if browser else None,
        allow_partial=allow_partial,
        api=api,
        now=datetime.now(UTC),
    )
    report = _compared(settings, asked, _read(file) if file else None, summaries)
    try:
        if csv:
            write_csv(report, csv)
        if xlsx:
            write_xlsx(report, xlsx)
    except (NotAFile, OSError) as error:
        raise stop(USAGE, f"The run is kept, its files are not all written: {error}.") from None
    if json_:
        as_json(as_plain(report))
    else:
        print_report(report)
    if not report.agrees:
        raise typer.Exit(FAILURES)


def _account(account: str) -> str:
    """Its id; nothing for the own."""
    if account != OWN and not ACCOUNT.fullmatch(account):
        raise stop(USAGE, f"--account is acct_ and letters and digits, or own: not {account!r}.")
    return "" if account == OWN else account


def _source(source: str, file: Path | None, settings: Settings) -> str:
    found = source or ("csv" if file else "api")
    if found not in SOURCES:
        raise stop(USAGE, "--source is api, or csv and a file.")
    if (found == "csv") != (file is not None):
        raise stop(USAGE, "A file and --source csv belong together.")
    if found == "api" and not settings.stripe_api_key:
        raise stop(
            USAGE,
            "Set STRIPE_API_KEY (read access will do), or give the itemized balance report:"
            " bridge reconcile --source csv FILE.",
        )
    return found


def _mode(live: bool | None, source: str, settings: Settings) -> bool:
    key = settings.stripe_api_key
    if source == "api" and key:
        if live not in (None, livemode_of(key)):
            raise stop(USAGE, "STRIPE_API_KEY is of the other mode.")
        return livemode_of(key)
    if live is None:
        return livemode_of(key) if key else True
    return live


def _api(settings: Settings, live: bool) -> StripeApi | None:
    """Who may be asked: not a key of the other mode."""
    key = settings.stripe_api_key
    return StripeApi(key, settings.stripe_api_base) if key and livemode_of(key) == live else None


def _read(path: Path) -> File:
    try:
        return File(path.name, path.read_bytes())
    except OSError as error:
        raise stop(USAGE, f"{path}: {error.strerror}") from None


def _compared(settings: Settings, asked: Asked, file: File | None, summaries: list[File]) -> Report:
    """Leaves with a sentence where it cannot be."""
    engine = make_engine(
        database_url(settings), "reconcile", pool_size=2, statement_timeout=STATEMENT_TIMEOUT
    )
    gc.disable()  # rows and entries by the hundred thousand, all kept and none in a cycle
    try:
        with engine.connect() as connection:
            in_its_zone(connection, settings)
        snapshot = _snapshot(asked, file, summaries)
        return compare(engine, settings, asked, snapshot)
    except (KnownElsewhere, Unreadable) as error:
        raise stop(USAGE, str(error)) from None
    except Incomplete as error:
        raise stop(
            OUT_OF_REACH,
            f"The source may be incomplete: {error}.",
            "Give the report with two days more on either side, or a summary with --summary."
            " --allow-partial compares what is there; such a run proves nothing.",
        ) from None
    except (StripeMissing, StripeRefused, StripeUnavailable) as error:
        raise stop(OUT_OF_REACH, str(error)) from None
    except Stopped:
        raise stop(INTERRUPTED, "Stopped; nothing was kept.") from None
    finally:
        gc.enable()
        engine.dispose()


def _snapshot(asked: Asked, file: File | None, summaries: list[File]) -> Snapshot:
    if file:
        return by_csv(file, summaries, asked.period, asked.now)
    assert asked.api is not None
    with stop_signals() as stopping, counting() as bars:
        bar = bars.add_task("balance transactions read", total=None)
        pace = paced(stopping)
        return by_api(
            asked.api,
            asked.account,
            asked.period,
            pace,
            asked.now,
            lambda number: bars.advance(bar, number),
            summaries,
        )
