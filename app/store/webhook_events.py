"""The inbox: each webhook event kept once, then given one verdict."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, text

from app.core.envelope import Envelope
from app.store import sought, work
from app.store.bulk import insert_rows
from app.store.schema import hydrations
from app.store.sought import WebhookEvents

BACKFILL = "backfill"  # the origin of what was made of an object as it is now
MANUAL = "manual"  # and of what a person said by a command

# Keys, events and work rows in one statement: for each webhook event all three stand, or none.
# For the driver as it is: %b sends binary arrays, which cost a tenth of SQLAlchemy's text ones.
KEEP = """
WITH given AS (
    SELECT * FROM unnest(%(accounts)b::text[], %(livemodes)b::boolean[], %(event_ids)b::text[],
        %(types)b::text[], %(createds)b::timestamptz[], %(api_versions)b::text[],
        %(origins)b::text[], %(raws)b::bytea[])
        AS g (account, livemode, event_id, type, created, api_version, origin, raw)
), kept AS (
    INSERT INTO webhook_event_keys (account, livemode, event_id)
    SELECT account, livemode, event_id FROM given
    ON CONFLICT DO NOTHING RETURNING id, account, livemode, event_id
), event AS (
    INSERT INTO webhook_events
        (id, account, livemode, event_id, type, created, api_version, origin, raw)
    SELECT k.id, g.account, g.livemode, g.event_id, g.type, g.created, g.api_version, g.origin,
        g.raw FROM kept k JOIN given g USING (account, livemode, event_id)
), due AS (
    INSERT INTO work (lane, ref_id) SELECT 'process', id FROM kept
)
SELECT account, livemode, event_id FROM kept
"""

# The rows stay locked until the transaction ends: a worker that dies gives them back at once.
CLAIM = text("""
WITH claimed AS (
    SELECT ref_id FROM work
    WHERE lane = 'process' AND due_at <= clock_timestamp() AND ref_id > :after
    ORDER BY ref_id LIMIT :limit FOR UPDATE SKIP LOCKED
)
SELECT e.id, e.account, e.livemode, e.event_id, e.type, e.created, e.origin, e.raw,
       h.body AS hydrated, e.erased_at IS NOT NULL AS erased
FROM claimed c JOIN webhook_events e ON e.id = c.ref_id
LEFT JOIN hydrations h ON h.webhook_event_id = e.id ORDER BY e.id
""")

DECIDE = text("""
WITH decided AS (
    SELECT * FROM unnest(
        CAST(:ids AS bigint[]), CAST(:verdicts AS text[]), CAST(:reasons AS text[])
    ) AS d (id, verdict, reason)
), done AS (
    DELETE FROM work w USING decided d WHERE w.lane = 'process' AND w.ref_id = d.id
    RETURNING d.id, d.verdict, d.reason
)
UPDATE webhook_events e
SET verdict = d.verdict, reason = d.reason, decided_at = clock_timestamp()
FROM done d WHERE e.id = d.id
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A webhook event as it was kept; `raw` are the exact signed bytes, `hydrated` what Stripe's
    API said a thin one is about. `fetched`: its object is of a later moment than it is. `erased`:
    its person was forgotten, so there are no bytes to read."""

    id: int
    account: str
    livemode: bool
    event_id: str
    type: str
    created: datetime
    origin: str
    raw: bytes
    hydrated: bytes | None = None
    fetched: bool = False
    erased: bool = False


@dataclass(frozen=True, slots=True)
class Arrived:
    """A webhook event on its way to be kept. `origin`: webhook, thin, or what fetched it."""

    envelope: Envelope
    raw: bytes
    origin: str

    @property
    def key(self) -> tuple[str, bool, str]:
        return self.envelope.account, self.envelope.livemode, self.envelope.event_id


@dataclass(frozen=True, slots=True)
class Verdict:
    """`verdict`: processed, ignored, held (a thin one, until its object is fetched) or quarantined;
    `reason` says why it is not processed."""

    id: int
    verdict: str
    reason: str | None = None


def keep(connection: Connection, envelope: Envelope, raw: bytes, origin: str) -> bool:
    """Keep one webhook event; False if it was kept before. The caller commits."""
    return keep_all(connection, [Arrived(envelope, raw, origin)])[0]


def keep_all(connection: Connection, arrived: Sequence[Arrived]) -> list[bool]:
    """Keep webhook events in one statement; False for each that was kept before."""
    # In one order for all: two transactions that keep the same events must not cross.
    by_key = {one.key: one for one in sorted(arrived, key=lambda one: one.key)}
    rows = list(by_key.values())
    values = {
        "accounts": [one.envelope.account for one in rows],
        "livemodes": [one.envelope.livemode for one in rows],
        "event_ids": [one.envelope.event_id for one in rows],
        "types": [one.envelope.type for one in rows],
        "createds": [one.envelope.created for one in rows],
        "api_versions": [one.envelope.api_version for one in rows],
        "origins": [one.origin for one in rows],
        "raws": [one.raw for one in rows],
    }
    new = {tuple(row): by_key[tuple(row)] for row in connection.exec_driver_sql(KEEP, values)}
    return [new.get(one.key) is one for one in arrived]


def claim(connection: Connection, limit: int, after: int = 0) -> list[Kept]:
    """Up to `limit` unprocessed webhook events, oldest first, locked until the commit."""
    found = connection.execute(CLAIM, {"limit": limit, "after": after})
    return [_kept(row) for row in found.mappings()]


KEPT = text("""
SELECT e.id, e.account, e.livemode, e.event_id, e.type, e.created, e.origin, e.raw,
       h.body AS hydrated, e.erased_at IS NOT NULL AS erased
FROM webhook_events e LEFT JOIN hydrations h ON h.webhook_event_id = e.id
WHERE e.id = ANY(CAST(:ids AS bigint[])) AND e.erased_at IS NULL
  AND NOT EXISTS (SELECT FROM work w WHERE w.lane = 'process' AND w.ref_id = e.id)
ORDER BY e.id
""")


def at_rest(connection: Connection, ids: Sequence[int]) -> list[Kept]:
    """Those of these that have bytes and do not wait to be processed; nothing is locked."""
    return [_kept(row) for row in connection.execute(KEPT, {"ids": list(ids)}).mappings()]


def _kept(row: RowMapping) -> Kept:
    hydrated = row["hydrated"]
    body = {"raw": bytes(row["raw"]), "hydrated": hydrated and bytes(hydrated)}
    return Kept(**{**row, **body, "fetched": row["origin"] == BACKFILL})


def decide(connection: Connection, verdicts: Sequence[Verdict]) -> None:
    """Write the verdicts of what is still at work, and take it off the work table."""
    connection.execute(
        DECIDE,
        {
            "ids": [v.id for v in verdicts],
            "verdicts": [v.verdict for v in verdicts],
            "reasons": [v.reason for v in verdicts],
        },
    )


def leave(connection: Connection, ids: Sequence[int]) -> None:
    """Take these off the work table with the verdict that they have."""
    work.drop(connection, work.PROCESS, ids)


def process_again(connection: Connection, ids: Sequence[int], rate: float | None = None) -> int:
    """Put kept webhook events back to work, as they are; how many. `rate`: so many a second.

    One that is being processed just now is waited for, and processed again after that.
    """
    again = text("""
        INSERT INTO work (lane, ref_id, due_at)
        SELECT 'process', id, clock_timestamp() + make_interval(secs => (n - 1) * :pause)
        FROM unnest(CAST(:ids AS bigint[])) WITH ORDINALITY AS o (id, n) ORDER BY id
        ON CONFLICT (lane, ref_id) DO UPDATE SET due_at = least(work.due_at, excluded.due_at)
    """)
    values = {"ids": sorted(ids), "pause": 1 / rate if rate else 0.0}
    return connection.execute(again, values).rowcount


def kept_of(
    connection: Connection, keys: Collection[tuple[str, bool, str]]
) -> set[tuple[str, bool, str]]:
    """Which of these (account, livemode, event id) are kept."""
    query = text("""
        SELECT k.account, k.livemode, k.event_id FROM webhook_event_keys k
        JOIN unnest(CAST(:accounts AS text[]), CAST(:livemodes AS boolean[]), CAST(:ids AS text[]))
            AS o (account, livemode, id)
          ON k.event_id = o.id AND k.account = o.account AND k.livemode = o.livemode
    """)
    ordered = sorted(keys)
    values = {
        "accounts": [account for account, _, _ in ordered],
        "livemodes": [livemode for _, livemode, _ in ordered],
        "ids": [event_id for _, _, event_id in ordered],
    }
    return {(row[0], row[1], row[2]) for row in connection.execute(query, values)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Thin:
    """A leased thin event that waits for its object. `age` is seconds since it was received."""

    id: int
    token: int
    attempts: int
    age: float
    account: str
    livemode: bool
    event_id: str
    type: str
    created: datetime
    raw: bytes


LEASE_THIN = text(f"""
{work.LEASED}
SELECT e.id, l.token, l.attempts,
       extract(epoch FROM clock_timestamp() - e.received_at)::float8 AS age,
       e.account, e.livemode, e.event_id, e.type, e.created, e.raw
FROM leased l JOIN webhook_events e ON e.id = l.ref_id ORDER BY e.id
""")


def await_objects(connection: Connection, ids: Sequence[int], delay: float = 0) -> None:
    """These thin events wait for `hydrate`, so many seconds for their twins alone."""
    if ids:
        waits = "waits for its snapshot twin, or Stripe's API"
        decide(connection, [Verdict(id_, "held", waits) for id_ in ids])
        work.put(connection, work.HYDRATE, ids, delay)


def lease_thin(connection: Connection, limit: int, seconds: float) -> list[Thin]:
    """Up to `limit` thin events whose object is to be fetched, ours for so many seconds."""
    values = {"lane": work.HYDRATE, "limit": limit, "lease": seconds}
    found = connection.execute(LEASE_THIN, values)
    return [Thin(**{**row, "raw": bytes(row["raw"])}) for row in found.mappings()]


def hydrated(connection: Connection, fetched: Mapping[int, tuple[int, bytes]]) -> None:
    """Keep what was fetched, {id: (token, body)}, and let it be processed."""
    ours = work.finish(connection, work.HYDRATE, {i: token for i, (token, _) in fetched.items()})
    rows = [{"webhook_event_id": id_, "body": fetched[id_][1]} for id_ in sorted(ours)]
    insert_rows(connection, hydrations, rows)
    process_again(connection, sorted(ours))


def end_thin(connection: Connection, ended: Mapping[int, tuple[int, str]], verdict: str) -> None:
    """Give thin events, {id: (token, reason)}, this verdict without an object of their own."""
    ours = work.finish(connection, work.HYDRATE, {i: token for i, (token, _) in ended.items()})
    query = text("""
        UPDATE webhook_events e
        SET verdict = :verdict, reason = v.reason, decided_at = clock_timestamp()
        FROM unnest(CAST(:ids AS bigint[]), CAST(:reasons AS text[])) AS v (id, reason)
        WHERE e.id = v.id
    """)
    ids = sorted(ours)
    reasons = [ended[id_][1] for id_ in ids]
    connection.execute(query, {"verdict": verdict, "ids": ids, "reasons": reasons})


@dataclass(frozen=True, slots=True)
class Found:
    """`erased`: its person was forgotten, so there are no bytes to read."""

    id: int
    event_id: str
    erased: bool
    verdict: str


def find(connection: Connection, wanted: WebhookEvents, limit: int | None = None) -> list[Found]:
    """Such webhook events, the oldest first; at most `limit`."""
    where = sought.webhook_events(connection, wanted)
    query = text(f"""
        SELECT e.id, e.event_id, e.erased_at IS NOT NULL AS erased,
               coalesce(e.verdict, 'waiting') AS verdict FROM webhook_events e
        WHERE {where.sql} ORDER BY e.id LIMIT :limit
    """)
    rows = connection.execute(query, {**where.values, "limit": limit})
    return [Found(row.id, row.event_id, row.erased, row.verdict) for row in rows]


UNREAD = ("quarantined", "held")  # verdicts that a person may close
IGNORE = text("""
WITH theirs AS (
    SELECT id FROM webhook_events e
    WHERE id = ANY(CAST(:ids AS bigint[])) AND verdict = ANY(CAST(:unread AS text[]))
      AND NOT EXISTS (SELECT FROM work w WHERE w.lane = 'process' AND w.ref_id = e.id)
), unasked AS (
    DELETE FROM work w USING theirs t WHERE w.lane = 'hydrate' AND w.ref_id = t.id
)
UPDATE webhook_events e
SET verdict = 'ignored', reason = :reason, decided_at = clock_timestamp()
FROM theirs t WHERE e.id = t.id AND e.verdict = ANY(CAST(:unread AS text[]))
""")


def ignore(connection: Connection, ids: Sequence[int], reason: str) -> int:
    """Read these no more, which are quarantined or held; how many. What waits to be processed is
    left to that."""
    values = {"ids": list(ids), "unread": list(UNREAD), "reason": reason}
    return connection.execute(IGNORE, values).rowcount


def verdicts_of(connection: Connection, ids: Sequence[int]) -> dict[str, int]:
    """How many of these have which verdict; `waiting` are those yet to be processed."""
    query = text("""
        SELECT CASE WHEN w.ref_id IS NULL THEN coalesce(e.verdict, 'waiting') ELSE 'waiting' END,
               count(*)
        FROM webhook_events e LEFT JOIN work w ON w.lane = 'process' AND w.ref_id = e.id
        WHERE e.id = ANY(CAST(:ids AS bigint[])) GROUP BY 1
    """)
    return {row[0]: row[1] for row in connection.execute(query, {"ids": list(ids)})}
