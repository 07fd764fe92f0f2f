"""What was told before a destination was added, told to it too: only when a person asks for it."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

from sqlalchemy import Connection, Engine

from app.destinations.base import Destination
from app.history.listing import Stopped
from app.privacy.erased import Forgotten, named_by
from app.release import owed_since
from app.settings import Settings
from app.store import analytics_events, audit, deliveries, erasures, identities
from app.store.analytics_events import Told, Unowed

BATCH = 500
RATE = 100  # deliveries that fall due in a second: what happens now must not wait behind history


@dataclass
class CaughtUp:
    """`owed` fall due one after the other; `skipped` are not sent, by reason; `not_for_it` are
    those that its settings leave out."""

    seen: int = 0
    owed: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def not_for_it(self) -> int:
        return self.seen - self.owed - self.skipped.total()


def catch_up(
    engine: Engine,
    settings: Settings,
    to: Destination,
    of: Unowed,
    *,
    rate: int = RATE,
    dry_run: bool = False,
    stopping: Callable[[], bool] = lambda: False,
    told: Callable[[int], object] = lambda _: None,
) -> CaughtUp:
    """Owe them in batches, each in a transaction of its own: begun again, it goes on with what is
    not owed yet. `told` hears the number of each batch. Raises Stopped."""
    result, after = CaughtUp(), 0
    while not stopping():
        with engine.connect() as connection, connection.begin() as transaction:
            identities.lock(connection, ())  # whoever forgets somebody waits for this batch
            batch = analytics_events.unowed(connection, of, after, BATCH)
            if not batch:
                return result
            told_before = _of_others(connection, batch)
            rows = owed_since(connection, settings, to, told_before)
            pending = [row for row in rows if row["state"] == "pending"]
            if dry_run:
                transaction.rollback()
            else:
                deliveries.owe(connection, rows, delay=result.owed / rate)
        result.seen += len(told_before)
        result.owed += len(pending)
        result.skipped.update(_kind(row["reason"]) for row in rows if row["state"] == "skipped")
        after = batch[-1].id or after
        told(len(batch))
    raise Stopped


def _of_others(connection: Connection, batch: Sequence[Told]) -> list[Told]:
    """Without what is of people who are being forgotten, and not erased yet."""
    named = {(*one.scope, object_id) for one in batch for object_id in named_by(one.fact)}
    gone = Forgotten(erasures.known(connection, named, ())[0])
    return [one for one in batch if not gone.has(one)]


def _kind(reason: str) -> str:
    """Without what differs from one to the next."""
    return reason.partition(":")[0]


def note(connection: Connection, of: Unowed, result: CaughtUp, who: str, why: str) -> None:
    """The audit line."""
    asked = {name: str(value) for name, value in asdict(of).items() if value is not None}
    audit.note(connection, who, "backfill", why, asked, result.owed + result.skipped.total())
