"""Deliveries and their attempts: what each destination is owed, and how far that got."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from app.store import sought, work
from app.store.bulk import insert_rows
from app.store.identities import MAX_CLIMB
from app.store.schema import attempts, deliveries
from app.store.sought import Deliveries

SUSPECT = 3  # deaths of a worker with this row in hand before it is claimed alone; in work_suspects

# A lease that ended without its worker giving it back is that worker's death, unless Postgres
# itself was started again meanwhile: then the worker may have been unable to say.
CLAIM = """
WITH due AS (
    SELECT lane, ref_id FROM work
    WHERE lane = :lane AND due_at <= clock_timestamp() AND {which}
    ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE work w SET token = nextval('work_tokens'), leased = true,
        attempts = w.attempts + (NOT w.leased)::int,
        crashes = w.crashes + (w.leased
            AND coalesce(w.leased_at > pg_postmaster_start_time(), true))::int,
        leased_at = clock_timestamp(),
        due_at = clock_timestamp() + make_interval(secs => :lease)
    FROM due WHERE w.lane = due.lane AND w.ref_id = due.ref_id
    RETURNING w.ref_id, w.token, w.attempts, w.crashes, w.posting
)
SELECT c.*, d.dedupe_id, d.payload, d.historical,
       extract(epoch FROM clock_timestamp() - d.created_at)::float8 AS age,
       extract(epoch FROM clock_timestamp() - e.occurred_at)::float8 AS event_age
FROM claimed c JOIN deliveries d ON d.id = c.ref_id
JOIN analytics_events e ON e.id = d.analytics_event_id ORDER BY d.id
"""
CLAIM_MANY = text(CLAIM.format(which=f"crashes < {SUSPECT}"))
CLAIM_SUSPECT = text(CLAIM.format(which=f"crashes >= {SUSPECT}"))

# OFFSET 0: each is looked up by its index. Of a recursion's size Postgres expects so much that it
# would read both tables whole.
CONSENTS = text("""
WITH RECURSIVE around AS (
    SELECT d.id, e.account, e.livemode, o.id AS object, e.customer IS NULL AS climbs, 0 AS depth
    FROM deliveries d JOIN analytics_events e ON e.id = d.analytics_event_id
    CROSS JOIN LATERAL unnest(e.about || e.customer || e.subscription || e.invoice) AS o (id)
    WHERE d.id = ANY(CAST(:ids AS bigint[]))
    UNION
    SELECT a.id, a.account, a.livemode, r.parent, NOT r.customer, a.depth + 1
    FROM around a CROSS JOIN LATERAL (
        SELECT parent, customer FROM stripe_refs
        WHERE child = a.object AND account = a.account AND livemode = a.livemode OFFSET 0
    ) AS r
    WHERE a.climbs AND a.depth <= :depth
)
SELECT DISTINCT a.id, l.stated_at, l.consent
FROM around a CROSS JOIN LATERAL (
    SELECT coalesce(last_stated_at, stated_at) AS stated_at, consent FROM identity_links
    WHERE object_id = a.object AND account = a.account AND livemode = a.livemode
      AND consent IS NOT NULL OFFSET 0
) AS l
""")

FINISH = text("""
WITH ours AS (
    DELETE FROM work w USING unnest(
        CAST(:ids AS bigint[]), CAST(:tokens AS bigint[]), CAST(:states AS text[]),
        CAST(:reasons AS text[])
    ) AS v (id, token, state, reason)
    WHERE w.lane = :lane AND w.ref_id = v.id AND w.token = v.token
    RETURNING v.id, v.state, v.reason
)
UPDATE deliveries d SET state = ours.state, reason = ours.reason, finished_at = clock_timestamp()
FROM ours WHERE d.id = ours.id
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Leased:
    """A claimed delivery. `age` is seconds since it was owed, `event_age` since what it tells
    happened, on the database's clock. `posting`: its last worker died when it was being posted."""

    id: int
    token: int
    attempts: int
    crashes: int
    dedupe_id: UUID
    payload: bytes
    age: float
    event_age: float
    posting: bool
    historical: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try. `answer` is the first 500 characters of what came back."""

    delivery_id: int
    token: int
    started_at: datetime
    outcome: str
    status: int | None
    answer: str
    latency_ms: int


def owe(connection: Connection, rows: Sequence[Mapping[str, Any]], delay: float = 0) -> None:
    """Insert deliveries (destination, analytics_event_id, dedupe_id, state, payload, reason,
    historical) and put the pending ones to work, in so many seconds."""
    if not rows:
        return
    owed = insert_rows(connection, deliveries, rows, returning=("id", "destination", "state"))
    pending: dict[str, list[int]] = {}
    for row in owed:
        if row.state == "pending":
            pending.setdefault(row.destination, []).append(row.id)
    for destination, ids in pending.items():
        work.put(connection, work.lane_of(destination), ids, delay)


def claim(
    connection: Connection, lane: str, limit: int, lease: float, *, suspect_first: bool = False
) -> list[Leased]:
    """Lease up to `limit` due deliveries for `lease` seconds.

    Rows that were on a worker when it died three times are suspects: one is claimed by itself, so
    that it can take no neighbour down; when nothing else is due, or first if that is asked.
    """
    many, one = (CLAIM_MANY, limit), (CLAIM_SUSPECT, 1)
    for query, most in (one, many) if suspect_first else (many, one):
        rows = connection.execute(query, {"lane": lane, "lease": lease, "limit": most}).all()
        if rows:
            break
    return [
        Leased(
            id=row.ref_id,
            token=row.token,
            attempts=row.attempts,
            crashes=row.crashes,
            dedupe_id=row.dedupe_id,
            payload=bytes(row.payload),
            age=row.age,
            event_age=row.event_age,
            posting=row.posting,
            historical=row.historical,
        )
        for row in rows
    ]


def consents(
    connection: Connection, ids: Sequence[int]
) -> Mapping[int, Sequence[tuple[datetime, str]]]:
    """By delivery, every consent that its analytics event's own Stripe objects have stated until
    now, and when; those of which none did are left out. What names no customer, as refunds and
    disputes do not, is its payment's."""
    found: dict[int, list[tuple[datetime, str]]] = {}
    for row in connection.execute(CONSENTS, {"ids": list(ids), "depth": MAX_CLIMB}):
        found.setdefault(row.id, []).append((row.stated_at, row.consent))
    return found


def finish(
    connection: Connection, lane: str, done: Sequence[tuple[Leased, str, str | None]]
) -> int:
    """End these deliveries as (row, state, reason); how many were still ours to end."""
    if not done:
        return 0
    values = {
        "lane": lane,
        "ids": [row.id for row, _, _ in done],
        "tokens": [row.token for row, _, _ in done],
        "states": [state for _, state, _ in done],
        "reasons": [reason for _, _, reason in done],
    }
    return connection.execute(FINISH, values).rowcount


def record(connection: Connection, tries: Sequence[Attempt]) -> None:
    """Append attempts; a fenced worker's try is recorded as well, under its own token."""
    if tries:
        rows = [
            {
                "delivery_id": one.delivery_id,
                "token": one.token,
                "started_at": one.started_at,
                "outcome": one.outcome,
                "status": one.status,
                "answer": one.answer,
                "latency_ms": one.latency_ms,
            }
            for one in tries
        ]
        insert_rows(connection, attempts, rows)


def unsay(connection: Connection, ids: Sequence[int]) -> None:
    """Of people who were forgotten while these were on their way, what was answered is not kept."""
    query = text("""
        UPDATE attempts a SET answer = '' FROM deliveries d
        WHERE d.id = ANY(CAST(:ids AS bigint[])) AND d.reason = 'erased' AND a.delivery_id = d.id
    """)
    connection.execute(query, {"ids": list(ids)})


@dataclass(frozen=True, slots=True)
class Found:
    """A delivery as a person sees it. `age` is seconds since it was owed, `due_in` until it is
    tried; None when it is at no worker's."""

    id: int
    destination: str
    state: str
    age: float
    reason: str
    due_in: float | None


def find(connection: Connection, wanted: Deliveries, limit: int | None = None) -> list[Found]:
    """Such deliveries, the oldest first; at most `limit`."""
    where = sought.deliveries(connection, wanted)
    query = text(f"""
        SELECT d.id, d.destination, d.state, coalesce(d.reason, '') AS reason,
               extract(epoch FROM clock_timestamp() - d.created_at)::float8 AS age,
               extract(epoch FROM w.due_at - clock_timestamp())::float8 AS due_in
        FROM deliveries d LEFT JOIN work w ON w.lane = 'to:' || d.destination AND w.ref_id = d.id
        WHERE {where.sql} ORDER BY d.id LIMIT :limit
    """)
    rows = connection.execute(query, {**where.values, "limit": limit})
    return [Found(**row) for row in rows.mappings()]


# A worker's row is left to it; the others are due at once, or one after the other.
RETRY = text("""
WITH asked AS (
    SELECT o.id, d.destination, d.state,
           clock_timestamp() + make_interval(secs => (o.n - 1) * :pause) AS due_at
    FROM unnest(CAST(:ids AS bigint[])) WITH ORDINALITY AS o (id, n)
    JOIN deliveries d ON d.id = o.id
), again AS (
    UPDATE deliveries d SET state = 'pending', reason = NULL, finished_at = NULL
    FROM asked a WHERE d.id = a.id AND d.state = 'dead' AND d.payload IS NOT NULL
    RETURNING d.id, d.destination, a.due_at
), sooner AS (
    UPDATE work w SET due_at = least(w.due_at, a.due_at)
    FROM asked a WHERE a.state = 'pending' AND w.lane = 'to:' || a.destination AND w.ref_id = a.id
      AND NOT w.leased RETURNING w.ref_id
), put AS (
    INSERT INTO work (lane, ref_id, due_at, attempts)
    SELECT 'to:' || destination, id, due_at,
           (destination = ANY(CAST(:windowed AS text[])))::int FROM again
    ON CONFLICT DO NOTHING
)
SELECT (SELECT count(*) FROM again) + (SELECT count(*) FROM sooner)
""")


def retry(
    connection: Connection,
    ids: Sequence[int],
    rate: float | None = None,
    windowed: Collection[str] = (),
) -> int:
    """Send dead deliveries again, with the same payload and dedupe id, and waiting ones now rather
    than at their next try; how many. `rate`: so many a second. Those to `windowed` destinations
    count as tried before, so that their worker looks at their age once more."""
    values = {"ids": sorted(ids), "pause": 1 / rate if rate else 0.0, "windowed": list(windowed)}
    return int(connection.execute(RETRY, values).scalar_one())


# Work rows go first, as a worker that finishes takes them: then no two can wait for each other.
SKIP = text("""
WITH theirs AS (
    SELECT id, destination FROM deliveries
    WHERE id = ANY(CAST(:ids AS bigint[])) AND state IN ('pending', 'dead')
), gone AS (
    DELETE FROM work w USING theirs t WHERE w.lane = 'to:' || t.destination AND w.ref_id = t.id
    RETURNING w.leased
), skipped AS (
    UPDATE deliveries d SET state = 'skipped', reason = :reason, finished_at = clock_timestamp()
    FROM theirs t WHERE d.id = t.id AND d.state IN ('pending', 'dead')
      AND (SELECT count(*) FROM gone) >= 0
    RETURNING d.id
)
SELECT (SELECT count(*) FROM skipped) AS skipped,
       (SELECT count(*) FROM gone WHERE leased) AS leased
""")


def skip(connection: Connection, ids: Sequence[int], reason: str) -> tuple[int, int]:
    """Never send these, pending or dead; whoever has one leased is fenced. How many, and how many
    of them a worker had in hand, which may arrive all the same."""
    row = connection.execute(SKIP, {"ids": sorted(ids), "reason": reason}).one()
    return row.skipped, row.leased


def states_of(connection: Connection, ids: Sequence[int]) -> dict[str, int]:
    """How many of these are in which state."""
    query = text("""
        SELECT state, count(*) FROM deliveries WHERE id = ANY(CAST(:ids AS bigint[])) GROUP BY 1
    """)
    return {row[0]: row[1] for row in connection.execute(query, {"ids": list(ids)})}
