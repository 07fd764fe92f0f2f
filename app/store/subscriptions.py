"""Subscription history: insert-only snapshots, so that order never matters."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from sqlalchemy import Connection, text

from app.core.facts import Snapshot
from app.store.bulk import insert_rows
from app.store.identities import Scoped, columns
from app.store.schema import subscription_snapshots
from app.store.webhook_events import Kept


def add_snapshots(connection: Connection, snapshots: Iterable[tuple[Kept, Snapshot]]) -> None:
    rows = [
        {
            "webhook_event_id": kept.id,
            "account": kept.account,
            "livemode": kept.livemode,
            "subscription": one.subscription,
            "customer": one.customer,
            "stated_at": kept.created,
            "status": one.status,
            "started_at": one.started_at,
            "trial_start": one.trial_start,
            "trial_end": one.trial_end,
            "ended_at": one.ended_at,
            "items": one.items,
            "discounts": one.discounts,
            "previous_attributes": one.previous_attributes,
        }
        for kept, one in snapshots
    ]
    insert_rows(connection, subscription_snapshots, rows)


def trial_ends(
    connection: Connection, subscriptions: Collection[Scoped]
) -> Mapping[Scoped, set[tuple[datetime, datetime | None]]]:
    """(when it was stated, trial end) of every snapshot of these; no key: no snapshot yet."""
    query = text("""
        SELECT DISTINCT s.account, s.livemode, s.subscription, s.stated_at, s.trial_end
        FROM subscription_snapshots s
        JOIN unnest(CAST(:accounts AS text[]), CAST(:livemodes AS boolean[]), CAST(:ids AS text[]))
            AS o (account, livemode, id)
          ON s.subscription = o.id AND s.account = o.account AND s.livemode = o.livemode
    """)
    found: dict[Scoped, set[tuple[datetime, datetime | None]]] = defaultdict(set)
    for row in connection.execute(query, columns(subscriptions)):
        found[(row.account, row.livemode, row.subscription)].add((row.stated_at, row.trial_end))
    return found
