"""Whose the rows are: from some of Stripe's ids or a person's to all that is theirs. It reads whole
tables, which serves requests of people and nothing else."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, text

from app.core.person import OWNERS
from app.store.erasures import Owned, owned
from app.store.identities import Scope, Scoped, columns

EDGES = """
    SELECT account, livemode, child AS one, parent AS other FROM stripe_refs
    UNION ALL SELECT account, livemode, payment, session FROM payment_claims
    WHERE session IS NOT NULL
"""
FAMILY = text(f"""
WITH RECURSIVE edges AS MATERIALIZED (
    {EDGES} UNION ALL SELECT account, livemode, other, one FROM ({EDGES}) AS back
), family AS (
    SELECT o.account, o.livemode, o.id
    FROM unnest(CAST(:accounts AS text[]), CAST(:livemodes AS boolean[]), CAST(:ids AS text[]))
        AS o (account, livemode, id)
    UNION
    SELECT f.account, f.livemode, e.other FROM family f JOIN edges e
      ON e.one = f.id AND e.account = f.account AND e.livemode = f.livemode
)
SELECT * FROM family
""")


def family(connection: Connection, objects: Collection[Scoped]) -> set[Scoped]:
    """These Stripe ids and all that belong to them or that they belong to, however far."""
    found = connection.execute(FAMILY, columns(objects))
    return {(row.account, row.livemode, row.id) for row in found}


@dataclass(frozen=True, slots=True)
class Said:
    """An identity link, as far as it says whose it is."""

    id: int
    object: Scoped
    ids: Mapping[str, str]


def _said(rows: Iterable[Row[Any]]) -> list[Said]:
    return [Said(row.id, (row.account, row.livemode, row.object_id), row.ids) for row in rows]


def links_of(connection: Connection, objects: Collection[Scoped]) -> list[Said]:
    """What was said of these Stripe ids."""
    query = text("""
        SELECT l.id, l.account, l.livemode, l.object_id, l.ids FROM identity_links l
        JOIN unnest(CAST(:accounts AS text[]), CAST(:livemodes AS boolean[]), CAST(:ids AS text[]))
            AS o (account, livemode, id)
          ON l.object_id = o.id AND l.account = o.account AND l.livemode = o.livemode
    """)
    return _said(connection.execute(query, columns(objects)))


def shared(
    connection: Connection, ids: Collection[Owned], names: Collection[str], most: int
) -> set[Owned]:
    """Of these ids, those that more than so many have, of Stripe's customers and of checkouts that
    name neither customer nor user: a machine in a shop. They are nobody's."""
    query = text("""
        SELECT l.account, j.value FROM identity_links l
        CROSS JOIN LATERAL jsonb_each_text(l.ids) AS j
        JOIN unnest(CAST(:owners AS text[]), CAST(:values AS text[])) AS v (account, value)
          ON v.account = l.account AND v.value = j.value
        CROSS JOIN LATERAL (SELECT NOT l.ids ?| CAST(:owners_names AS text[]) AND NOT EXISTS (
            SELECT FROM stripe_refs r WHERE r.child = l.object_id AND r.account = l.account
              AND r.livemode = l.livemode AND r.customer) AS guest) AS g
        WHERE j.key = ANY(CAST(:names AS text[]))
        GROUP BY 1, 2 HAVING
            count(DISTINCT l.object_id) FILTER (WHERE l.object_id ~ '^(cus|acct)_')
            + greatest(count(DISTINCT l.object_id) FILTER (WHERE guest AND l.object_id ~ '^cs_'),
                       count(DISTINCT l.object_id) FILTER (WHERE guest AND l.object_id ~ '^pi_'))
            > :most
    """)
    named = {"names": sorted(names), "owners_names": sorted(OWNERS)}
    values = {**owned(ids), **named, "most": most}
    return {(row.account, row.value) for row in connection.execute(query, values)}


def links_with(
    connection: Connection, ids: Collection[Owned], names: Collection[str]
) -> list[Said]:
    """The links that hold one of these ids under one of these names."""
    query = text("""
        SELECT l.id, l.account, l.livemode, l.object_id, l.ids FROM identity_links l
        WHERE EXISTS (
            SELECT FROM jsonb_each_text(l.ids) AS j
            JOIN unnest(CAST(:owners AS text[]), CAST(:values AS text[])) AS v (account, value)
              ON v.account = l.account AND v.value = j.value
            WHERE j.key = ANY(CAST(:names AS text[])))
    """)
    return _said(connection.execute(query, {**owned(ids), "names": sorted(names)}))


def accounts(connection: Connection) -> list[str]:
    """Every account of which anything was said."""
    query = text("SELECT DISTINCT account FROM identity_links ORDER BY 1")
    return list(connection.execute(query).scalars())


def scopes_in_bytes(connection: Connection, value: str) -> list[Scope]:
    """The accounts and modes of webhook events that have this text as a whole in their bytes."""
    query = text("""
        SELECT DISTINCT e.account, e.livemode FROM webhook_events e
        LEFT JOIN hydrations h ON h.webhook_event_id = e.id
        CROSS JOIN unnest(CAST(:texts AS bytea[])) AS t (bytes)
        WHERE e.erased_at IS NULL
          AND (position(t.bytes IN e.raw) > 0 OR position(t.bytes IN h.body) > 0)
        ORDER BY 1, 2
    """)
    texts = {json.dumps(value, ensure_ascii=plain).encode() for plain in (True, False)}
    found = connection.execute(query, {"texts": sorted(texts)})
    return [(row.account, row.livemode) for row in found]


@dataclass(frozen=True, slots=True)
class AnalyticsEvent:
    id: int
    webhook_event: int | None
    objects: frozenset[Scoped]
    ids: Mapping[str, str]


def told_of(connection: Connection, objects: Collection[Scoped]) -> list[AnalyticsEvent]:
    """The analytics events about these Stripe ids, with all ids that they name."""
    query = text("""
        SELECT id, account, livemode, webhook_event_id, identity -> 'ids' AS ids,
               array_remove(about || customer || subscription || invoice, NULL) AS named
        FROM analytics_events
        WHERE about && CAST(:ids AS text[]) OR customer = ANY(CAST(:ids AS text[]))
           OR subscription = ANY(CAST(:ids AS text[])) OR invoice = ANY(CAST(:ids AS text[]))
    """)
    found = connection.execute(query, {"ids": sorted({one for _, _, one in objects})})
    told = []
    for row in found:
        named = frozenset((row.account, row.livemode, one) for one in row.named)
        if named & set(objects):
            told.append(AnalyticsEvent(row.id, row.webhook_event_id, named, row.ids or {}))
    return told


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytes:
    """A kept webhook event as bytes. `decided`: it has its verdict and is not at work again."""

    id: int
    account: str
    raw: bytes
    hydrated: bytes | None
    decided: bool
    quarantined: bool


def last_webhook_event(connection: Connection) -> int:
    return int(
        connection.execute(text("SELECT coalesce(max(id), 0) FROM webhook_events")).scalar_one()
    )


def webhook_events(connection: Connection, after: int, upto: int) -> list[Bytes]:
    """Those with an id in (after, upto] that still have their bytes."""
    query = text("""
        SELECT e.id, e.account, e.raw, h.body, e.verdict IN ('processed', 'ignored', 'quarantined')
               AND NOT EXISTS (SELECT FROM work w WHERE w.lane = 'process' AND w.ref_id = e.id)
               AS decided, coalesce(e.verdict = 'quarantined', false) AS quarantined
        FROM webhook_events e LEFT JOIN hydrations h ON h.webhook_event_id = e.id
        WHERE e.id > :after AND e.id <= :upto AND e.erased_at IS NULL
    """)
    found = connection.execute(query, {"after": after, "upto": upto})
    return [
        Bytes(
            id=row.id,
            account=row.account,
            raw=bytes(row.raw),
            hydrated=bytes(row.body) if row.body else None,
            decided=bool(row.decided),
            quarantined=row.quarantined,
        )
        for row in found
    ]


def destinations_of(connection: Connection, told: Sequence[int]) -> list[str]:
    """The destinations that may have these analytics events."""
    query = text("""
        SELECT DISTINCT destination FROM deliveries
        WHERE analytics_event_id = ANY(CAST(:told AS bigint[]))
          AND (state <> 'skipped' OR reason = 'erased') ORDER BY 1
    """)
    return list(connection.execute(query, {"told": list(told)}).scalars())
