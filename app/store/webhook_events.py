"""The inbox: each webhook event kept once, then given one verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from app.core.envelope import Envelope

# Keys, event and work row in one statement: either all three stand, or none.
KEEP = text("""
WITH kept AS (
    INSERT INTO webhook_event_keys (account, livemode, event_id)
    VALUES (:account, :livemode, :event_id)
    ON CONFLICT DO NOTHING RETURNING id
), event AS (
    INSERT INTO webhook_events
        (id, account, livemode, event_id, type, created, api_version, origin, raw)
    SELECT id, :account, :livemode, :event_id, :type, :created, :api_version, :origin, :raw
    FROM kept RETURNING id
)
INSERT INTO work (lane, ref_id) SELECT 'process', id FROM event
""")

# The rows stay locked until the transaction ends: a worker that dies gives them back at once.
CLAIM = text("""
WITH claimed AS (
    SELECT ref_id FROM work
    WHERE lane = 'process' AND due_at <= clock_timestamp() AND ref_id > :after
    ORDER BY ref_id LIMIT :limit FOR UPDATE SKIP LOCKED
)
SELECT e.id, e.received_at, e.account, e.livemode, e.event_id, e.type, e.created, e.origin, e.raw
FROM claimed c JOIN webhook_events e ON e.id = c.ref_id ORDER BY e.id
""")

DECIDE = text("""
WITH decided AS (
    SELECT * FROM unnest(
        CAST(:ids AS bigint[]), CAST(:verdicts AS text[]), CAST(:reasons AS text[])
    ) AS d (id, verdict, reason)
), done AS (
    DELETE FROM work w USING decided d WHERE w.lane = 'process' AND w.ref_id = d.id
)
UPDATE webhook_events e
SET verdict = d.verdict, reason = d.reason, decided_at = clock_timestamp()
FROM decided d WHERE e.id = d.id
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A webhook event as it was kept; `raw` are the exact signed bytes."""

    id: int
    received_at: datetime
    account: str
    livemode: bool
    event_id: str
    type: str
    created: datetime
    origin: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """`verdict`: processed, ignored, or quarantined; `reason` says why it is not processed."""

    id: int
    verdict: str
    reason: str | None = None


def keep(connection: Connection, envelope: Envelope, raw: bytes, origin: str) -> bool:
    """Keep one webhook event; False if it was kept before. The caller commits."""
    values = {
        "account": envelope.account,
        "livemode": envelope.livemode,
        "event_id": envelope.event_id,
        "type": envelope.type,
        "created": envelope.created,
        "api_version": envelope.api_version,
        "origin": origin,
        "raw": raw,
    }
    return connection.execute(KEEP, values).rowcount == 1


def claim(connection: Connection, limit: int, after: int = 0) -> list[Kept]:
    """Up to `limit` unprocessed webhook events, oldest first, locked until the commit."""
    found = connection.execute(CLAIM, {"limit": limit, "after": after})
    return [Kept(**{**row, "raw": bytes(row["raw"])}) for row in found.mappings()]


def decide(connection: Connection, verdicts: Sequence[Verdict]) -> None:
    """Write the verdicts and take their rows off the work table."""
    connection.execute(
        DECIDE,
        {
            "ids": [v.id for v in verdicts],
            "verdicts": [v.verdict for v in verdicts],
            "reasons": [v.reason for v in verdicts],
        },
    )


def process_again(connection: Connection, ids: Sequence[int]) -> int:
    """Put kept webhook events back to work, as they are; how many were not waiting already."""
    again = text("""
        INSERT INTO work (lane, ref_id) SELECT 'process', unnest(CAST(:ids AS bigint[]))
        ON CONFLICT DO NOTHING
    """)
    return connection.execute(again, {"ids": list(ids)}).rowcount


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
