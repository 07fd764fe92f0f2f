"""Deliveries and their attempts: what each destination is owed, and how far that got."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from app.store import work
from app.store.bulk import insert_rows
from app.store.schema import attempts, deliveries

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


def owe(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert deliveries (destination, analytics_event_id, dedupe_id, state, payload, reason,
    historical) and put the pending ones to work."""
    if not rows:
        return
    owed = insert_rows(connection, deliveries, rows, returning=("id", "destination", "state"))
    pending: dict[str, list[int]] = {}
    for row in owed:
        if row.state == "pending":
            pending.setdefault(row.destination, []).append(row.id)
    for destination, ids in pending.items():
        work.put(connection, work.lane_of(destination), ids)


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
    now, and when; those of which none did are left out."""
    query = text("""
        SELECT d.id, coalesce(l.last_stated_at, l.stated_at) AS stated_at, l.consent
        FROM deliveries d JOIN analytics_events e ON e.id = d.analytics_event_id
        CROSS JOIN LATERAL unnest(e.about || e.customer || e.subscription || e.invoice) AS o (id)
        JOIN identity_links l ON l.object_id = o.id AND l.account = e.account
         AND l.livemode = e.livemode AND l.consent IS NOT NULL
        WHERE d.id = ANY(CAST(:ids AS bigint[]))
    """)
    found: dict[int, list[tuple[datetime, str]]] = {}
    for row in connection.execute(query, {"ids": list(ids)}):
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


@dataclass(frozen=True, slots=True)
class Dead:
    """A dead delivery; `age` is seconds since it was owed."""

    id: int
    destination: str
    age: float
    reason: str


def find_dead(connection: Connection, ids: Sequence[int], *, every: bool) -> list[Dead]:
    """The dead among these deliveries, or every dead one."""
    query = text("""
        SELECT id, destination, coalesce(reason, '') AS reason,
               extract(epoch FROM clock_timestamp() - created_at)::float8 AS age
        FROM deliveries WHERE state = 'dead' AND (:every OR id = ANY(CAST(:ids AS bigint[])))
        ORDER BY id
    """)
    rows = connection.execute(query, {"ids": list(ids), "every": every})
    return [Dead(row.id, row.destination, row.age, row.reason) for row in rows]


def retry(connection: Connection, ids: Sequence[int]) -> int:
    """Send dead deliveries again, with the same payload and dedupe id."""
    query = text("""
        WITH again AS (
            UPDATE deliveries SET state = 'pending', reason = NULL, finished_at = NULL
            WHERE id = ANY(CAST(:ids AS bigint[])) AND state = 'dead' RETURNING id, destination
        )
        INSERT INTO work (lane, ref_id) SELECT 'to:' || destination, id FROM again
        ON CONFLICT DO NOTHING
    """)
    return connection.execute(query, {"ids": list(ids)}).rowcount
