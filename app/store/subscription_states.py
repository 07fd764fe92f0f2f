"""What subscriptions were worth a month, second by second: derived, and derived again.

There is one measurer at a time, under an advisory lock: two could each read what the other is
about to write, and the older result could stand.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from app.core.worth.discounts import Key
from app.core.worth.last_stated import Stated
from app.core.worth.mrr import Worth, churn_of, currency_of
from app.store.bulk import insert_rows
from app.store.catalogue import ItemKey, columns
from app.store.schema import subscription_states
from app.store.subscriptions import Second
from app.store.work import MEASURE

MEASURE_LOCK = 7_203_514_002  # an advisory lock; any constant that nothing else takes

CLAIM = text("""
SELECT ref_id FROM work WHERE lane = :lane AND due_at <= clock_timestamp()
ORDER BY ref_id LIMIT :limit FOR UPDATE SKIP LOCKED
""")

DEPENDING = text("""
SELECT DISTINCT s.account, s.livemode, s.subscription, s.stated_at
FROM unnest(CAST(:accounts AS text[]), CAST(:livemodes AS boolean[]), CAST(:kinds AS text[]),
            CAST(:ids AS text[])) AS o (account, livemode, kind, id)
JOIN subscription_states s ON s.asked @> ARRAY[o.kind || ':' || o.id]
 AND s.account = o.account AND s.livemode = o.livemode
""")

CLEAR = text("""
DELETE FROM subscription_states s
USING unnest(CAST(:accounts AS text[]), CAST(:livemodes AS boolean[]), CAST(:ids AS text[]),
             CAST(:times AS timestamptz[])) AS o (account, livemode, id, time)
WHERE s.account = o.account AND s.livemode = o.livemode
  AND s.subscription = o.id AND s.stated_at = o.time
""")

LACKING = text("""
SELECT s.account, s.livemode, m.item, max(s.subscription) AS subscription
FROM subscription_states s
CROSS JOIN unnest(s.missing) AS m (item)
LEFT JOIN catalogue_checks c
  ON c.account = s.account AND c.livemode = s.livemode AND c.kind || ':' || c.id = m.item
 AND c.checked_at > clock_timestamp() - make_interval(secs => :again_after)
WHERE s.missing <> '{}' AND c.id IS NULL
GROUP BY s.account, s.livemode, m.item
ORDER BY s.account, s.livemode, m.item LIMIT :limit
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lacking:
    """A catalogue item that is missing, and a subscription that points to it."""

    key: ItemKey
    subscription: str


def begin(connection: Connection) -> bool:
    """Be the measurer until the commit; False if there is one."""
    query = text("SELECT pg_try_advisory_xact_lock(:key)")
    return bool(connection.execute(query, {"key": MEASURE_LOCK}).scalar_one())


def await_turn(connection: Connection) -> None:
    """Be the measurer until the commit, once there is no other."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MEASURE_LOCK})


def claim(connection: Connection, limit: int) -> list[int]:
    """Up to `limit` webhook events (our ids) whose snapshot or catalogue items are not measured,
    locked until the commit."""
    return list(connection.execute(CLAIM, {"lane": MEASURE, "limit": limit}).scalars())


def finish(connection: Connection, webhook_events: Sequence[int]) -> None:
    query = text("DELETE FROM work WHERE lane = :lane AND ref_id = ANY(CAST(:ids AS bigint[]))")
    connection.execute(query, {"lane": MEASURE, "ids": list(webhook_events)})


def depending(connection: Connection, items: Collection[ItemKey]) -> set[Second]:
    """The states that these catalogue items had a part in, or would have."""
    found = connection.execute(DEPENDING, columns(items)) if items else ()
    return {(one.account, one.livemode, one.subscription, one.stated_at) for one in found}


def write(connection: Connection, found: Mapping[Second, tuple[Stated, Worth]]) -> None:
    """Put these in place of what stood for the same seconds."""
    rows = [_row(second, *found[second]) for second in sorted(found)]
    values = {
        "accounts": [row["account"] for row in rows],
        "livemodes": [row["livemode"] for row in rows],
        "ids": [row["subscription"] for row in rows],
        "times": [row["stated_at"] for row in rows],
    }
    connection.execute(CLEAR, values)
    insert_rows(connection, subscription_states, rows)


def _row(second: Second, last: Stated, worth: Worth) -> dict[str, Any]:
    account, livemode, subscription, stated_at = second
    return {
        "account": account,
        "livemode": livemode,
        "subscription": subscription,
        "stated_at": stated_at,
        "customer": last.snapshot.customer,
        "currency": currency_of(last.snapshot),
        "status": last.snapshot.status,
        "churn": churn_of(last.snapshot),
        "minor": worth.minor,
        "missing": _names(worth.missing),
        "asked": _names(worth.asked),
        "discount_ends_at": worth.discount_ends_at,
        "minor_after": worth.minor_after,
    }


def _names(keys: Collection[Key]) -> list[str]:
    return sorted(f"{kind}:{item_id}" for kind, item_id in keys)


def lacking(connection: Connection, limit: int, again_after: float) -> list[Lacking]:
    """Up to `limit` missing items that Stripe's API was not asked for in so many seconds."""
    found = []
    for row in connection.execute(LACKING, {"limit": limit, "again_after": again_after}):
        kind, _, item_id = row.item.partition(":")
        key = (row.account, row.livemode, kind, item_id)
        found.append(Lacking(key=key, subscription=row.subscription))
    return found
