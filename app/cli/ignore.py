"""bridge events ignore: a quarantined webhook event that nobody is to read any more."""

import getpass
from collections.abc import Set
from typing import Annotated

import typer

from app.cli.replay import Json, Yes
from app.cli.room import (
    FAILURES,
    USAGE,
    as_json,
    confirm,
    count,
    database,
    screen,
    stop,
)
from app.cli.waits import some
from app.store import audit, webhook_events
from app.store.sought import WebhookEvents


def add_to(events: typer.Typer) -> None:
    events.command("ignore")(ignore)


def next_step(event_id: str) -> str:
    """Of a quarantined webhook event."""
    again = f"after an update that reads it: bridge replay {event_id}"
    return f"{again}; or close it: bridge events ignore {event_id} --why ..."


def ignore(
    ids: Annotated[list[str], typer.Argument(help="Of webhook events (evt_...).")],
    why: Annotated[str, typer.Option(help="Kept with each, and in the audit log.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be closed.")
    ] = False,
    yes: Yes = False,
    json_: Json = False,
) -> None:
    """Say that quarantined or held webhook events are not to be read: nothing follows from them.

    They are kept, as ignored, by hand; `bridge replay evt_...` may process one all the same.
    """
    if not why.strip():
        raise stop(USAGE, "Say --why: who finds it will ask.")
    if json_ and not (dry_run or yes):
        raise stop(USAGE, "With --json, say --yes or --dry-run.")
    with database() as connection:
        kept = webhook_events.find(connection, WebhookEvents(ids=ids))
    found = [one for one in kept if one.verdict in webhook_events.UNREAD]
    wrong = _wrong(ids, kept, {one.event_id for one in found})
    if wrong:
        raise stop(FAILURES, f"Nothing was done: {some(wrong, '')}.")
    if not json_:
        screen.print(f"{count(len(found), 'webhook event')} not to be read any more.")
    if dry_run:
        if json_:
            as_json({"dry_run": True, "webhook_events": len(found)})
        return
    confirm(yes)
    with database() as connection:
        done = webhook_events.ignore(connection, [one.id for one in found], f"by hand: {why}"[:500])
        asked = {"ids": sorted(set(ids))}
        audit.note(connection, getpass.getuser(), "ignore", why, asked, done)
    if json_:
        as_json({"dry_run": False, "ignored": done})
    else:
        screen.print(f"{done:,} ignored.")
    if done < len(found):
        raise stop(
            FAILURES, f"{len(found) - done:,} are being processed just now: left as they are."
        )


def _wrong(ids: list[str], kept: list[webhook_events.Found], fit: Set[str]) -> list[str]:
    """Of each id that cannot be ignored, what it is. One id may be kept for several accounts."""
    verdicts = {one.event_id: one.verdict for one in kept}
    return [
        f"{one} is {verdicts.get(one, 'not known')}" for one in dict.fromkeys(ids) if one not in fit
    ]
