"""Reading for people: lists and the hops of one webhook event. Nothing here writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from app.core.fingerprint import fingerprint
from app.store import sought
from app.store.sought import Deliveries, like

Row = Mapping[str, Any]


def _rows(
    connection: Connection, query: str, values: Mapping[str, object] | None = None
) -> list[Row]:
    return [dict(row) for row in connection.execute(text(query), values or {}).mappings()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What to list; None and empty mean any."""

    type: str | None = None
    verdict: str | None = None
    limit: int = 20


def webhook_events(connection: Connection, wanted: Filter) -> list[Row]:
    """The newest webhook events: id, type, created, received, verdict, reason."""
    query = """
        SELECT event_id, type, created, received_at, api_version, account, livemode, origin,
               coalesce(verdict, 'waiting') AS verdict, reason
        FROM webhook_events
        WHERE (CAST(:type AS text) IS NULL OR type LIKE :type)
          AND (CAST(:verdict AS text) IS NULL OR coalesce(verdict, 'waiting') = :verdict)
        ORDER BY received_at DESC, id DESC LIMIT :limit
    """
    values = {
        "type": like(wanted.type) if wanted.type else None,
        "verdict": wanted.verdict,
        "limit": wanted.limit,
    }
    return _rows(connection, query, values)


def deliveries(connection: Connection, wanted: Deliveries, limit: int) -> list[Row]:
    """The newest of these deliveries with their last attempt."""
    where = sought.deliveries(connection, wanted)
    query = f"{DELIVERY} WHERE {where.sql} ORDER BY d.id DESC LIMIT :limit"
    return _rows(connection, query, {**where.values, "limit": limit})


def failures(connection: Connection, wanted: Deliveries, limit: int) -> list[Row]:
    """Those of these deliveries that failed, counted by destination, state, status and error; the
    most frequent first. Errors that differ in a number or an id only are one."""
    where = sought.deliveries(connection, wanted)
    query = text(f"""
        SELECT d.id, d.destination, d.state, a.status, coalesce(d.finished_at, a.started_at) AS at,
               coalesce(d.reason, a.answer, '') AS error
        FROM deliveries d
        LEFT JOIN LATERAL (SELECT * FROM attempts a WHERE a.delivery_id = d.id
                           ORDER BY a.token DESC LIMIT 1) a ON true
        WHERE {where.sql} AND (d.state = 'dead' OR (d.state = 'pending' AND a.token IS NOT NULL))
    """)
    found: dict[tuple[object, ...], dict[str, Any]] = {}
    for row in connection.execute(query.execution_options(yield_per=1_000), where.values):
        error = fingerprint(row.error)
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


DELIVERY = """
    SELECT d.id, d.destination, d.state, d.reason, d.dedupe_id, d.created_at, d.finished_at,
           d.analytics_event_id, e.name, e.key, w.attempts, w.due_at, w.leased,
           a.status, a.outcome AS last_outcome, a.answer, a.latency_ms
    FROM deliveries d
    JOIN analytics_events e ON e.id = d.analytics_event_id
    LEFT JOIN work w ON w.lane = 'to:' || d.destination AND w.ref_id = d.id
    LEFT JOIN LATERAL (SELECT * FROM attempts a WHERE a.delivery_id = d.id
                       ORDER BY a.token DESC LIMIT 1) a ON true
"""


def way_of(connection: Connection, event_id: str) -> list[Row]:
    """Every kept webhook event of this id (one per account and mode)."""
    query = """
        SELECT id, event_id, type, created, received_at, api_version, account, livemode, origin,
               octet_length(raw) AS bytes, coalesce(verdict, 'waiting') AS verdict, reason,
               decided_at
        FROM webhook_events WHERE event_id = :event_id ORDER BY id
    """
    return _rows(connection, query, {"event_id": event_id})


def entries_of(connection: Connection, webhook_event: Row, keys: Sequence[str]) -> list[Row]:
    """Revenue entries that this webhook event booked, or that its facts' keys name."""
    query = """
        SELECT key, kind, minor, currency, tax_minor, occurred_at, recorded_at, webhook_event_id
        FROM revenue_entries
        WHERE webhook_event_id = :id
           OR (account = :account AND livemode = :livemode AND key = ANY(CAST(:keys AS text[])))
        ORDER BY id
    """
    return _rows(connection, query, _of(webhook_event, keys))


def _of(webhook_event: Row, keys: Sequence[str]) -> dict[str, object]:
    scope = {name: webhook_event[name] for name in ("id", "account", "livemode")}
    return {**scope, "keys": list(keys)}


def told_of(connection: Connection, webhook_event: Row, keys: Sequence[str]) -> list[Row]:
    """Analytics events of this webhook event's facts, whichever webhook event told them first."""
    query = """
        SELECT e.id, e.key, e.name, e.state, e.reason, e.occurred_at, e.recorded_at,
               e.held_until, e.released_at, e.identity, e.minor, e.currency,
               by.event_id AS told_by
        FROM analytics_events e
        LEFT JOIN webhook_events by ON by.id = e.webhook_event_id
        WHERE e.webhook_event_id = :id
           OR (e.account = :account AND e.livemode = :livemode
               AND e.key = ANY(CAST(:keys AS text[])))
        ORDER BY e.id
    """
    return _rows(connection, query, _of(webhook_event, keys))


def deliveries_of(connection: Connection, analytics_events: Sequence[int]) -> list[Row]:
    query = f"""
        {DELIVERY} WHERE d.analytics_event_id = ANY(CAST(:ids AS bigint[])) ORDER BY d.id
    """
    return _rows(connection, query, {"ids": list(analytics_events)})


def delivery(connection: Connection, id_: int) -> Row | None:
    return next(iter(_rows(connection, f"{DELIVERY} WHERE d.id = :id", {"id": id_})), None)


def attempts_of(connection: Connection, delivery_id: int) -> list[Row]:
    query = """
        SELECT started_at, outcome, status, latency_ms, answer, token FROM attempts
        WHERE delivery_id = :id ORDER BY token
    """
    return _rows(connection, query, {"id": delivery_id})


def raw(connection: Connection, webhook_event: int) -> bytes:
    query = text("SELECT raw FROM webhook_events WHERE id = :id")
    return bytes(connection.execute(query, {"id": webhook_event}).scalar_one())


def identity_links(connection: Connection, limit: int) -> list[Row]:
    """What was said of whose Stripe's objects are, newest first."""
    query = """
        SELECT account, livemode, object_id, source, ids, campaign, consent, stated_at,
               completed_at, recorded_at
        FROM identity_links WHERE ids <> '{}' OR campaign <> '{}' OR consent IS NOT NULL
        ORDER BY id DESC LIMIT :limit
    """
    return _rows(connection, query, {"limit": limit})


def nobodies(connection: Connection, limit: int) -> list[Row]:
    """Customers (or objects without one) whose analytics events found nobody, latest first."""
    query = """
        SELECT account, livemode, coalesce(customer, about[1]) AS object_id,
               count(*) FILTER (WHERE state = 'held') AS held,
               count(*) FILTER (WHERE state = 'withheld') AS withheld,
               count(*) FILTER (WHERE state = 'released') AS told,
               max(occurred_at) AS latest
        FROM analytics_events
        WHERE (state <> 'released' OR (identity ->> 'fallback') = 'true')
          AND coalesce(reason, '') NOT IN ('begins no paid period', 'erased')
        GROUP BY 1, 2, 3 ORDER BY latest DESC LIMIT :limit
    """
    return _rows(connection, query, {"limit": limit})


def identity_of(connection: Connection, scope: tuple[str, bool], object_id: str) -> dict[str, Any]:
    """Around one Stripe object: what it belongs to, what was said of all that, what was told."""
    account, livemode = scope
    values: dict[str, object] = {"account": account, "livemode": livemode, "id": object_id}
    up = """
        WITH RECURSIVE up AS (
            SELECT CAST(:id AS text) AS id, 0 AS depth
            UNION SELECT r.parent, u.depth + 1 FROM up u JOIN stripe_refs r
              ON r.child = u.id AND r.account = :account AND r.livemode = :livemode
            WHERE u.depth < 5
        )
    """
    parents = _rows(connection, f"{up} SELECT id FROM up WHERE depth > 0 GROUP BY id", values)
    said = f"""
        {up} SELECT object_id, source, ids, campaign, consent, stated_at, completed_at
        FROM identity_links l WHERE l.account = :account AND l.livemode = :livemode
          AND l.object_id IN (SELECT id FROM up)
          AND (ids <> '{{}}' OR campaign <> '{{}}' OR consent IS NOT NULL)
        ORDER BY stated_at DESC, l.id DESC LIMIT 50
    """
    told = """
        SELECT name, key, state, occurred_at, identity ->> 'source' AS source,
               coalesce(identity -> 'ids', '{}') AS ids
        FROM analytics_events WHERE account = :account AND livemode = :livemode
          AND (:id IN (customer, subscription, invoice) OR :id = ANY(about))
        ORDER BY occurred_at DESC, id DESC LIMIT 50
    """
    return {
        "object_id": object_id,
        "account": account,
        "livemode": livemode,
        "belongs_to": sorted(row["id"] for row in parents),
        "said": _rows(connection, said, values),
        "told": _rows(connection, told, values),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many of each there are, by state."""

    verdicts: Mapping[str, int]
    told: Mapping[str, int]
    deliveries: Mapping[tuple[str, str], int]
    waiting: int


def counts(connection: Connection) -> Counts:
    """Counted from the tables, whole."""

    def pairs(query: str) -> dict[Any, int]:
        return {tuple(row[:-1]): row[-1] for row in connection.execute(text(query))}

    verdicts = pairs("SELECT coalesce(verdict, 'waiting'), count(*) FROM webhook_events GROUP BY 1")
    told = pairs("SELECT state, count(*) FROM analytics_events GROUP BY 1")
    return Counts(
        verdicts={key[0]: count for key, count in verdicts.items()},
        told={key[0]: count for key, count in told.items()},
        deliveries=pairs("SELECT destination, state, count(*) FROM deliveries GROUP BY 1, 2"),
        waiting=connection.execute(text("SELECT count(*) FROM work")).scalar_one(),
    )


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
    found = {row["destination"]: dict(row) for row in _rows(connection, query)}
    for row in _rows(connection, doing):
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


def delivered_revenue(connection: Connection) -> dict[tuple[str, str], int]:
    """{(destination, currency): minor units} over everything delivered."""
    query = text("""
        SELECT d.destination, e.currency, sum(e.minor)::bigint FROM deliveries d
        JOIN analytics_events e ON e.id = d.analytics_event_id
        WHERE d.state = 'delivered' AND e.minor IS NOT NULL GROUP BY 1, 2
    """)
    return {(row[0], row[1]): row[2] for row in connection.execute(query)}


def told_by_name(connection: Connection) -> dict[str, int]:
    """Released analytics events by name."""
    query = text("""
        SELECT name, count(*) FROM analytics_events WHERE state = 'released' GROUP BY 1
    """)
    return {row[0]: row[1] for row in connection.execute(query)}
