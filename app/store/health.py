"""Whether a destination may be sent to: its breaker and its suspension, shared by all workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

BREAKS_AT = 20  # failed requests in a row
FIRST_PAUSE, LONGEST_PAUSE = 30, 900  # seconds


def failed(
    connection: Connection,
    destination: str,
    reason: str,
    requests: int,
    *,
    timed_out: bool = False,
) -> float | None:
    """So many requests in a row came back with nothing taken: at 20 the breaker opens, for twice
    as long each time it opens again; the first request after the pause is the probe. `timed_out`:
    one of them had no answer in time. A longer pause that is in force stays. Gives the seconds of
    the pause where the breaker opened."""
    query = text("""
        INSERT INTO destinations_health AS h (destination, failures, reason, timed_out)
        VALUES (:destination, :requests, :reason, :timed_out)
        ON CONFLICT (destination) DO UPDATE SET failures = h.failures + :requests, reason = :reason,
            -- Only a suspension outlives what was claimed before it; a failure ends with a success.
            changed_at = CASE WHEN h.failures + :requests >= :breaks
                THEN clock_timestamp() ELSE h.changed_at END,
            timed_out = h.timed_out OR :timed_out,
            openings = h.openings + (h.failures + :requests >= :breaks)::int,
            suspended_until = CASE WHEN h.failures + :requests >= :breaks
                THEN greatest(h.suspended_until, clock_timestamp() + make_interval(secs => least(
                    :first * 2 ^ least(h.openings, 10), :longest)))
                ELSE h.suspended_until END
        RETURNING CASE WHEN h.failures >= :breaks THEN
            extract(epoch FROM h.suspended_until - clock_timestamp())::float8 END
    """)
    values = {
        "destination": destination,
        "reason": reason,
        "requests": requests,
        "breaks": BREAKS_AT,
        "first": FIRST_PAUSE,
        "longest": LONGEST_PAUSE,
        "timed_out": timed_out,
    }
    pause: float | None = connection.execute(query, values).scalar()
    return pause


def succeeded(connection: Connection, destination: str, since: datetime) -> None:
    """A request that was claimed at `since` (the database's clock) was answered as it should be:
    close the breaker, but lift no suspension that came later. Writes only where there is a
    change."""
    query = text("""
        UPDATE destinations_health SET failures = 0, openings = 0, suspended_until = NULL,
            timed_out = false, reason = NULL, changed_at = clock_timestamp()
        WHERE destination = :destination AND changed_at <= :since
          AND (failures > 0 OR timed_out OR suspended_until IS NOT NULL)
    """)
    connection.execute(query, {"destination": destination, "since": since})


@dataclass(frozen=True, slots=True)
class Pause:
    """A destination that nothing is sent to until then, and why."""

    destination: str
    until: datetime
    reason: str


def pauses(connection: Connection, deliveries: Sequence[int] | None = None) -> list[Pause]:
    """Suspensions that are in force, by name; with `deliveries`, only of those that these go to."""
    query = text("""
        SELECT destination, suspended_until, coalesce(reason, '') FROM destinations_health h
        WHERE suspended_until > clock_timestamp()
          AND (CAST(:ids AS bigint[]) IS NULL OR EXISTS (
               SELECT FROM deliveries d
               WHERE d.id = ANY(CAST(:ids AS bigint[])) AND d.destination = h.destination))
        ORDER BY destination
    """)
    ids = None if deliveries is None else list(deliveries)
    return [Pause(*row) for row in connection.execute(query, {"ids": ids})]


@dataclass(frozen=True, slots=True)
class Health:
    """`at` is the database's clock; `paused`: send nothing; `probing`: the pause is over, and one
    request finds out."""

    at: datetime
    paused: bool
    probing: bool


def look(connection: Connection, destination: str) -> Health:
    query = text("""
        SELECT clock_timestamp() AS at,
               coalesce(h.suspended_until > clock_timestamp(), false) AS paused,
               coalesce(h.failures >= :breaks OR h.suspended_until <= clock_timestamp(), false)
                   AS probing
        FROM (SELECT CAST(:destination AS text) AS name) d
        LEFT JOIN destinations_health h ON h.destination = d.name
    """)
    row = connection.execute(query, {"destination": destination, "breaks": BREAKS_AT}).one()
    return Health(row.at, row.paused, row.probing)


def take_probe(connection: Connection, destination: str, seconds: float) -> bool:
    """Be the one that probes it: for so long the pause goes on for all others. False if another
    is at it."""
    query = text("""
        UPDATE destinations_health
        SET suspended_until = clock_timestamp() + make_interval(secs => :seconds)
        WHERE destination = :destination
          AND coalesce(suspended_until <= clock_timestamp(), true)
    """)
    return connection.execute(query, {"destination": destination, "seconds": seconds}).rowcount > 0


def leave_probe(connection: Connection, destination: str, since: datetime) -> None:
    """Nothing was sent to it after all: let another probe it."""
    query = text("""
        UPDATE destinations_health SET suspended_until = clock_timestamp()
        WHERE destination = :destination AND changed_at <= :since
    """)
    connection.execute(query, {"destination": destination, "since": since})


def suspend(connection: Connection, destination: str, seconds: float, reason: str) -> None:
    """Send nothing to it for so long, or longer if it is so already; rows wait and burn no
    attempts."""
    query = text("""
        INSERT INTO destinations_health AS h (destination, suspended_until, reason)
        VALUES (:destination, clock_timestamp() + make_interval(secs => :seconds), :reason)
        ON CONFLICT (destination) DO UPDATE
        SET suspended_until = greatest(h.suspended_until, excluded.suspended_until),
            reason = :reason, changed_at = clock_timestamp()
    """)
    values = {"destination": destination, "seconds": seconds, "reason": reason}
    connection.execute(query, values)


def resume(connection: Connection, destination: str) -> None:
    """End its pause now: one request finds out whether it is well."""
    query = text("""
        UPDATE destinations_health
        SET suspended_until = clock_timestamp(), changed_at = clock_timestamp()
        WHERE destination = :destination AND suspended_until > clock_timestamp()
    """)
    connection.execute(query, {"destination": destination})
