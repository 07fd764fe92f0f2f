"""Kept webhook event -> facts -> identity -> revenue entries, analytics events, deliveries.

Everything that follows from a batch of webhook events is written in one transaction, or nothing.
"""

from collections.abc import Callable, Sequence
from random import uniform
from time import sleep

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError

from app.consequences import Batch, Stale, lock, read_batch, write
from app.core.facts import Fact
from app.failpoint import reach
from app.settings import Settings
from app.store import webhook_events
from app.store.webhook_events import Kept, Verdict

BATCH = 150  # each takes about four join locks, of which Postgres holds some thousands
TRIES = 5
PAUSE = 0.05  # seconds, at most, before a batch that lost a race is begun again
UNWRITABLE = (
    *(DBAPIError, RecursionError),
    *(ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
)

log = structlog.get_logger()


class Unwritable(Exception):
    """What follows from these webhook events can never be written, however often it is tried."""

    def __init__(self, kept: Sequence[Kept], reason: str) -> None:
        super().__init__(reason)
        self.kept = kept


def process(engine: Engine, settings: Settings, limit: int = BATCH) -> int:
    """Process up to `limit` kept webhook events; how many, 0 when none was due.

    A webhook event that cannot be read is quarantined with the field that it lacks. One whose
    consequences cannot be written is found by trying each alone, and quarantined by itself.
    """
    try:
        return len(_with_retries(engine, settings, limit))
    except Unwritable as error:
        log.warning("process.one_by_one", reason=str(error))
    return _one_by_one(engine, settings, limit)


def rehearse(
    connection: Connection,
    settings: Settings,
    kept: Sequence[Kept],
    prepare: Callable[[], object],
) -> Sequence[tuple[Kept, Fact]]:
    """Write what follows from these webhook events in the caller's transaction, which is never to
    be committed; their facts. `prepare` is called once the join locks are ours, as rows are only
    locked after these everywhere. Raises Stale, and Unwritable."""
    try:
        lock(connection, read_batch(kept))
        prepare()
        return write(connection, settings, read_batch(kept))
    except UNWRITABLE as error:
        if _blames_a_row(error) or _too_many(error, kept):
            raise Unwritable(kept, _plainly(error)) from error
        raise


def _one_by_one(engine: Engine, settings: Settings, limit: int) -> int:
    done, after = 0, 0
    while done < limit:
        try:
            kept = _with_retries(engine, settings, 1, after)
        except Unwritable as error:
            kept = error.kept
            _quarantine(engine, kept[0], str(error))
        if not kept:
            break
        after, done = kept[0].id, done + 1
    return done


def _with_retries(engine: Engine, settings: Settings, limit: int, after: int = 0) -> Sequence[Kept]:
    """Again when a join moved under us or Postgres broke a deadlock; locks are taken anew."""
    for tries in range(1, TRIES + 1):
        kept: Sequence[Kept] = ()
        batch = Batch()
        try:
            with engine.begin() as connection:
                kept = webhook_events.claim(connection, limit, after)
                if kept:
                    reach("process.after_claim")
                    batch = read_batch(kept)
                    write(connection, settings, batch)
                    reach("process.before_commit")
            reach("process.after_commit")
            _say_quarantined(kept, batch.quarantined)
            return kept
        except UNWRITABLE as error:
            if kept and (_blames_a_row(error) or _too_many(error, kept)):
                raise Unwritable(kept, _plainly(error)) from error
            if tries == TRIES or not isinstance(error, OperationalError):
                raise
        except Stale:
            if tries == TRIES:
                raise
        sleep(uniform(0, PAUSE))
    raise AssertionError("unreachable")


def _plainly(error: Exception) -> str:
    """What Postgres refused, without its context: that quotes what customers wrote."""
    found = getattr(getattr(error, "orig", None), "diag", None)
    return f"{found.sqlstate} {found.message_primary}" if found else type(error).__name__


def _blames_a_row(error: Exception) -> bool:
    """Whether a row can never be written, and not that Postgres cannot write just now.

    What is no error of Postgres's: a text that is no UTF-8, or JSON too deep to be written.
    """
    if not isinstance(error, DBAPIError):
        return True
    too_large = str(getattr(error.orig, "sqlstate", "")).startswith("54")  # for an index
    return too_large or isinstance(error, (DataError, IntegrityError))


def _too_many(error: Exception, kept: Sequence[Kept]) -> bool:
    """Whether this batch needs more join locks than Postgres holds: fewer at a time will do."""
    no_room = str(getattr(getattr(error, "orig", None), "sqlstate", "")) == "53200"
    return no_room and len(kept) > 1


def _quarantine(engine: Engine, kept: Kept, reason: str) -> None:
    verdict = Verdict(kept.id, "quarantined", reason)
    with engine.begin() as connection:
        webhook_events.decide(connection, [verdict])
    _say_quarantined([kept], [verdict])


def _say_quarantined(kept: Sequence[Kept], verdicts: Sequence[Verdict]) -> None:
    """Once it is committed; a rehearsal says nothing."""
    names = {one.id: one.event_id for one in kept}
    for one in verdicts:
        log.error("process.quarantined", webhook_event=names[one.id], reason=one.reason)
