"""Subscription history: insert-only snapshots, so that order never matters."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from datetime import datetime

from sqlalchemy import Connection, text

from app.core.facts import Snapshot
from app.core.worth.last_stated import Stated
from app.store.bulk import insert_rows
from app.store.identities import Scoped, columns
from app.store.schema import subscription_snapshots
from app.store.webhook_events import Kept

Second = tuple[str, bool, str, datetime]  # account, livemode, subscription, to the second
FIELDS = tuple(each.name for each in fields(Snapshot))


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
            "event_id": kept.event_id,
            "currency": one.currency,
            "paused_collection": one.paused_collection,
            "churn": one.churn,
            "hydrated": kept.fetched,
        }
        for kept, one in snapshots
    ]
    insert_rows(connection, subscription_snapshots, rows)


def first_heard(
    connection: Connection, subscriptions: Collection[Scoped]
) -> Mapping[Scoped, tuple[datetime, Snapshot]]:
    """(when, what) Stripe itself first stated of these; what was asked of its API is left out."""
    query = text("""
        SELECT DISTINCT ON (s.subscription, s.account, s.livemode) s.*
        FROM subscription_snapshots s
        JOIN unnest(CAST(:accounts AS text[]), CAST(:livemodes AS boolean[]), CAST(:ids AS text[]))
            AS o (account, livemode, id)
          ON s.subscription = o.id AND s.account = o.account AND s.livemode = o.livemode
        WHERE NOT s.hydrated
        ORDER BY s.subscription, s.account, s.livemode, s.stated_at, s.webhook_event_id
    """)
    return {
        (row["account"], row["livemode"], row["subscription"]): (
            row["stated_at"],
            Snapshot(**{name: row[name] for name in FIELDS}),
        )
        for row in connection.execute(query, columns(subscriptions)).mappings()
    }


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


def seconds_of(connection: Connection, webhook_events: Collection[int]) -> set[Second]:
    """The seconds of subscriptions that these webhook events (by our id) speak of."""
    query = text("""
        SELECT DISTINCT account, livemode, subscription, stated_at
        FROM subscription_snapshots WHERE webhook_event_id = ANY(CAST(:ids AS bigint[]))
    """)
    found = connection.execute(query, {"ids": list(webhook_events)})
    return {(one.account, one.livemode, one.subscription, one.stated_at) for one in found}


def stated(connection: Connection, seconds: Collection[Second]) -> dict[Second, list[Stated]]:
    """All that was said of these subscriptions in these seconds; by a webhook event and its thin
    twin, once."""
    query = text("""
        SELECT DISTINCT ON (s.account, s.livemode, s.subscription, s.stated_at, s.event_id) s.*
        FROM subscription_snapshots s
        JOIN unnest(CAST(:accounts AS text[]), CAST(:livemodes AS boolean[]),
                    CAST(:ids AS text[]), CAST(:times AS timestamptz[]))
            AS o (account, livemode, id, time)
          ON s.subscription = o.id AND s.stated_at = o.time
         AND s.account = o.account AND s.livemode = o.livemode
        ORDER BY s.account, s.livemode, s.subscription, s.stated_at, s.event_id, s.hydrated,
            s.webhook_event_id
    """)
    values = {**columns([one[:3] for one in seconds]), "times": [one[3] for one in sorted(seconds)]}
    found: dict[Second, list[Stated]] = defaultdict(list)
    for row in connection.execute(query, values).mappings():
        second = (row["account"], row["livemode"], row["subscription"], row["stated_at"])
        found[second].append(
            Stated(
                snapshot=Snapshot(**{name: row[name] for name in FIELDS}),
                at=row["stated_at"],
                event_id=row["event_id"],
                hydrated=row["hydrated"],
            )
        )
    return found
