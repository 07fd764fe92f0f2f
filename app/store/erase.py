"""A person's rows stopped, and erased: what is left is Stripe's ids, amounts and times."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from app.core.identity import CAMPAIGN
from app.core.person import ERASED, only_worth, without_words
from app.store.identities import Scoped, columns


def withhold(connection: Connection, told: Sequence[int]) -> int:
    """Tell nobody of those of these analytics events that still wait; how many."""
    query = text("""
        UPDATE analytics_events SET state = 'withheld', reason = 'erased'
        WHERE id = ANY(CAST(:told AS bigint[])) AND state = 'held'
    """)
    stopped = connection.execute(query, {"told": list(told)}).rowcount
    gone = text("""
        WITH done AS (SELECT unnest(CAST(:told AS bigint[])) AS id),
        waits AS (DELETE FROM identity_waits w USING done WHERE w.analytics_event_id = done.id)
        DELETE FROM work w USING done WHERE w.lane = 'release' AND w.ref_id = done.id
    """)
    connection.execute(gone, {"told": list(told)})
    return stopped


# Work rows go first, as a worker that finishes takes them: then no two can wait for each other.
STOP = text("""
WITH theirs AS (
    SELECT id, destination FROM deliveries
    WHERE analytics_event_id = ANY(CAST(:told AS bigint[])) AND state IN ('pending', 'dead')
), gone AS (
    DELETE FROM work w USING theirs t WHERE w.lane = 'to:' || t.destination AND w.ref_id = t.id
    RETURNING w.leased, w.due_at
), stopped AS (
    UPDATE deliveries d
    SET state = 'skipped', reason = 'erased', finished_at = clock_timestamp()
    FROM theirs t WHERE d.id = t.id AND d.state IN ('pending', 'dead')
      AND (SELECT count(*) FROM gone) >= 0
    RETURNING d.id
)
SELECT (SELECT count(*) FROM stopped) AS stopped,
       (SELECT extract(epoch FROM max(due_at) - clock_timestamp())::float8 FROM gone WHERE leased)
           AS seconds
""")


def stop(connection: Connection, told: Sequence[int]) -> tuple[int, float]:
    """Send none of what is owed of these analytics events; whoever has it leased is fenced. How
    many deliveries, and the seconds in which one of them may still be on its way."""
    row = connection.execute(STOP, {"told": list(told)}).one()
    return row.stopped, max(row.seconds or 0.0, 0.0)


# --- erasing

# (table, whose rows, what is done to them). Counted first, by the same words.
CHANGES = (
    ("identity_links", "id = ANY(CAST(:links AS bigint[]))", None),
    (
        "webhook_events",
        "id = ANY(CAST(:webhook_events AS bigint[])) AND erased_at IS NULL",
        """raw = '{}', erased_at = clock_timestamp(),
           reason = CASE verdict WHEN 'quarantined' THEN 'erased unread' ELSE reason END,
           verdict = CASE verdict WHEN 'quarantined' THEN 'ignored' ELSE verdict END""",
    ),
    (
        "hydrations",
        "webhook_event_id = ANY(CAST(:webhook_events AS bigint[])) AND body <> '{}'",
        "body = '{}'",
    ),
    (
        "analytics_events",
        "id = ANY(CAST(:told AS bigint[])) AND identity ->> 'source' IS DISTINCT FROM 'erased'",
        f"""identity = '{{"ids": {{}}, "source": "{ERASED}", "fallback": false, "consent": null}}',
            own = NULL, properties = properties - CAST(:campaign AS text[]), reason = 'erased'""",
    ),
    (
        "deliveries",
        "analytics_event_id = ANY(CAST(:told AS bigint[])) AND payload IS NOT NULL",
        "payload = NULL",
    ),
    (
        "attempts",
        """answer <> '' AND delivery_id IN (
            SELECT id FROM deliveries WHERE analytics_event_id = ANY(CAST(:told AS bigint[])))""",
        "answer = ''",
    ),
    (
        "destinations_health",
        """EXISTS (SELECT FROM unnest(CAST(:values AS text[])) AS v (value)
                   WHERE length(v.value) > 5 AND position(v.value IN reason) > 0)""",
        "reason = 'erased'",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Whose rows go: ids of links, of analytics events, of webhook events; the subscriptions'
    Stripe ids; and the person's own ids, as texts."""

    links: Sequence[int] = ()
    told: Sequence[int] = ()
    webhook_events: Sequence[int] = ()
    objects: Collection[Scoped] = ()
    values: Sequence[str] = ()

    def parameters(self) -> dict[str, list[object]]:
        return {
            "links": list(self.links),
            "told": list(self.told),
            "webhook_events": list(self.webhook_events),
            "values": list(self.values),
            "campaign": [*sorted(CAMPAIGN)],
        }


def count(connection: Connection, rows: Rows) -> dict[str, int]:
    """By table, how many rows `erase` would change."""
    counts = {
        table: connection.execute(
            text(f"SELECT count(*) FROM {table} WHERE {whose}"), rows.parameters()
        ).scalar_one()
        for table, whose, _ in CHANGES
    }
    return {**counts, "subscription_snapshots": len(_snapshots(connection, rows.objects))}


def erase(connection: Connection, rows: Rows) -> dict[str, int]:
    """Erase the person in these rows; by table, how many were changed. The ledger is not touched,
    nor are webhook events' verdicts and keys."""
    counts = {}
    for table, whose, change in CHANGES:
        verb = f"UPDATE {table} SET {change}" if change else f"DELETE FROM {table}"
        done = connection.execute(text(f"{verb} WHERE {whose}"), rows.parameters())
        counts[table] = done.rowcount
    snapshots = _snapshots(connection, rows.objects)
    query = text("""
        UPDATE subscription_snapshots s SET items = r.items, discounts = r.discounts,
            previous_attributes = r.previous_attributes
        FROM json_to_recordset(CAST(:rows AS json))
            AS r (id bigint, items jsonb, discounts jsonb, previous_attributes jsonb)
        WHERE s.webhook_event_id = r.id
    """)
    connection.execute(query, {"rows": json.dumps(snapshots)})
    return {**counts, "subscription_snapshots": len(snapshots)}


def _snapshots(connection: Connection, objects: Collection[Scoped]) -> list[dict[str, Any]]:
    """Those of these subscriptions that hold what people or the shop wrote, without it."""
    query = text("""
        SELECT s.webhook_event_id, s.items, s.discounts, s.previous_attributes
        FROM subscription_snapshots s
        JOIN unnest(CAST(:accounts AS text[]), CAST(:livemodes AS boolean[]), CAST(:ids AS text[]))
            AS o (account, livemode, id)
          ON s.subscription = o.id AND s.account = o.account AND s.livemode = o.livemode
    """)
    changed = []
    for row in connection.execute(query, columns(objects)):
        held = (row.items, row.discounts, row.previous_attributes)
        bare = (
            without_words(row.items),
            without_words(row.discounts),
            only_worth(row.previous_attributes),
        )
        if held != bare:
            names = ("items", "discounts", "previous_attributes")
            changed.append({"id": row.webhook_event_id, **dict(zip(names, bare, strict=True))})
    return changed


def erase_bytes(connection: Connection, webhook_events: Sequence[int]) -> None:
    """The bytes of these webhook events, which are being processed, and what was fetched for
    them."""
    rows = {"webhook_events": sorted(webhook_events)}
    for table, whose, change in CHANGES[1:3]:
        connection.execute(text(f"UPDATE {table} SET {change} WHERE {whose}"), rows)
