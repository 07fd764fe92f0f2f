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


def oldest_due(connection: Connection, lanes: Sequence[str]) -> float | None:
    """Seconds that the oldest due row of these lanes has waited; None if nothing is due."""
    query = text("""
        SELECT max(extract(epoch FROM clock_timestamp() - first.due_at)) FROM
        unnest(CAST(:lanes AS text[])) AS lane,
        LATERAL (SELECT due_at FROM work w WHERE w.lane = lane.lane
                 AND w.due_at <= clock_timestamp() ORDER BY due_at LIMIT 1) AS first
    """)
    waited = connection.execute(query, {"lanes": list(lanes)}).scalar()
    return None if waited is None else float(waited)


def reschedule(connection: Connection, lane: str, delays: Mapping[int, tuple[int, float]]) -> int:
    """Give leased rows back, due in so many seconds: {ref_id: (token, seconds)}.

    Returns how many were still ours.
    """
    query = text("""
        UPDATE work w
        SET leased = false, due_at = clock_timestamp() + make_interval(secs => v.delay)
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
        SET leased = false, due_at = clock_timestamp(), attempts = greatest(w.attempts - 1, 0)
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


def finish(connection: Connection, lane: str, tokens: Mapping[int, int]) -> set[int]:
    """Take rows {ref_id: token} off; those that were still ours."""
    query = text("""
        DELETE FROM work w USING unnest(CAST(:ids AS bigint[]), CAST(:tokens AS bigint[]))
            AS v (id, token)
        WHERE w.lane = :lane AND w.ref_id = v.id AND w.token = v.token RETURNING w.ref_id
    """)
    values = {"lane": lane, "ids": list(tokens), "tokens": list(tokens.values())}
    return set(connection.execute(query, values).scalars())


def take_slot(
    connection: Connection, lane: str, slots: int, seconds: float
) -> tuple[int, int] | None:
    """One of the lane's slots as (slot, token), leased for so long; None if all are taken."""
    query = text("""
        INSERT INTO lane_slots AS s (lane, slot, token, leased_until)
        SELECT :lane, free.slot, 1, clock_timestamp() + make_interval(secs => :seconds)
        FROM generate_series(1, :slots) AS free (slot)
        WHERE NOT EXISTS (SELECT 1 FROM lane_slots t WHERE t.lane = :lane
                          AND t.slot = free.slot AND t.leased_until > clock_timestamp())
        LIMIT 1
        ON CONFLICT (lane, slot) DO UPDATE
        SET token = s.token + 1, leased_until = excluded.leased_until
        WHERE s.leased_until <= clock_timestamp()
        RETURNING slot, token
    """)
    row = connection.execute(query, {"lane": lane, "slots": slots, "seconds": seconds}).first()
    return (row.slot, row.token) if row else None


def extend_slot(connection: Connection, lane: str, slot: int, token: int, seconds: float) -> bool:
    """Hold the slot for so long from now (0 frees it); False if it was lost meanwhile."""
    query = text("""
        UPDATE lane_slots SET leased_until = clock_timestamp() + make_interval(secs => :seconds)
        WHERE lane = :lane AND slot = :slot AND token = :token
    """)
    values = {"lane": lane, "slot": slot, "token": token, "seconds": seconds}
    return connection.execute(query, values).rowcount == 1
