"""Deliveries as people read them: what was told to whom, what failed and why, and what waits until
when. Nothing here writes."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, text

from app.core.fingerprint import cause
from app.store import sought
from app.store.sought import Deliveries

Row = Mapping[str, Any]

# `next_try` is when a waiting one is sent at the earliest: not before its destination's suspension
# ends. `due_at` is its own time, or the end of a worker's lease.
DELIVERY = """
    SELECT d.id, d.destination, d.state, d.reason, d.dedupe_id, d.created_at, d.finished_at,
           d.analytics_event_id, e.name, e.key, e.customer, w.attempts, w.due_at, w.leased,
           CASE WHEN NOT w.leased THEN greatest(w.due_at, h.suspended_until) END AS next_try,
           CASE WHEN w.ref_id IS NOT NULL THEN h.suspended_until END AS suspended_until,
           CASE WHEN w.ref_id IS NOT NULL THEN h.reason END AS suspended_for,
           a.status, a.outcome AS last_outcome, a.answer, a.latency_ms
    FROM deliveries d
    JOIN analytics_events e ON e.id = d.analytics_event_id
    LEFT JOIN work w ON w.lane = 'to:' || d.destination AND w.ref_id = d.id
    LEFT JOIN destinations_health h
        ON h.destination = d.destination AND h.suspended_until > clock_timestamp()
    LEFT JOIN LATERAL (SELECT * FROM attempts a WHERE a.delivery_id = d.id
                       ORDER BY a.token DESC LIMIT 1) a ON true
"""


def _rows(connection: Connection, query: str, values: Mapping[str, object]) -> list[Row]:
    return [dict(row) for row in connection.execute(text(query), values).mappings()]


def deliveries(connection: Connection, wanted: Deliveries, limit: int) -> list[Row]:
    """The newest of these deliveries with their last attempt."""
    where = sought.deliveries(connection, wanted)
    query = f"{DELIVERY} WHERE {where.sql} ORDER BY d.id DESC LIMIT :limit"
    return _rows(connection, query, {**where.values, "limit": limit})


def deliveries_of(connection: Connection, analytics_events: Sequence[int]) -> list[Row]:
    query = f"""
        {DELIVERY} WHERE d.analytics_event_id = ANY(CAST(:ids AS bigint[])) ORDER BY d.id
    """
    return _rows(connection, query, {"ids": list(analytics_events)})


def delivery(connection: Connection, id_: int) -> Row | None:
    """One, with the webhook event that told it first; None if there is none of that number."""
    query = f"""
        SELECT one.*, by.event_id AS webhook_event FROM ({DELIVERY} WHERE d.id = :id) AS one
        JOIN analytics_events e ON e.id = one.analytics_event_id
        LEFT JOIN webhook_events by ON by.id = e.webhook_event_id
    """
    return next(iter(_rows(connection, query, {"id": id_})), None)


def payload(connection: Connection, id_: int) -> bytes | None:
    """What is sent, or was; None where nothing ever was to be, or it was erased."""
    query = text("SELECT payload FROM deliveries WHERE id = :id")
    frozen = connection.execute(query, {"id": id_}).scalar()
    return None if frozen is None else bytes(frozen)


def attempts_of(connection: Connection, delivery_id: int) -> list[Row]:
    query = """
        SELECT started_at, outcome, status, latency_ms, answer, token FROM attempts
        WHERE delivery_id = :id ORDER BY token
    """
    return _rows(connection, query, {"id": delivery_id})


# --- what failed


# What was never tried waits for its destination, if that is suspended or fails: for its reason.
FAILED = """
    SELECT d.id, d.destination, d.state, a.status,
           coalesce(d.finished_at, a.started_at, d.created_at) AS at,
           CASE WHEN d.state = 'pending' AND a.token IS NULL THEN 'not tried yet: ' ELSE '' END
               AS untried,
           CASE WHEN d.state = 'pending' AND a.token IS NULL THEN coalesce(h.reason, '')
                ELSE coalesce(d.reason, a.answer, '') END AS error
    FROM deliveries d
    LEFT JOIN destinations_health h ON h.destination = d.destination
        AND (h.failures > 0 OR h.suspended_until IS NOT NULL)
    LEFT JOIN LATERAL (SELECT * FROM attempts a WHERE a.delivery_id = d.id
                       ORDER BY a.token DESC LIMIT 1) a ON true
    WHERE {where} AND (d.state = 'dead' OR (d.state = 'pending'
          AND (a.token IS NOT NULL OR h.destination IS NOT NULL)))
"""


def failures(connection: Connection, wanted: Deliveries, limit: int) -> list[Row]:
    """Those of these deliveries that failed, or wait behind a destination that does, counted by
    destination, state, status and error; the most frequent first. Errors that differ in a number
    or an id only are one. `first` and `last` are of the end or last try, or of when they were owed
    if they were not tried yet."""
    where = sought.deliveries(connection, wanted)
    query = text(FAILED.format(where=where.sql)).execution_options(yield_per=1_000)
    found: dict[tuple[object, ...], dict[str, Any]] = {}
    for row in connection.execute(query, where.values):
        error = row.untried + cause(row.error)
        group = found.setdefault(
            (row.destination, row.state, row.status, error),
            {
                "destination": row.destination,
                "state": row.state,
                "status": row.status,
                "deliveries": 0,
                "first": row.at,
                "last": row.at,
                "example": row.id,
                "error": error,
            },
        )
        group["deliveries"] += 1
        group["first"] = min(filter(None, (group["first"], row.at)), default=None)
        if row.at and row.at >= (group["last"] or row.at):
            group["last"], group["example"] = row.at, row.id
    by = ("destination", "state", "error")
    order = sorted(found.values(), key=lambda each: [-each["deliveries"], *map(each.get, by)])
    return list(order[:limit])


# --- destinations


def destinations(connection: Connection) -> dict[str, dict[str, Any]]:
    """By name, each destination that anything was ever owed to: deliveries by state, the oldest
    that waits, and its suspension (`suspended_until` only while it is one)."""
    query = """
        SELECT d.destination, count(*) FILTER (WHERE d.state = 'pending') AS waiting,
               min(d.created_at) FILTER (WHERE d.state = 'pending') AS oldest_waiting,
               count(*) FILTER (WHERE d.state = 'delivered') AS delivered,
               count(*) FILTER (WHERE d.state = 'skipped') AS skipped,
               count(*) FILTER (WHERE d.state = 'dead') AS dead
        FROM deliveries d GROUP BY 1
    """
    doing = """
        SELECT destination, failures, reason,
               CASE WHEN suspended_until > clock_timestamp() THEN suspended_until END
                   AS suspended_until
        FROM destinations_health
    """
    found = {row["destination"]: dict(row) for row in _rows(connection, query, {})}
    for row in _rows(connection, doing, {}):
        found.setdefault(row["destination"], {}).update(row)
    return found


def delivery_reasons(connection: Connection, destination: str) -> list[Row]:
    """Why deliveries to it were skipped or are dead, the most frequent first."""
    query = """
        SELECT state, count(*) AS deliveries, reason FROM deliveries
        WHERE destination = :destination AND state IN ('skipped', 'dead')
        GROUP BY 1, 3 ORDER BY 2 DESC, 3 LIMIT 50
    """
    return _rows(connection, query, {"destination": destination})


def destination_names(connection: Connection) -> set[str]:
    """Of all destinations that anything was ever owed to; reads all deliveries."""
    query = text("""
        SELECT destination FROM deliveries UNION SELECT destination FROM destinations_health
    """)
    return set(connection.execute(query).scalars())


# --- what waits


def waits(connection: Connection, ids: Sequence[int]) -> list[Row]:
    """What those of these deliveries that are pending wait for, by destination: how many, the next
    try at the earliest, the suspension if there is one and why, and how many a worker has."""
    query = """
        SELECT d.destination, count(*) AS waiting, count(*) FILTER (WHERE w.leased) AS at_work,
               greatest(min(w.due_at) FILTER (WHERE NOT w.leased), max(h.suspended_until))
                   AS next_try,
               max(h.suspended_until) AS suspended_until, max(h.reason) AS suspended_for,
               coalesce(min(w.due_at) FILTER (WHERE NOT w.leased) <= clock_timestamp(), false)
                   AS due
        FROM deliveries d JOIN work w ON w.lane = 'to:' || d.destination AND w.ref_id = d.id
        LEFT JOIN destinations_health h
            ON h.destination = d.destination AND h.suspended_until > clock_timestamp()
        WHERE d.id = ANY(CAST(:ids AS bigint[])) AND d.state = 'pending'
        GROUP BY 1 ORDER BY 1
    """
    return _rows(connection, query, {"ids": list(ids)})
