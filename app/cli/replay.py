"""bridge replay: webhook events processed, or dead deliveries sent, once more."""

import getpass
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import typer
from sqlalchemy import Engine

from app.cli.demo import progress as bar_of
from app.cli.differences import as_plain, print_differences
from app.cli.moments import HELP, span
from app.cli.room import (
    FAILURES,
    USAGE,
    as_json,
    complain,
    confirm,
    count,
    database_url,
    knock,
    screen,
    stop,
)
from app.cli.waits import known_destination, some, stay, suspended
from app.history.rehearse import rehearse
from app.history.replay import (
    RATE,
    NotFound,
    Plan,
    Progress,
    Unclear,
    Wanted,
    for_audit,
    plan,
)
from app.history.replay import replay as again
from app.settings import Settings, load_from_environment
from app.store import health
from app.store.db import make_engine
from app.store.health import Pause

LIMIT = 10_000

Status = Literal["quarantined", "processed", "ignored", "dead"]
Since = Annotated[str | None, typer.Option(help=f"Not before: {HELP}.")]
Until = Annotated[str | None, typer.Option(help="Before, in the same forms.")]
Customer = Annotated[str | None, typer.Option(help="What is a customer's (cus_...).")]
Error = Annotated[str | None, typer.Option(help="Whose reason or last answer has this in it.")]
Rate = Annotated[int, typer.Option(min=1, max=10_000, help="So many a second.")]
Why = Annotated[str, typer.Option(help="For the audit log.")]
Wait = Annotated[bool, typer.Option("--wait", help="Stay until all of it has ended.")]
AllowDuplicates = Annotated[
    bool, typer.Option("--allow-duplicates", help="Also what may count twice: past its window.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable, on stdout alone.")]
Most = Annotated[int, typer.Option(min=1, max=1_000_000, help="At most, the oldest first.")]


def add_to(cli: typer.Typer) -> None:
    cli.command()(replay)


def replay(
    ids: Annotated[
        list[str] | None, typer.Argument(help="Webhook event ids (evt_...) or delivery ids.")
    ] = None,
    type_: Annotated[
        str | None,
        typer.Option("--type", help="Stripe's type; of deliveries the event's name; * any part."),
    ] = None,
    status: Annotated[Status | None, typer.Option(help="What became of them.")] = None,
    destination: Annotated[str | None, typer.Option(help="Dead deliveries to it.")] = None,
    customer: Customer = None,
    since: Since = None,
    until: Until = None,
    error: Error = None,
    quarantined: Annotated[
        bool, typer.Option("--quarantined", help="Quarantined webhook events.")
    ] = False,
    dead: Annotated[bool, typer.Option("--dead", help="Dead deliveries.")] = False,
    limit: Most = LIMIT,
    rate: Rate = RATE,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would change.")
    ] = False,
    wait: Wait = False,
    why: Why = "",
    allow_duplicates: AllowDuplicates = False,
    yes: Yes = False,
    json_: Json = False,
) -> None:
    """Process kept webhook events, or send dead deliveries, once more: by ids, or by filters.

    The same facts make the same keys and the same dedupe ids: nothing is booked or told twice.
    --dry-run shows what today's code derives against what is stored. Exit code 1 if --wait saw
    failures.
    """
    begin, end = span(since, until)
    wanted = Wanted(
        ids=ids or (),
        type=type_,
        status=status,
        destination=destination,
        customer=customer,
        since=begin,
        until=end,
        error=error,
        quarantined=quarantined,
        dead=dead,
        limit=limit,
        allow_duplicates=allow_duplicates,
    )
    once_more(wanted, rate=rate, dry_run=dry_run, wait=wait, why=why, yes=yes, json_=json_)


def once_more(
    wanted: Wanted, *, rate: int, dry_run: bool, wait: bool, why: str, yes: bool, json_: bool
) -> None:
    """Find it, say how much it is, ask, and put it to work."""
    if json_ and not (dry_run or yes):
        raise stop(USAGE, "With --json, say --yes or --dry-run.")
    settings = load_from_environment()
    # Without a limit of a statement's time: a customer's may be looked for in whole tables.
    engine = make_engine(database_url(settings), "cli", statement_timeout=0, pool_size=2)
    try:
        planned, pauses = _planned(engine, settings, wanted)
        if not json_:
            _say(planned, wanted)
        complain(*map(suspended, pauses))
        if dry_run:
            _rehearse(engine, settings, planned, json_)
        elif planned.empty and json_:
            as_json(_plain(planned))
        if planned.empty and planned.left_out:
            raise typer.Exit(FAILURES)
        if dry_run or planned.empty:
            return
        confirm(yes)
        with engine.begin() as connection:
            asked, who = for_audit(wanted), getpass.getuser()
            rows = again(connection, planned, who=who, why=why, asked=asked, rate=rate)
        knock(settings)
        ended = stay(engine, planned) if wait else None
    finally:
        engine.dispose()
    _report(planned, rows, rate, ended, json_, pauses)


def _planned(engine: Engine, settings: Settings, wanted: Wanted) -> tuple[Plan, list[Pause]]:
    """And the suspensions that it would wait for."""
    try:
        with engine.connect() as connection:
            name = known_destination(connection, settings, wanted.destination)
            planned = plan(connection, settings, replace(wanted, destination=name))
            sent = planned.deliveries
            return planned, health.pauses(connection, sent) if sent else []
    except Unclear as error:
        raise stop(USAGE, str(error)) from None
    except NotFound as error:
        raise stop(FAILURES, f"Nothing was done: {some(error.wrong, '')}.") from None


def _say(planned: Plan, wanted: Wanted) -> None:
    if planned.empty and not planned.left_out:
        screen.print("Nothing matches. See: bridge events, bridge deliveries list")
        return
    events = count(len(planned.webhook_events), "webhook event")
    sent = count(len(planned.deliveries), "delivery", "deliveries")
    doing = [f"{events} to process again"] if planned.webhook_events else []
    doing += [f"{sent} to send again"] if planned.deliveries else []
    screen.print(f"{', '.join(doing) or 'Nothing can be done again'}.")
    if planned.more:
        complain(f"There are more: these are the oldest {wanted.limit:,} (--limit).")
    if planned.too_late:
        late = count(len(planned.too_late), "delivery", "deliveries")
        complain(
            f"{late} left out, past the destination's dedupe window or never to be sent twice: an"
            " earlier try that did arrive would count twice. --allow-duplicates sends them all the"
            f" same: {some(planned.too_late)}"
        )
    if planned.erased:
        erased = count(len(planned.erased), "webhook event")
        complain(f"{erased} left out, whose person was forgotten: {some(planned.erased)}")
    if planned.unset:
        unset = count(len(planned.unset), "delivery", "deliveries")
        complain(f"{unset} left out, to destinations that are not set: {some(planned.unset)}")


def _plain(planned: Plan) -> dict[str, Any]:
    return {
        "webhook_events": len(planned.webhook_events),
        "deliveries": len(planned.deliveries),
        "too_late": list(planned.too_late),
        "erased": list(planned.erased),
        "destination_not_set": list(planned.unset),
        "more": planned.more,
    }


# --- what it would change


def _rehearse(engine: Engine, settings: Settings, planned: Plan, json_: bool) -> None:
    with bar_of() as bars:
        total = len(planned.webhook_events)
        bar = bars.add_task("webhook events derived anew", total=total, visible=total > 0)
        found = rehearse(
            engine,
            settings,
            planned.webhook_events,
            told=lambda number: bars.advance(bar, number),
        )
    if json_:
        as_json({"dry_run": True, **_plain(planned), **as_plain(found)})
    elif planned.webhook_events:
        print_differences(found)


def _report(
    planned: Plan,
    rows: int,
    rate: int,
    ended: Progress | None,
    json_: bool,
    pauses: Sequence[Pause],
) -> None:
    failed = ended is not None and ended.failed > 0
    if json_:
        words = {"verdicts": ended.verdicts, "states": ended.states} if ended else None
        as_json({"dry_run": False, **_plain(planned), "again": rows, "ended": words})
    elif ended is None:
        most = max(len(planned.webhook_events), len(planned.deliveries))
        takes = f", over {most / rate:,.0f} s" if most > 2 * rate else ""
        names = ", ".join(one.destination for one in pauses)
        later = f" What goes to {names} leaves when its suspension ends." if names else ""
        screen.print(f"Under way{takes}.{later} See: bridge events, bridge deliveries")
    else:
        for state, number in sorted({**ended.verdicts, **ended.states}.items()):
            screen.print(f"{number:,} {state}")
    if failed:
        raise typer.Exit(FAILURES)
