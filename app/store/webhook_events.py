"""The inbox: each webhook event kept once, then given one verdict."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, text

from app.core.envelope import Envelope
from app.store import work
from app.store.bulk import insert_rows
from app.store.schema import hydrations

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
       h.body AS hydrated
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
    API said a thin one is about. `fetched`: its object is of a later moment than it is."""

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


def _kept(row: RowMapping) -> Kept:
    hydrated = row["hydrated"]
    return Kept(**{**row, "raw": bytes(row["raw"]), "hydrated": hydrated and bytes(hydrated)})


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


def process_again(connection: Connection, ids: Sequence[int]) -> int:
    """Put kept webhook events back to work, as they are; how many.

    One that is being processed just now is waited for, and processed again after that.
    """
    again = text("""
        INSERT INTO work (lane, ref_id)
        SELECT 'process', id FROM unnest(CAST(:ids AS bigint[])) AS id ORDER BY id
        ON CONFLICT (lane, ref_id) DO UPDATE SET due_at = clock_timestamp()
    """)
    return connection.execute(again, {"ids": sorted(ids)}).rowcount


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
    id: int
    event_id: str


def find(connection: Connection, event_ids: Sequence[str], *, quarantined: bool) -> list[Found]:
    """Kept webhook events of these ids, and with `quarantined` all that are."""
    query = text("""
        SELECT id, event_id FROM webhook_events WHERE event_id = ANY(CAST(:ids AS text[]))
           OR (:quarantined AND verdict = 'quarantined') ORDER BY id
    """)
    rows = connection.execute(query, {"ids": list(event_ids), "quarantined": quarantined})
    return [Found(row.id, row.event_id) for row in rows]
