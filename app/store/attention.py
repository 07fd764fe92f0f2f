"""What waits for a person, or for a worker: one cheap question each."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Pause:
    """A destination that is sent nothing: until when, why, and how many seconds in all."""

    destination: str
    until: datetime
    reason: str
    seconds: float


def paused(connection: Connection) -> list[Pause]:
    query = text("""
        SELECT destination, suspended_until, coalesce(reason, ''),
               extract(epoch FROM suspended_until - changed_at)::float8
        FROM destinations_health WHERE suspended_until > clock_timestamp() ORDER BY destination
    """)
    return [Pause(*row) for row in connection.execute(query)]


def dead(connection: Connection) -> dict[str, int]:
    """Dead deliveries by destination."""
    query = text("""
        SELECT destination, count(*) FROM deliveries WHERE state = 'dead' GROUP BY 1 ORDER BY 1
    """)
    return {row[0]: row[1] for row in connection.execute(query)}


def quarantined(connection: Connection) -> tuple[int, datetime | None]:
    """How many webhook events are, and when the oldest was received."""
    query = text("""
        SELECT count(*), min(received_at) FROM webhook_events WHERE verdict = 'quarantined'
    """)
    row = connection.execute(query).one()
    return row[0], row[1]


@dataclass(frozen=True, slots=True)
class Compared:
    """The last comparison with Stripe's event list that ended: why it failed, None if it did not;
    and how many seconds ago the last one without a failure began."""

    failure: str | None
    last_well: float | None


def last_comparison(connection: Connection) -> Compared | None:
    """None if there was none yet."""
    query = text("""
        SELECT r.failure, extract(epoch FROM clock_timestamp() - (
            SELECT started_at FROM gap_runs WHERE ended_at IS NOT NULL AND failure IS NULL
            ORDER BY started_at DESC LIMIT 1))::float8 AS last_well
        FROM gap_runs r WHERE r.ended_at IS NOT NULL ORDER BY r.started_at DESC LIMIT 1
    """)
    row = connection.execute(query).first()
    return Compared(row[0], row[1]) if row else None
