"""bridge revenue correct: a wrong entry is undone or put right, by new entries."""

import getpass
import time
from typing import Annotated, Any

import typer
from rich.markup import escape
from sqlalchemy import Engine

from app.cli.books import scope_of
from app.cli.room import (
    FAILURES,
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
from app.core.correction import Part, Unclear
from app.core.money import Money
from app.finance.correct import Asked, Outcome, Plan, Refused, outcome, plan
from app.finance.correct import correct as post
from app.settings import Settings, load_from_environment
from app.store.db import make_engine

WAIT, LOOK = 5.0, 0.1  # seconds: for a worker, and between two looks

Key = Annotated[str, typer.Argument(help="A revenue entry's key, such as payment:in_...")]
To = Annotated[
    str | None,
    typer.Option(help='What it is to count: whole units, 12.99 or "12.99 EUR". Else: nothing.'),
]
Tax = Annotated[
    str | None, typer.Option(help="The tax in --to. Else in the proportion that it is in now.")
]
Why = Annotated[str, typer.Option(help="For the audit log; needed.")]
Account = Annotated[str, typer.Option(help="A connected account (acct_...), or own.")]
Test = Annotated[bool, typer.Option("--test", help="Test mode, not live.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be posted.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable, on stdout alone.")]


def add_to(verbs: typer.Typer) -> None:
    verbs.command("correct")(correct)


def correct(
    key: Key,
    why: Why = "",
    to: To = None,
    tax: Tax = None,
    account: Account = "own",
    test: Test = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    json_: Json = False,
) -> None:
    """Undo a wrong revenue entry, or say what it should count: the entry stays, a correction is
    posted beside it, and every destination is told the difference.

    It is of the entry's own day; if that month is closed, it is posted to the next open one.
    """
    if json_ and not (dry_run or yes):
        raise stop(USAGE, "With --json, say --yes or --dry-run.")
    if not why.strip() and not dry_run:
        raise stop(USAGE, "--why must say something.")
    settings = load_from_environment()
    scope = scope_of(account, test=test)
    engine = make_engine(database_url(settings), "cli", pool_size=1)
    try:
        asked = Asked(scope=scope, key=key, to=to, tax=tax)
        _correct(engine, settings, asked, why.strip(), dry_run=dry_run, yes=yes, json_=json_)
    except Unclear as error:
        raise stop(USAGE, str(error)) from None
    except Refused as error:
        raise stop(FAILURES, str(error), "Nothing was changed.") from None
    finally:
        engine.dispose()


def _correct(
    engine: Engine,
    settings: Settings,
    asked: Asked,
    why: str,
    *,
    dry_run: bool,
    yes: bool,
    json_: bool,
) -> None:
    with engine.connect() as connection:
        planned = plan(connection, settings, asked)
    if not json_:
        _show(planned)
    if dry_run:
        if json_:
            as_json({"dry_run": True, **_plain(planned)})
        return
    confirm(yes)
    with engine.begin() as connection:
        post(connection, planned, who=getpass.getuser(), why=why)
    knock(settings)
    done = _await(engine, planned)
    if json_:
        as_json({"dry_run": False, **_plain(planned), "booked": _booked(done)})
    _report(planned, done, json_=json_)


def _await(engine: Engine, planned: Plan) -> Outcome:
    """Until a worker has read it, for a little while."""
    until = time.monotonic() + WAIT
    while True:
        with engine.connect() as connection:
            found = outcome(connection, planned)
        if found.said.verdict is not None or time.monotonic() >= until:
            return found
        time.sleep(LOOK)


def _show(planned: Plan) -> None:
    booked = planned.booked
    mode = "live" if booked.livemode else "test"
    kind = booked.kind.replace("_", " ")
    screen.print(
        escape(f"{booked.key}: a {kind} of {booked.effective_date}, account")
        + escape(f" {booked.account or 'own'}, {mode} mode"),
    )
    now = ", ".join(str(part.money) for part in booked.counts) or "nothing"
    screen.print(
        f"It counts {now}, and is to count {planned.to if planned.to.minor else 'nothing'}"
    )
    rows = [[key, *_cells(part)] for key, part in zip(planned.keys, planned.parts, strict=True)]
    table("To be posted", ["entry", "amount", "tax in it", "discount"], rows)
    late = planned.posting_date != booked.effective_date
    screen.print(
        f"Posted on {planned.posting_date}"
        + (", since its month is closed or locked" if late else "")
    )
    screen.print(escape(f"Told as revenue_corrected to: {', '.join(planned.told) or 'nobody'}"))


def _cells(part: Part) -> list[str]:
    currency = part.money.currency
    shares = (part.tax_minor, part.discount_minor)
    return [
        str(part.money),
        *("unknown" if one is None else str(Money(one, currency)) for one in shares),
    ]


def _plain(planned: Plan) -> dict[str, Any]:
    booked = planned.booked
    return {
        "key": booked.key,
        "account": booked.account or "own",
        "livemode": booked.livemode,
        "kind": booked.kind,
        "counts": [_amounts(part) for part in booked.counts],
        "to": {"minor": planned.to.minor, "currency": planned.to.currency},
        "entries": [
            {"key": key, **_amounts(part)}
            for key, part in zip(planned.keys, planned.parts, strict=True)
        ],
        "effective_date": booked.effective_date,
        "posting_date": planned.posting_date,
        "destinations": list(planned.told),
        "event": planned.event_id,
    }


def _amounts(part: Part) -> dict[str, Any]:
    return {
        "minor": part.money.minor,
        "currency": part.money.currency,
        "tax_minor": part.tax_minor,
        "discount_minor": part.discount_minor,
    }


def _booked(done: Outcome) -> list[dict[str, Any]] | None:
    """None while it waits for a worker."""
    if done.said.verdict is None:
        return None
    return [
        {
            "key": one.key,
            "minor": one.money.minor,
            "currency": one.money.currency,
            "posting_date": one.posting_date,
        }
        for one in done.entries
    ]


def _report(planned: Plan, done: Outcome, *, json_: bool) -> None:
    look = f"bridge events show {planned.event_id}"
    if done.said.verdict is None:
        complain(f"It is kept, and no worker has booked it yet: {look}")
    elif not done.entries:
        why = f" ({done.said.reason})" if done.said.reason else ""
        raise stop(FAILURES, f"It is kept, and {done.said.verdict}{why}: {look}")
    elif not json_:
        for one in done.entries:
            screen.print(escape(f"Booked: {one.key}  {one.money}, posted on {one.posting_date}"))
