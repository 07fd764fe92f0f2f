"""One destination, as a thread serves it: what is claimed, what was tried, and how it fares."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic, sleep
from typing import TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.core.outcome import Outcome
from app.destinations.base import Destination, Transport
from app.store import work
from app.store.deliveries import Attempt, Leased

PERSIST = 600.0  # seconds after the lease in which outcomes are still offered to Postgres

log = structlog.get_logger()
Written = TypeVar("Written")


@dataclass
class Lane:
    """One destination, served by one thread."""

    engine: Engine
    destination: Destination
    transport: Transport
    stopping: Callable[[], bool] = lambda: False
    fenced: int = 0
    ends: float = 0.0  # when the lease of what is claimed is over, on the monotonic clock
    probing: bool = False  # the claim is a probe, which is not sent yet
    suspect_first: bool = True  # at every other claim, so that suspects starve nowhere
    failing: int = 0  # requests in a row that took nothing
    unnoted: int = 0  # of these, not yet told to the breaker
    timed_out: bool = False  # one of those
    claimed_at: datetime | None = None  # on the database's clock
    tried: list[tuple[Leased, Outcome, Attempt]] = field(default_factory=list)
    flushed: float = field(default_factory=monotonic)

    @property
    def name(self) -> str:
        return work.lane_of(self.destination.name)


def written(lane: Lane, write: Callable[[Connection], Written]) -> Written:
    """Write in one transaction. While Postgres is out of reach, again and again: what we know and
    did not write is sent twice. Tokens guard it, however late."""
    pause = 0.1
    while True:
        try:
            with lane.engine.begin() as connection:
                return write(connection)
        except (InterfaceError, InternalError, OperationalError, PoolTimeout) as error:
            if monotonic() > lane.ends + PERSIST:
                raise
            name, kind = lane.destination.name, type(error).__name__
            log.warning("deliver.not_written", destination=name, error=kind)
        sleep(pause)
        pause = min(2 * pause, 1.0)
