"""bridge backfill: history that no webhook brought, and destinations that came later."""

import getpass
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, get_args

import typer
from rich.markup import escape
from sqlalchemy import Engine

from app.cli.demo import progress
from app.cli.gap import counting, key_of, paced
from app.cli.room import (
    FAILURES,
    INTERRUPTED,
    OUT_OF_REACH,
    RUNNING_ALREADY,
    USAGE,
    as_json,
    complain,
    confirm,
    database_url,
    knock,
    screen,
    stop,
    table,
)
from app.destinations.base import Destination
from app.history import backfill as filling
from app.history import catch_up as catching
from app.history.backfill import PARTS, Backfill, Filled, Part
from app.history.catch_up import RATE, CaughtUp, catch_up
from app.history.listing import Stopped
from app.local.supervise import stop_signals
from app.settings import Settings, load_from_environment
from app.store import analytics_events
from app.store.analytics_events import Unowed
from app.store.db import make_engine
from app.store.gaps import BACKFILL_LOCK, accounts, alone
from app.stripe_api import StripeApi, livemode_of

DAYS = ["%Y-%m-%d"]
OWN = "own"


def add_to(cli: typer.Typer) -> None:
    cli.command()(backfill)


def backfill(
    from_: Annotated[
        datetime, typer.Option("--from", formats=DAYS, help="First day (BRIDGE_TIMEZONE).")
    ],
    to: Annotated[datetime, typer.Option("--to", formats=DAYS, help="The day after the last.")],
    only: Annotated[
        str, typer.Option(help=f"Some of: {', '.join(PARTS)}; separated by commas.")
    ] = "",
    destination: Annotated[
        str, typer.Option(help="Owe this destination what was told before it was added.")
    ] = "",
    account: Annotated[
        str | None, typer.Option(help="One connected account (acct_...), or own. Else all.")
    ] = None,
    rate: Annotated[
        int, typer.Option(min=1, max=10_000, help="With --destination: deliveries a second.")
    ] = RATE,
    why: Annotated[str, typer.Option(help="For the audit log.")] = "",
    dry_run: Annotated[bool, typer.Option(help="Only say what would be done.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="Machine-readable, on stdout alone.")
    ] = False,
) -> None:
    """Book and tell history from Stripe's objects, of before the 30 days of `bridge gap`.

    Reads the objects created in these days (needs STRIPE_API_KEY). The same facts have the same
    keys, so nothing is counted twice. With --destination, only owes that one what was told
    already; Stripe is not asked. Interrupted, it goes on where it was.
    """
    settings = load_from_environment()
    since, until = (day.replace(tzinfo=settings.zone) for day in (from_, to))
    if since >= until:
        raise stop(USAGE, "--from must be before --to, which is the day after the last.")
    if destination and only:
        raise stop(USAGE, "--only is of Stripe's objects, --destination of what was told.")
    if account not in (None, OWN) and not re.fullmatch(r"acct_\w+", account or "", re.ASCII):
        raise stop(USAGE, "--account is acct_..., or own.")
    whose = "" if account == OWN else account
    engine = make_engine(database_url(settings), "cli", pool_size=2)
    try:
        with alone(engine, BACKFILL_LOCK) as ours:
            if not ours:
                raise stop(RUNNING_ALREADY, "A backfill is under way already.")
            if destination:
                of = Unowed(destination=destination, since=since, until=until, account=whose)
                _catch_up(engine, settings, of, rate, why, dry_run, yes, json_)
            else:
                asked = {"since": since, "until": until, "parts": _parts(only), "account": whose}
                _backfill(engine, settings, asked, why, dry_run, yes, json_)
    except Stopped:
        kept = "Nothing was kept: a dry run." if dry_run else "The same command goes on from here."
        raise stop(INTERRUPTED, f"Stopped. {kept}") from None
    finally:
        engine.dispose()


def _parts(only: str) -> tuple[Part, ...]:
    named = {part.strip() for part in only.split(",") if part.strip()}
    if unknown := named - set(PARTS):
        raise stop(
            USAGE, f"No such part: {', '.join(sorted(unknown))}. There are: {', '.join(PARTS)}."
        )
    return tuple(part for part in get_args(Part) if part in named or not named)


def _backfill(
    engine: Engine,
    settings: Settings,
    asked: Mapping[str, Any],
    why: str,
    dry_run: bool,
    yes: bool,
    json_: bool,
) -> None:
    api_key = key_of(settings)
    if not dry_run:
        to = ", ".join(one.name for one in settings.destinations) or "nobody"
        complain(
            f"What Stripe's {', '.join(asked['parts'])} say is booked, and told to: {to}"
            " (as far as each takes what is old)."
        )
        if asked["account"] and not _is_known(engine, api_key, asked["account"]):
            complain(
                f"Nothing of {asked['account']} has come yet: it is taken for a connected account."
                " If it is your own, say --account own, or it is booked a second time."
            )
        confirm(yes)
    with stop_signals() as stopping, counting() as bars:
        bar = bars.add_task("objects of Stripe's read", total=None)
        wanted = Backfill(
            engine=engine,
            api=StripeApi(api_key, settings.stripe_api_base),
            livemode=livemode_of(api_key),
            pace=paced(stopping),
            dry_run=dry_run,
            told=lambda name, read: bars.update(bar, advance=read, description=name),
            **asked,
        )
        filled = filling.backfill(wanted)
    if not dry_run:
        filling.note(wanted, filled, getpass.getuser(), why)
        knock(settings)
    if json_:
        as_json(_filled(filled, dry_run))
    else:
        _print_filled(filled, dry_run)
    for whose, reason in filled.failures.items():
        complain(f"{whose or 'The own account'} is not done: {reason}")
    for whose in filled.strangers:
        complain(
            f"Nothing was found of {whose}: Stripe lists no objects of it for this key, and no"
            " webhook event of it was ever kept. Is it the right id, and a key of the right mode?"
        )
    if filled.failures:
        complain("Once that is mended, the same command goes on from here.")
        raise typer.Exit(OUT_OF_REACH if filled.out_of_reach else FAILURES)
    if filled.unreadable or filled.strangers:
        raise typer.Exit(FAILURES)


def _is_known(engine: Engine, api_key: str, account: str) -> bool:
    with engine.connect() as connection:
        return account in accounts(connection, livemode_of(api_key))


def _filled(filled: Filled, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "read": dict(filled.read),
        "kept": dict(filled.kept),
        "known": dict(filled.known),
        "unreadable": dict(filled.unreadable),
        "failures": filled.failures,
        "nothing_found_of": filled.strangers,
    }


def _print_filled(filled: Filled, dry_run: bool) -> None:
    types = sorted(filled.kept.keys() | filled.known.keys())
    rows = [(name, filled.kept[name], filled.known[name]) for name in types]
    if rows:
        columns = ["as", "new" if dry_run else "kept", "known before"]
        table("From Stripe's objects", columns, rows)
    read = sum(filled.read.values())
    screen.print(f"{read:,} objects read, {filled.kept.total():,} webhook events made of them.")
    for name, number in filled.unreadable.items():
        complain(f"{number:,} of {name} could not be read and are left out: see the log.")


def _catch_up(
    engine: Engine,
    settings: Settings,
    of: Unowed,
    rate: int,
    why: str,
    dry_run: bool,
    yes: bool,
    json_: bool,
) -> None:
    to = _destination(settings, of.destination)
    with engine.begin() as connection:
        total = analytics_events.count_unowed(connection, of)
    if not dry_run:
        complain(f"{total:,} analytics events were told and are not owed to {to.name}.")
        confirm(yes)
    with stop_signals() as stopping, progress() as bars:
        bar = bars.add_task(f"to {to.name}", total=total)
        result = catch_up(
            engine,
            settings,
            to,
            of,
            rate=rate,
            dry_run=dry_run,
            stopping=stopping.is_set,
            told=lambda number: bars.advance(bar, number),
        )
    if not dry_run:
        with engine.begin() as connection:
            catching.note(connection, of, result, getpass.getuser(), why)
        knock(settings)
    _print_caught_up(result, rate, dry_run, json_)


def _destination(settings: Settings, name: str) -> Destination:
    for one in settings.destinations:
        if one.name == name:
            return one
    names = ", ".join(one.name for one in settings.destinations) or "none"
    raise stop(USAGE, f"No destination {name} is set. There are: {names}.")


def _print_caught_up(result: CaughtUp, rate: int, dry_run: bool, json_: bool) -> None:
    if json_:
        as_json(
            {
                "dry_run": dry_run,
                "owed": result.owed,
                "skipped": dict(result.skipped),
                "left_out_by_its_settings": result.not_for_it,
            }
        )
        return
    word = "would be sent" if dry_run else f"are owed, {rate:,} a second"
    screen.print(f"{result.owed:,} {word}.")
    for reason, number in sorted(result.skipped.items()):
        screen.print(escape(f"{number:,} are not sent: {reason}"))
    if result.not_for_it:
        screen.print(f"{result.not_for_it:,} are left out by its settings (events, livemode).")
