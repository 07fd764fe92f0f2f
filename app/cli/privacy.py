"""bridge privacy: what is held of a person, and forgetting them."""

import getpass
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy import Engine

from app.cli.room import (
    FAILURES,
    RUNNING_ALREADY,
    USAGE,
    as_json,
    aside,
    complain,
    confirm,
    database_url,
    screen,
    stop,
    table,
)
from app.privacy.find import Asked, NobodyKnown, Person, Plan, find, plan
from app.privacy.find import Progress as Report
from app.privacy.forget import Answer, Outcome, Underway, forget
from app.settings import Settings, load_from_environment
from app.store import erasures
from app.store.db import make_engine
from app.store.held import held

Customer = Annotated[str | None, typer.Option(help="A customer's id at Stripe: cus_...")]
User = Annotated[str | None, typer.Option(help="The shop's own id of a user.")]
Account = Annotated[str | None, typer.Option(help="Only in this connected account.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable, on stdout alone.")]

verbs = typer.Typer(no_args_is_help=True, help="What is held of a person, and forgetting them.")


def add_to(cli: typer.Typer) -> None:
    verbs.command("show")(show_person)
    verbs.command("forget")(forget_person)
    cli.add_typer(verbs, name="privacy")


def show_person(
    customer: Customer = None, user: User = None, account: Account = None, json_: Json = False
) -> None:
    """Everything that is held of a person, for those who ask what it is. Times are UTC."""
    asked = _asked(customer, user, account)
    settings = load_from_environment()
    with _engine(settings) as engine:
        planned = _planned(engine, settings, asked)
        with engine.connect() as connection:
            found = held(connection, planned.rows)
    person = {"ids": planned.person.by_name(), "objects": _objects(planned.person)}
    if json_:
        as_json({**person, **found})
        return
    _say_who(planned.person)
    for name, rows in found.items():
        _table(name, rows)


def _table(name: str, rows: list[dict[str, Any]]) -> None:
    title = name.replace("_", " ").capitalize()
    if not rows:
        screen.print(f"{title}: none")
        return
    table(f"{title} ({len(rows):,})", list(rows[0]), [list(row.values()) for row in rows])


def forget_person(
    customer: Customer = None,
    user: User = None,
    account: Account = None,
    why: Annotated[str, typer.Option(help="For the audit log; no id of theirs.")] = "",
    despite_failures: Annotated[
        bool, typer.Option(help="Erase here, too, where a destination could not be asked.")
    ] = False,
    dry_run: Annotated[bool, typer.Option(help="Only say what would be erased.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json_: Json = False,
) -> None:
    """Erase a person here and where what was told of them went. Revenue stays as it is.

    May be run again: what was interrupted, or refused by a destination, is taken up again.
    """
    asked = _asked(customer, user, account)
    settings = load_from_environment()
    with _engine(settings) as engine:
        planned = _planned(engine, settings, asked)
        if not json_:
            _say_plan(planned)
        if dry_run:
            if json_:
                as_json(_plan(planned))
            return
        confirm(yes)
        outcome = _forget(engine, settings, asked, why=why, despite_failures=despite_failures)
    if json_:
        as_json({**_plan(planned), "outcome": asdict(outcome)})
    else:
        _say_outcome(outcome, planned)
    if outcome.failed:
        raise typer.Exit(FAILURES)


def _asked(customer: str | None, user: str | None, account: str | None) -> Asked:
    if bool(customer) == bool(user):
        raise stop(USAGE, "Say whom: --customer cus_... or --user ID.")
    return Asked(customer=customer, user=user, account=account)


@contextmanager
def _engine(settings: Settings) -> Iterator[Engine]:
    """Without a limit of a statement's time: whole tables are looked through."""
    engine = make_engine(database_url(settings), "cli", statement_timeout=0, pool_size=2)
    try:
        yield engine
    finally:
        engine.dispose()


def _planned(engine: Engine, settings: Settings, asked: Asked) -> Plan:
    try:
        with _bar("Looking for them in what Stripe sent") as report:
            return plan(engine, settings, find(engine, settings, asked), report)
    except NobodyKnown as error:
        with engine.connect() as connection:
            before = erasures.earlier(connection, asked.seed)
        if before and before[0].finished_at:
            screen.print(f"Forgotten on {before[0].finished_at:%Y-%m-%d %H:%M:%S} UTC.")
            raise typer.Exit from None
        raise stop(FAILURES, str(error)) from None


def _forget(
    engine: Engine, settings: Settings, asked: Asked, *, why: str, despite_failures: bool
) -> Outcome:
    try:
        with _bar("Looking for them in what Stripe sent") as report:
            return forget(
                engine,
                settings,
                asked,
                who=getpass.getuser(),
                why=why,
                despite_failures=despite_failures,
                progress=report,
                waiting=_wait,
            )
    except Underway:
        raise stop(RUNNING_ALREADY, "Somebody is being forgotten: try again later.") from None


def _wait(seconds: float) -> None:
    complain(f"Waiting {seconds:.0f} s for what may be on its way to a destination.")
    time.sleep(seconds)


@contextmanager
def _bar(title: str) -> Iterator[Report]:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=aside, disable=not aside.is_terminal, transient=True) as bars:
        bar = bars.add_task(title, total=None)
        yield lambda done, of: bars.update(bar, completed=done, total=of)


def _objects(person: Person) -> list[str]:
    return sorted(
        f"{one} ({'live' if live else 'test'}{' ' + account if account else ''})"
        for account, live, one in person.objects
    )


def _plan(planned: Plan) -> dict[str, Any]:
    return {
        "ids": planned.person.by_name(),
        "objects": _objects(planned.person),
        "rows": planned.counts,
        "waiting": planned.waiting,
        "unread": planned.unread,
        "destinations": planned.destinations,
    }


def _say_who(person: Person) -> None:
    rows = [[name, value] for name, values in person.by_name().items() for value in values]
    table("The person", ["id", "value"], rows)
    screen.print(f"{len(person.objects):,} of Stripe's objects are theirs.")
    for _, value in sorted(person.shared):
        complain(f"{value} is a placeholder, or many have it: it is nobody's, and stays.")


def _say_plan(planned: Plan) -> None:
    _say_who(planned.person)
    rows = [[name, count] for name, count in planned.counts.items() if count]
    if rows:
        table("To be erased", ["table", "rows"], rows)
    else:
        screen.print("Nothing of theirs is left to be erased.")
    if planned.waiting:
        complain(f"{planned.waiting:,} webhook events wait to be processed: erased right then.")
    if planned.unread:
        complain(
            f"{planned.unread:,} of the webhook events are quarantined: money that they tell of is"
            " not in the ledger, and will not be. `bridge replay --quarantined` tries them first."
        )
    if planned.destinations:
        screen.print(f"Told to: {', '.join(planned.destinations)}")
    screen.print("Revenue entries stay: they hold Stripe's ids and amounts, and no person.")


def _say_outcome(outcome: Outcome, planned: Plan) -> None:
    screen.print(f"{outcome.stopped:,} deliveries that were not sent were stopped.")
    if outcome.answers:
        columns = ["destination", "deletion", "words"]
        rows = [[one.destination, one.state, one.words] for one in outcome.answers]
        table("Destinations", columns, rows)
    by_hand = [one for one in outcome.answers if one.state != "asked"]
    if outcome.erased:
        changed = sum(outcome.erased.values())
        screen.print(f"Erased: {changed:,} rows. A replay will not bring them back.")
        _say_by_hand(by_hand, planned)
    else:
        names = ", ".join(one.destination for one in outcome.failed)
        complain(
            f"Not erased yet: {names} could not be asked to delete them. Nothing more is sent.",
            "Run the same command again once that works; --despite-failures erases all the same.",
        )


def _say_by_hand(by_hand: list[Answer], planned: Plan) -> None:
    """Whom to ask, and by which ids: from here on nobody here knows them."""
    if not by_hand:
        return
    names = ", ".join(one.destination for one in by_hand)
    screen.print(escape(f"To be asked by hand: {names}. Keep these ids until that is done:"))
    for name, values in planned.person.by_name().items():
        screen.print(escape(f"  {name}: {', '.join(values)}"))
