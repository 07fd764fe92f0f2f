"""For a rehearsal, in a transaction that is rolled back: what webhook events told is set aside, so
that all of it is derived anew beside the rest of the record."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, text

from app.store import analytics_events
from app.store.analytics_events import Told
from app.store.identities import Scope

Key = tuple[str, bool, str]  # account, livemode, key


def give_way(connection: Connection) -> None:
    """Wait for no lock longer than half a second: sooner than Postgres looks for a deadlock, of
    which the victim could be who works for real."""
    connection.execute(text("SET LOCAL lock_timeout = '500ms'"))


def rows_told(connection: Connection, webhook_events: Sequence[int]) -> list[dict[str, Any]]:
    """The analytics events that these webhook events told, with what is derived of each."""
    query = text("""
        SELECT account, livemode, key, webhook_event_id, name, state, reason, occurred_at, minor,
               currency, tax_minor, properties, about, customer, subscription, invoice
        FROM analytics_events WHERE webhook_event_id = ANY(CAST(:ids AS bigint[])) ORDER BY id
    """)
    return [dict(row) for row in connection.execute(query, _ids(webhook_events)).mappings()]


def rows_booked(
    connection: Connection, webhook_events: Sequence[int], keys: Collection[Key]
) -> list[dict[str, Any]]:
    """The revenue entries that these webhook events booked, or of these keys. `new`: written in
    this transaction."""
    query = text("""
        SELECT account, livemode, key, webhook_event_id, kind, minor, currency, tax_minor,
               discount_minor, out_of_band, occurred_at, customer, subscription, invoice,
               xmin = pg_current_xact_id()::xid AS new
        FROM revenue_entries WHERE webhook_event_id = ANY(CAST(:ids AS bigint[]))
           OR (account, livemode, key) IN (SELECT * FROM unnest(
               CAST(:accounts AS text[]), CAST(:livemodes AS boolean[]), CAST(:keys AS text[])))
        ORDER BY id
    """)
    ordered = sorted(keys)
    values = {
        "accounts": [account for account, _, _ in ordered],
        "livemodes": [livemode for _, livemode, _ in ordered],
        "keys": [key for _, _, key in ordered],
    }
    found = connection.execute(query, {**_ids(webhook_events), **values})
    return [dict(row) for row in found.mappings()]


def set_aside(connection: Connection, webhook_events: Sequence[int]) -> None:
    """Take away the analytics events that these told, with their deliveries. The ledger stays: it
    lets nobody take anything away."""
    told = "SELECT id FROM analytics_events WHERE webhook_event_id = ANY(CAST(:ids AS bigint[]))"
    for table, column in (("deliveries", "analytics_event_id"), ("analytics_events", "id")):
        query = text(f"DELETE FROM {table} WHERE {column} IN ({told})")
        connection.execute(query, _ids(webhook_events))


def end_holds(connection: Connection, webhook_events: Sequence[int]) -> list[Told]:
    """Those of theirs that are held now, as though they had waited until the end."""
    query = text("""
        UPDATE work SET due_at = '-infinity' WHERE lane = 'release' AND ref_id IN
            (SELECT id FROM analytics_events WHERE state = 'held'
             AND webhook_event_id = ANY(CAST(:ids AS bigint[])))
    """)
    ended = connection.execute(query, _ids(webhook_events)).rowcount
    return analytics_events.hold_ended(connection, ended) if ended else []


def rows_owed(connection: Connection, webhook_events: Sequence[int]) -> list[dict[str, Any]]:
    """Who is owed the analytics events that these told."""
    query = text("""
        SELECT e.account, e.livemode, e.key, d.destination, d.state, d.reason
        FROM analytics_events e JOIN deliveries d ON d.analytics_event_id = e.id
        WHERE e.webhook_event_id = ANY(CAST(:ids AS bigint[])) ORDER BY d.id
    """)
    return [dict(row) for row in connection.execute(query, _ids(webhook_events)).mappings()]


def verdicts(connection: Connection, webhook_events: Sequence[int]) -> dict[int, tuple[str, str]]:
    """By our id: its event id, and its verdict with the reason."""
    query = text("""
        SELECT id, event_id, concat_ws(': ', coalesce(verdict, 'waiting'), reason) AS verdict
        FROM webhook_events WHERE id = ANY(CAST(:ids AS bigint[]))
    """)
    found = connection.execute(query, _ids(webhook_events))
    return {row.id: (row.event_id, row.verdict) for row in found}


def relatives(connection: Connection, scope: Scope, objects: Collection[str]) -> list[int]:
    """The webhook events that told anything about these Stripe ids."""
    query = text("""
        SELECT DISTINCT webhook_event_id FROM analytics_events
        WHERE account = :account AND livemode = :livemode AND webhook_event_id IS NOT NULL
          AND (about && CAST(:objects AS text[]) OR customer = ANY(CAST(:objects AS text[]))
               OR subscription = ANY(CAST(:objects AS text[]))
               OR invoice = ANY(CAST(:objects AS text[])))
        ORDER BY 1
    """)
    values = {"account": scope[0], "livemode": scope[1], "objects": sorted(objects)}
    return list(connection.execute(query, values).scalars())


def _ids(webhook_events: Sequence[int]) -> dict[str, list[int]]:
    return {"ids": list(webhook_events)}
