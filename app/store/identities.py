"""Identity links, which Stripe object belongs to which, and the join locks over both."""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from app.core.facts import Link, Ref
from app.store.bulk import insert_rows
from app.store.schema import identity_links, stripe_refs

# Said again, a statement keeps its first and last times, whichever came first; and once an anchor,
# always.
SAID_AGAIN = """
    (object_id, account, livemode, source, digest) DO UPDATE
    SET stated_at = least(identity_links.stated_at, excluded.stated_at),
        last_stated_at = greatest(identity_links.last_stated_at, excluded.last_stated_at),
        completed_at = least(identity_links.completed_at, excluded.completed_at),
        anchor = identity_links.anchor OR excluded.anchor
    WHERE excluded.stated_at < identity_links.stated_at
       OR excluded.last_stated_at > identity_links.last_stated_at
       OR excluded.completed_at < identity_links.completed_at
       OR (excluded.anchor AND NOT identity_links.anchor)
"""

Scope = tuple[str, bool]  # account, livemode
Scoped = tuple[str, bool, str]  # account, livemode, Stripe id
QUIET = 7_203_514_007  # an advisory lock: shared by whoever writes what persons' objects say
MAX_CLIMB = 4  # refund -> payment intent -> invoice -> subscription -> customer

# OFFSET 0: each is looked up by its index. Of a recursion's size Postgres expects so much that it
# would read the whole table.
CLIMB = text("""
WITH RECURSIVE up AS (
    SELECT o.account, o.livemode, o.id AS child, 0 AS depth
    FROM unnest(CAST(:accounts AS text[]), CAST(:livemodes AS boolean[]), CAST(:ids AS text[]))
        AS o (account, livemode, id)
    UNION
    SELECT u.account, u.livemode, r.parent, u.depth + 1
    FROM up u CROSS JOIN LATERAL (
        SELECT parent, customer FROM stripe_refs
        WHERE child = u.child AND account = u.account AND livemode = u.livemode OFFSET 0
    ) AS r
    WHERE NOT r.customer AND u.depth < :depth
)
SELECT DISTINCT u.account, u.livemode, u.child, r.parent, r.customer
FROM up u CROSS JOIN LATERAL (
    SELECT parent, customer FROM stripe_refs
    WHERE child = u.child AND account = u.account AND livemode = u.livemode OFFSET 0
) AS r
""")

LINKS = text("""
SELECT l.* FROM identity_links l
JOIN unnest(CAST(:accounts AS text[]), CAST(:livemodes AS boolean[]), CAST(:ids AS text[]))
    AS o (account, livemode, id)
  ON l.object_id = o.id AND l.account = o.account AND l.livemode = o.livemode
""")


class Refs:
    """Who belongs to whom, as far as it is known: climbed from an object to its customer."""

    def __init__(self) -> None:
        self._parents: dict[Scoped, dict[str, bool]] = defaultdict(dict)

    def add(self, scope: Scope, ref: Ref) -> None:
        self._parents[(*scope, ref.child)][ref.parent] = ref.customer

    def merge(self, other: "Refs") -> None:
        for child, parents in other._parents.items():
            self._parents[child] |= parents

    def climb(self, scope: Scope, about: Sequence[str]) -> tuple[list[str], list[str]]:
        """(ids from `about` upwards, nearest first; customers found on the way)."""
        way = list(about)
        customers: list[str] = []
        for one in way:  # grows while it is walked
            for parent, is_customer in sorted(self._parents[(*scope, one)].items()):
                found = customers if is_customer else way
                if parent not in found:
                    found.append(parent)
        return way, customers

    def ids(self) -> set[Scoped]:
        return {
            (account, livemode, one)
            for (account, livemode, child), parents in self._parents.items()
            for one in (child, *parents)
        }


def columns(objects: Iterable[Scoped]) -> dict[str, list[object]]:
    ordered = sorted(objects)
    return {
        "accounts": [account for account, _, _ in ordered],
        "livemodes": [livemode for _, livemode, _ in ordered],
        "ids": [one for _, _, one in ordered],
    }


def lock(connection: Connection, objects: Collection[Scoped]) -> None:
    """Take the join lock of every one of these Stripe ids, in one order for all, until the commit.

    Two transactions may each hold one half of a join; without the lock neither sees the other's.
    """
    keys = sorted({_lock_key(one) for one in objects})
    query = text("""
        WITH loud AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(:quiet))
        SELECT pg_advisory_xact_lock(k)
        FROM loud LEFT JOIN unnest(CAST(:keys AS bigint[])) AS k ON true
    """)
    connection.execute(query, {"keys": keys, "quiet": QUIET})


def await_quiet(connection: Connection) -> None:
    """Wait until every transaction that took join locks before now has ended; the next ones wait
    for ours, which had better end at once."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:quiet)"), {"quiet": QUIET})


def try_lock(connection: Connection, objects: Collection[Scoped]) -> bool:
    """The same for ids found after the first lock: never waits, since the order is broken."""
    keys = sorted({_lock_key(one) for one in objects})
    query = text(
        "SELECT bool_and(pg_try_advisory_xact_lock(k)) FROM unnest(CAST(:keys AS bigint[])) AS k"
    )
    return bool(connection.execute(query, {"keys": keys}).scalar_one())


def _lock_key(one: Scoped) -> int:
    digest = hashlib.blake2b("|".join(map(str, one)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def now(connection: Connection) -> datetime:
    """The database's clock."""
    found: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return found


def scopes_of(connection: Connection, object_id: str) -> list[Scope]:
    """The accounts and modes in which this Stripe id is known."""
    query = text("""
        SELECT DISTINCT account, livemode FROM stripe_refs WHERE :id IN (child, parent)
        UNION SELECT account, livemode FROM identity_links WHERE object_id = :id
        UNION SELECT account, livemode FROM analytics_events
              WHERE :id IN (customer, subscription, invoice) OR :id = ANY(about)
        ORDER BY 1, 2
    """)
    return [(row[0], row[1]) for row in connection.execute(query, {"id": object_id})]


def refs_of(connection: Connection, objects: Collection[Scoped]) -> Refs:
    """All refs on the way up from these objects."""
    refs = Refs()
    for row in connection.execute(CLIMB, {**columns(objects), "depth": MAX_CLIMB}):
        refs.add((row.account, row.livemode), Ref(row.child, row.parent, customer=row.customer))
    return refs


def add_refs(connection: Connection, refs: Iterable[tuple[Scope, Ref]]) -> None:
    rows = [
        {
            "account": account,
            "livemode": livemode,
            "child": ref.child,
            "parent": ref.parent,
            "customer": ref.customer,
        }
        for (account, livemode), ref in refs
    ]
    insert_rows(connection, stripe_refs, rows)


def add_links(connection: Connection, links: Iterable[tuple[Scope, Link]]) -> None:
    """A row per object that the link speaks for, its customer too if it says anything."""
    rows: dict[tuple[object, ...], dict[str, object]] = {}
    for (account, livemode), link in links:
        digest, speaks = _digest(link), bool(link.ids or link.campaign or link.consent)
        customer = [link.customer] if link.customer and speaks else []
        for object_id in (*link.objects, *customer):
            row: dict[str, object] = {
                "account": account,
                "livemode": livemode,
                "object_id": object_id,
                "source": link.source,
                "rank": link.rank,
                "ids": dict(link.ids),
                "campaign": dict(link.campaign),
                "consent": link.consent,
                "stated_at": link.stated_at,
                "last_stated_at": link.stated_at,
                "completed_at": link.completed_at,
                "digest": digest,
                "anchor": link.anchor,
            }
            key = (account, livemode, object_id, link.source, digest)
            rows[key] = _said_twice(rows[key], row) if key in rows else row
    insert_rows(connection, identity_links, list(rows.values()), conflict=SAID_AGAIN)


def _said_twice(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Two statements of the same in one batch, as SAID_AGAIN would leave them."""
    visits = [row["completed_at"] for row in (one, other) if row["completed_at"] is not None]
    return {
        **one,
        "stated_at": min(one["stated_at"], other["stated_at"]),
        "last_stated_at": max(one["last_stated_at"], other["last_stated_at"]),
        "completed_at": min(visits, default=None),
        "anchor": one["anchor"] or other["anchor"],
    }


def _digest(link: Link) -> str:
    """What the link says: said again, it is the same row."""
    said = (sorted(link.ids.items()), sorted(link.campaign.items()), link.consent)
    return hashlib.blake2b(repr(said).encode(), digest_size=16).hexdigest()


def links_of(connection: Connection, objects: Collection[Scoped]) -> Mapping[Scoped, list[Link]]:
    """The links of each of these objects."""
    found: dict[Scoped, list[Link]] = defaultdict(list)
    for row in connection.execute(LINKS, columns(objects)):
        link = Link(
            objects=(row.object_id,),
            customer=None,
            source=row.source,
            rank=row.rank,
            ids=row.ids,
            campaign=row.campaign,
            consent=row.consent,
            stated_at=row.stated_at,
            completed_at=row.completed_at,
            anchor=row.anchor,
            last_stated_at=row.last_stated_at,
        )
        found[(row.account, row.livemode, row.object_id)].append(link)
    return found
