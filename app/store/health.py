"""Whether a destination may be sent to: its breaker and its suspension, shared by all workers."""

from sqlalchemy import Connection, text

BREAKS_AT = 20  # failed requests in a row
FIRST_PAUSE, LONGEST_PAUSE = 30, 900  # seconds


def failed(connection: Connection, destination: str, reason: str, requests: int) -> None:
    """So many requests in a row came back with nothing taken: at 20 the breaker opens, for twice
    as long each time; the first request after the pause is the probe."""
    query = text("""
        INSERT INTO destinations_health AS h (destination, failures, reason)
        VALUES (:destination, :requests, :reason)
        ON CONFLICT (destination) DO UPDATE SET failures = h.failures + :requests, reason = :reason,
            changed_at = clock_timestamp(),
            suspended_until = CASE WHEN h.failures + :requests >= :breaks
                THEN clock_timestamp() + make_interval(secs => least(
                    :first * 2 ^ least(h.failures + :requests - :breaks, 10), :longest))
                ELSE h.suspended_until END
    """)
    values = {
        "destination": destination,
        "reason": reason,
        "requests": requests,
        "breaks": BREAKS_AT,
        "first": FIRST_PAUSE,
        "longest": LONGEST_PAUSE,
    }
    connection.execute(query, values)


def succeeded(connection: Connection, destination: str) -> None:
    """Something was taken: close the breaker. Writes only when there is something to close."""
    query = text("""
        UPDATE destinations_health SET failures = 0, suspended_until = NULL, reason = NULL,
            changed_at = clock_timestamp()
        WHERE destination = :destination AND (failures > 0 OR suspended_until IS NOT NULL)
    """)
    connection.execute(query, {"destination": destination})


def suspend(connection: Connection, destination: str, seconds: float, reason: str) -> None:
    """Send nothing to it for so long; rows wait and burn no attempts."""
    query = text("""
        INSERT INTO destinations_health AS h (destination, suspended_until, reason)
        VALUES (:destination, clock_timestamp() + make_interval(secs => :seconds), :reason)
        ON CONFLICT (destination) DO UPDATE
        SET suspended_until = excluded.suspended_until, reason = :reason,
            changed_at = clock_timestamp()
    """)
    values = {"destination": destination, "seconds": seconds, "reason": reason}
    connection.execute(query, values)


def resume(connection: Connection) -> None:
    """Try every destination again at once: workers start anew, perhaps with other keys."""
    connection.execute(text("UPDATE destinations_health SET suspended_until = NULL"))
