"""The schedule: which rows are due in which lane, and who holds them.

Lanes: `process` (webhook events), `release` (held analytics events), `to:<destination>`, and with
webhook events again: `measure` (of subscriptions and prices), `hydrate` (thin ones), `ask` (of
payments that nobody claims).
All times are the database's clock; `due_at` doubles as the end of a lease, so what a dead worker
held falls due by itself. A token fences: whoever lost a lease can change nothing.
"""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, text

PROCESS, RELEASE = "process", "release"
MEASURE, HYDRATE, ASK = "measure", "hydrate", "ask"

# Up to :limit due rows of :lane, ours for :lease seconds, each with a new token.
LEASED = """
WITH due AS (
    SELECT lane, ref_id FROM work WHERE lane = :lane AND due_at <= clock_timestamp()
    ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED
), leased AS (
    UPDATE work w SET token = nextval('work_tokens'), attempts = w.attempts + 1,
        due_at = clock_timestamp() + make_interval(secs => :lease)
    FROM due WHERE w.lane = due.lane AND w.ref_id = due.ref_id
    RETURNING w.ref_id, w.token, w.attempts
)
"""


def lane_of(destination: str) -> str:
    return f"to:{destination}"


def due_lanes(connection: Connection, lanes: Sequence[str]) -> set[str]:
    """Which of these lanes have something due and are not suspended."""
    query = text("""
        SELECT lane FROM unnest(CAST(:lanes AS text[])) AS lane
        WHERE EXISTS (SELECT 1 FROM work w
                      WHERE w.lane = lane.lane AND w.due_at <= clock_timestamp())
          AND NOT EXISTS (SELECT 1 FROM destinations_health h
                          WHERE 'to:' || h.destination = lane.lane
                            AND h.suspended_until > clock_timestamp())
    """)
    return set(connection.execute(query, {"lanes": list(lanes)}).scalars())


def longest_due(connection: Connection, lanes: Sequence[str]) -> tuple[str, float] | None:
    """The lane of these with the oldest due row, and how many seconds that has waited; suspended
    destinations aside. None if nothing is due."""
    query = text("""
        SELECT lane, extract(epoch FROM clock_timestamp() - first.due_at)::float8 AS waited FROM
        unnest(CAST(:lanes AS text[])) AS lane,
        LATERAL (SELECT due_at FROM work w WHERE w.lane = lane.lane
                 AND w.due_at <= clock_timestamp() ORDER BY due_at LIMIT 1) AS first
        WHERE NOT EXISTS (SELECT 1 FROM destinations_health h
                          WHERE 'to:' || h.destination = lane.lane
                            AND h.suspended_until > clock_timestamp())
        ORDER BY waited DESC LIMIT 1
    """)
    row = connection.execute(query, {"lanes": list(lanes)}).first()
    return (row[0], row[1]) if row else None


def oldest_due(connection: Connection, lanes: Sequence[str]) -> float | None:
    """Only how long it has waited."""
    found = longest_due(connection, lanes)
    return found[1] if found else None


def reschedule(connection: Connection, lane: str, delays: Mapping[int, tuple[int, float]]) -> int:
    """Give leased rows back, due in so many seconds: {ref_id: (token, seconds)}.

    They were tried and no worker died of it, so what is counted against them is forgotten.
    Returns how many were still ours.
    """
    query = text("""
        UPDATE work w
        SET leased = false, posting = false, crashes = 0,
            due_at = clock_timestamp() + make_interval(secs => v.delay)
        FROM unnest(CAST(:ids AS bigint[]), CAST(:tokens AS bigint[]), CAST(:delays AS float8[]))
            AS v (id, token, delay)
        WHERE w.lane = :lane AND w.ref_id = v.id AND w.token = v.token
    """)
    values = {
        "lane": lane,
        "ids": list(delays),
        "tokens": [token for token, _ in delays.values()],
        "delays": [delay for _, delay in delays.values()],
    }
    return connection.execute(query, values).rowcount


def give_back(connection: Connection, lane: str, tokens: Mapping[int, int]) -> int:
    """Return rows {ref_id: token}, due at once and without burning an attempt: they were not tried,
    or not refused for their own sake. Returns how many were still ours."""
    query = text("""
        UPDATE work w
        SET leased = false, posting = false, due_at = clock_timestamp(),
            attempts = greatest(w.attempts - w.leased::int, 0)
        FROM unnest(CAST(:ids AS bigint[]), CAST(:tokens AS bigint[])) AS v (id, token)
        WHERE w.lane = :lane AND w.ref_id = v.id AND w.token = v.token
    """)
    values = {"lane": lane, "ids": list(tokens), "tokens": list(tokens.values())}
    return connection.execute(query, values).rowcount


def put(connection: Connection, lane: str, ref_ids: Iterable[int], delay: float = 0) -> None:
    """Make these due, in so many seconds."""
    ids = list(ref_ids)
    if not ids:
        return
    query = text("""
        INSERT INTO work (lane, ref_id, due_at)
        SELECT :lane, unnest(CAST(:ids AS bigint[])),
               clock_timestamp() + make_interval(secs => :delay)
        ON CONFLICT DO NOTHING
    """)
    connection.execute(query, {"lane": lane, "ids": ids, "delay": delay})


def drop(connection: Connection, lane: str, ref_ids: Iterable[int]) -> None:
    """Take these off, whoever has them."""
    query = text("DELETE FROM work WHERE lane = :lane AND ref_id = ANY(CAST(:ids AS bigint[]))")
    connection.execute(query, {"lane": lane, "ids": list(ref_ids)})


def finish(connection: Connection, lane: str, tokens: Mapping[int, int]) -> set[int]:
    """Take rows {ref_id: token} off; those that were still ours."""
    query = text("""
        DELETE FROM work w USING unnest(CAST(:ids AS bigint[]), CAST(:tokens AS bigint[]))
            AS v (id, token)
        WHERE w.lane = :lane AND w.ref_id = v.id AND w.token = v.token RETURNING w.ref_id
    """)
    values = {"lane": lane, "ids": list(tokens), "tokens": list(tokens.values())}
    return set(connection.execute(query, values).scalars())


def mark_posting(connection: Connection, lane: str, tokens: Mapping[int, int]) -> set[int]:
    """Write down that rows {ref_id: token} are about to be posted; those that are still ours."""
    query = text("""
        UPDATE work w SET posting = true
        FROM unnest(CAST(:ids AS bigint[]), CAST(:tokens AS bigint[])) AS v (id, token)
        WHERE w.lane = :lane AND w.ref_id = v.id AND w.token = v.token RETURNING w.ref_id
    """)
    values = {"lane": lane, "ids": list(tokens), "tokens": list(tokens.values())}
    return set(connection.execute(query, values).scalars())


# A destination that left its last requests without an answer gets one slot until one has come.
ALLOWED = """
    CASE WHEN EXISTS (SELECT 1 FROM destinations_health h
                      WHERE 'to:' || h.destination = s.lane AND h.timed_out)
    THEN 1 ELSE :slots END
"""


def take_slot(
    connection: Connection, lane: str, slots: int, seconds: float
) -> tuple[int, int] | None:
    """One of the lane's slots as (slot, token), leased for so long; None if all are taken."""
    values = {"lane": lane, "slots": slots, "seconds": seconds}
    taken = _take_slot(connection, values)
    if taken is None:
        # Perhaps for want of rows: this waits for whoever makes them at this moment.
        query = text("""
            INSERT INTO lane_slots (lane, slot, leased_until)
            SELECT :lane, slot, '-infinity' FROM generate_series(1, :slots) AS slot
            ON CONFLICT DO NOTHING
        """)
        connection.execute(query, values)
        taken = _take_slot(connection, values)
    return taken


def _take_slot(connection: Connection, values: Mapping[str, object]) -> tuple[int, int] | None:
    """Locked rows are passed over: two workers never wait for the same slot beside a free one."""
    query = text(f"""
        WITH free AS (
            SELECT lane, slot FROM lane_slots s
            WHERE lane = :lane AND slot <= {ALLOWED} AND leased_until <= clock_timestamp()
            ORDER BY slot LIMIT 1 FOR UPDATE SKIP LOCKED
        )
        UPDATE lane_slots s
        SET token = token + 1, leased_until = clock_timestamp() + make_interval(secs => :seconds)
        FROM free WHERE s.lane = free.lane AND s.slot = free.slot
        RETURNING s.slot, s.token
    """)
    row = connection.execute(query, values).first()
    return (row.slot, row.token) if row else None


def keep_slots(
    connection: Connection, held: Sequence[tuple[str, int, int]], slots: int, seconds: float
) -> set[tuple[str, int, int]]:
    """Hold these (lane, slot, token) for so long from now; those that are still ours, of lanes
    that may have that many."""
    query = text(f"""
        UPDATE lane_slots s SET leased_until = clock_timestamp() + make_interval(secs => :seconds)
        FROM unnest(CAST(:lanes AS text[]), CAST(:held AS smallint[]), CAST(:tokens AS bigint[]))
            AS v (lane, slot, token)
        WHERE s.lane = v.lane AND s.slot = v.slot AND s.token = v.token AND s.slot <= {ALLOWED}
        RETURNING s.lane, s.slot, s.token
    """)
    values = {
        "lanes": [lane for lane, _, _ in held],
        "held": [slot for _, slot, _ in held],
        "tokens": [token for _, _, token in held],
        "slots": slots,
        "seconds": seconds,
    }
    return {(row.lane, row.slot, row.token) for row in connection.execute(query, values)}


def free_slot(connection: Connection, lane: str, slot: int, token: int) -> None:
    """Let go of the slot, unless it was lost meanwhile."""
    query = text("""
        UPDATE lane_slots SET leased_until = clock_timestamp()
        WHERE lane = :lane AND slot = :slot AND token = :token
    """)
    connection.execute(query, {"lane": lane, "slot": slot, "token": token})
