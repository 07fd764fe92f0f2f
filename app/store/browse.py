"""Reading for people: lists and the hops of one webhook event. Nothing here writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from app.store import sought
from app.store.sought import WebhookEvents

Row = Mapping[str, Any]


def _rows(
    connection: Connection, query: str, values: Mapping[str, object] | None = None
) -> list[Row]:
    return [dict(row) for row in connection.execute(text(query), values or {}).mappings()]


def webhook_events(connection: Connection, wanted: WebhookEvents, limit: int) -> list[Row]:
    """The newest of these webhook events: id, type, created, received, verdict, reason."""
    where = sought.webhook_events(connection, wanted)
    query = f"""
        SELECT e.event_id, e.type, e.created, e.received_at, e.api_version, e.account, e.livemode,
               e.origin, coalesce(e.verdict, 'waiting') AS verdict, e.reason
        FROM webhook_events e WHERE {where.sql}
        ORDER BY e.received_at DESC, e.id DESC LIMIT :limit
    """
    return _rows(connection, query, {**where.values, "limit": limit})


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
