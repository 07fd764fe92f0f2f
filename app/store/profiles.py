"""What is known of customers now: their subscriptions as last stated, and what they paid."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, text

from app.core.money import Money
from app.core.profile import Paid, Subscribed, describe
from app.core.worth.last_stated import last_stated
from app.store import subscriptions
from app.store.identities import Scoped, columns
from app.store.subscriptions import Second

# MRR is measured apart: of a second that was not measured since, or not as it stands, none is told.
SUBSCRIPTIONS = text("""
SELECT l.*, m.status,
       CASE WHEN m.discount_ends_at <= clock_timestamp() THEN m.minor_after ELSE m.minor END
           AS minor
FROM (
    SELECT s.account, s.livemode, s.customer, s.subscription, max(s.stated_at) AS stated_at
    FROM subscription_snapshots s
    JOIN unnest(CAST(:accounts AS text[]), CAST(:livemodes AS boolean[]), CAST(:ids AS text[]))
        AS o (account, livemode, id)
      ON s.customer = o.id AND s.account = o.account AND s.livemode = o.livemode
    GROUP BY 1, 2, 3, 4
) l
LEFT JOIN subscription_states m USING (account, livemode, subscription, stated_at)
""")
# Refunds and disputes name no customer: theirs is their payment's.
PAID = text("""
WITH asked AS (
    SELECT * FROM unnest(CAST(:accounts AS text[]), CAST(:livemodes AS boolean[]),
                         CAST(:ids AS text[])) AS o (account, livemode, customer)
), own AS (
    SELECT e.* FROM revenue_entries e JOIN asked USING (account, livemode, customer)
), payment AS (
    SELECT p.account, p.livemode, p.customer, p.payment AS id
    FROM payments p JOIN asked USING (account, livemode, customer)
    UNION
    SELECT account, livemode, customer, coalesce(payment_intent, charge) FROM own
    WHERE coalesce(payment_intent, charge) IS NOT NULL
), entry AS (
    SELECT account, livemode, customer, kind, minor, currency, occurred_at FROM own
    UNION ALL
    SELECT p.account, p.livemode, p.customer, e.kind, e.minor, e.currency, e.occurred_at
    FROM payment p JOIN revenue_entries e
      ON coalesce(e.payment_intent, e.charge) = p.id AND e.customer IS NULL
     AND e.account = p.account AND e.livemode = p.livemode
)
SELECT account, livemode, customer, currency, sum(minor)::bigint AS minor,
       count(*) FILTER (WHERE kind = 'payment') AS payments,
       min(occurred_at) FILTER (WHERE kind = 'payment') AS first_paid_at
FROM entry GROUP BY 1, 2, 3, 4
""")


def of(connection: Connection, customers: Collection[Scoped]) -> Mapping[Scoped, dict[str, Any]]:
    """The profile of each of these customers, in three queries for all of them."""
    if not customers:
        return {}
    subscribed = _subscribed(connection, customers)
    paid = _paid(connection, customers)
    return {one: describe(subscribed.get(one, ()), paid.get(one, ())) for one in customers}


def _subscribed(
    connection: Connection, customers: Collection[Scoped]
) -> Mapping[Scoped, list[Subscribed]]:
    rows = connection.execute(SUBSCRIPTIONS, columns(customers)).all()
    seconds: list[Second] = [(r.account, r.livemode, r.subscription, r.stated_at) for r in rows]
    stated = subscriptions.stated(connection, seconds) if seconds else {}
    found: dict[Scoped, list[Subscribed]] = defaultdict(list)
    for row, second in zip(rows, seconds, strict=True):
        snapshot = last_stated(stated[second]).snapshot
        minor = row.minor if row.status == snapshot.status else None
        customer = (row.account, row.livemode, row.customer)
        found[customer].append(Subscribed(snapshot=snapshot, minor=minor))
    return found


def _paid(connection: Connection, customers: Collection[Scoped]) -> Mapping[Scoped, list[Paid]]:
    found: dict[Scoped, list[Paid]] = defaultdict(list)
    for row in connection.execute(PAID, columns(customers)):
        one = Paid(
            money=Money(row.minor, row.currency),
            payments=row.payments,
            first_paid_at=row.first_paid_at,
        )
        found[(row.account, row.livemode, row.customer)].append(one)
    return found
