"""All that is held of a person, table by table, for them to read."""

from typing import Any

from sqlalchemy import Connection, text

from app.store.erase import Rows
from app.store.identities import columns

THEIRS = """
    JOIN unnest(CAST(:accounts AS text[]), CAST(:livemodes AS boolean[]), CAST(:ids AS text[]))
        AS o (account, livemode, id)
      ON o.account = t.account AND o.livemode = t.livemode AND o.id
"""
TOLD = "ANY(CAST(:told AS bigint[]))"
BODY = "convert_from(nullif({}, ''), 'UTF8')"
# By name: what is read. Bytes are JSON in UTF-8, as Stripe sent it or as it was sent on.
TABLES = {
    "identity_links": """
        SELECT account, livemode, object_id, source, ids, campaign, consent, stated_at
        FROM identity_links WHERE id = ANY(CAST(:links AS bigint[])) ORDER BY stated_at, id
    """,
    "analytics_events": f"""
        SELECT key, name, occurred_at, state, reason, identity, own, properties, minor, currency
        FROM analytics_events WHERE id = {TOLD} ORDER BY occurred_at, id
    """,
    "deliveries": f"""
        SELECT id, destination, state, reason, created_at, finished_at,
               {BODY.format("payload")} AS payload
        FROM deliveries WHERE analytics_event_id = {TOLD} ORDER BY id
    """,
    "attempts": f"""
        SELECT a.delivery_id, a.started_at, a.outcome, a.status, a.answer
        FROM attempts a JOIN deliveries d ON d.id = a.delivery_id
        WHERE d.analytics_event_id = {TOLD} ORDER BY a.started_at
    """,
    "subscription_snapshots": f"""
        SELECT t.subscription, t.stated_at, t.status, t.items, t.discounts, t.previous_attributes
        FROM subscription_snapshots t {THEIRS} = t.subscription ORDER BY t.stated_at
    """,
    "payments": f"""
        SELECT t.payment, t.customer, t.charge, t.minor, t.currency, t.occurred_at
        FROM payments t {THEIRS} = t.payment ORDER BY t.occurred_at
    """,
    "revenue_entries": f"""
        SELECT DISTINCT t.key, t.kind, t.minor, t.currency, t.customer, t.subscription, t.invoice,
               t.occurred_at
        FROM revenue_entries t
        {THEIRS} IN (t.customer, t.subscription, t.invoice, t.payment_intent, t.charge)
        ORDER BY t.occurred_at, t.key
    """,
    "webhook_events": """
        SELECT event_id, type, created, received_at, verdict, raw
        FROM webhook_events WHERE id = ANY(CAST(:webhook_events AS bigint[])) ORDER BY id
    """,
    "hydrations": """
        SELECT webhook_event_id, fetched_at, body AS raw
        FROM hydrations WHERE webhook_event_id = ANY(CAST(:webhook_events AS bigint[]))
        ORDER BY webhook_event_id
    """,
}


def held(connection: Connection, rows: Rows) -> dict[str, list[dict[str, Any]]]:
    """By table, the rows that are the person's; times are UTC, amounts in minor units."""
    values = {**rows.parameters(), **columns(rows.objects)}
    return {
        name: [_plain(row) for row in connection.execute(text(query), values).mappings()]
        for name, query in TABLES.items()
    }


def _plain(row: Any) -> dict[str, Any]:
    return {
        name: bytes(value).decode("utf-8", "replace") if name == "raw" else value
        for name, value in row.items()
    }
