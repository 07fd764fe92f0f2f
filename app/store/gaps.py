"""How far Stripe's event list was compared, and how far its lists of objects were read."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from app.core.uncovered import Uncovered
from app.store.identities import Scope

GAP_LOCK, BACKFILL_LOCK = 7_203_514_004, 7_203_514_005  # advisory; constants of nothing else
FRESH = timedelta(days=1)  # an unfinished backfill that is older begins anew

# One index look-up for each account, however many webhook events it has.
SEEN = text("""
WITH RECURSIVE seen (account) AS (
    (SELECT account FROM webhook_event_keys ORDER BY account LIMIT 1)
    UNION ALL
    SELECT (SELECT k.account FROM webhook_event_keys k WHERE k.account > s.account
            ORDER BY k.account LIMIT 1)
    FROM seen s WHERE s.account IS NOT NULL
)
SELECT s.account FROM seen s WHERE EXISTS (
    SELECT 1 FROM webhook_event_keys k WHERE k.account = s.account AND k.livemode = :livemode)
ORDER BY 1
""")


@contextmanager
def alone(engine: Engine, lock: int) -> Iterator[bool]:
    """True for the one who holds this lock until the end, False while another does. Postgres frees
    it when its holder is gone."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        query = text("SELECT pg_try_advisory_lock(:lock)")
        ours = bool(connection.execute(query, {"lock": lock}).scalar_one())
        try:
            yield ours
        finally:
            if ours:
                _unlock(connection, lock)


def _unlock(connection: Connection, lock: int) -> None:
    try:
        connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": lock})
    except DBAPIError:  # the session is gone, and the lock with it
        connection.invalidate()


def accounts(connection: Connection, livemode: bool) -> list[str]:
    """Our own account, "", and the connected ones of which a webhook event of this mode came."""
    seen = connection.execute(SEEN, {"livemode": livemode}).scalars()
    return list(dict.fromkeys(["", *seen]))


def has_kept(connection: Connection, livemode: bool) -> bool:
    """Whether a webhook event of this mode came, of our own account."""
    query = text("""
        SELECT EXISTS (SELECT 1 FROM webhook_event_keys
                       WHERE account = '' AND livemode = :livemode)
    """)
    return bool(connection.execute(query, {"livemode": livemode}).scalar_one())


def covered_until(connection: Connection, livemode: bool) -> dict[str, datetime]:
    """By account; one that was never compared is left out."""
    query = text("SELECT account, covered_until FROM gap_cursors WHERE livemode = :livemode")
    return {row[0]: row[1] for row in connection.execute(query, {"livemode": livemode})}


def cover(connection: Connection, scope: Scope, until: datetime) -> None:
    """Everything that Stripe listed until then is kept. A cursor never goes back."""
    query = text("""
        INSERT INTO gap_cursors (account, livemode, covered_until)
        VALUES (:account, :livemode, :until)
        ON CONFLICT (account, livemode) DO UPDATE
        SET covered_until = greatest(gap_cursors.covered_until, excluded.covered_until)
    """)
    values = {"account": scope[0], "livemode": scope[1], "until": until}
    connection.execute(query, values)


def miss(connection: Connection, of: Uncovered) -> None:
    """Write down what Stripe lists no more. Of a run that is repeated, the later end stands."""
    query = text("""
        INSERT INTO gap_uncovered (account, livemode, compared, since, until)
        VALUES (:account, :livemode, :compared, :since, :until)
        ON CONFLICT (account, livemode, since) DO UPDATE
        SET until = greatest(gap_uncovered.until, excluded.until)
    """)
    connection.execute(query, asdict(of))


def uncovered(connection: Connection) -> list[Uncovered]:
    """What is still to be read, of every account and mode."""
    query = text("""
        SELECT account, livemode, compared, since, until FROM gap_uncovered
        ORDER BY livemode DESC, account, since
    """)
    return [Uncovered(**row) for row in connection.execute(query).mappings()]


def run_is_due(connection: Connection, interval: float) -> bool:
    """Whether no run began in the last so many seconds."""
    query = text("""
        SELECT NOT EXISTS (SELECT 1 FROM gap_runs
            WHERE started_at > clock_timestamp() - make_interval(secs => :interval))
    """)
    return bool(connection.execute(query, {"interval": interval}).scalar_one())


def begin_run(connection: Connection) -> int:
    """A run that begins now; its number."""
    query = text("INSERT INTO gap_runs DEFAULT VALUES RETURNING id")
    return int(connection.execute(query).scalar_one())


def end_run(
    connection: Connection, run: int, missing: int, known: int, failure: str | None
) -> None:
    query = text("""
        UPDATE gap_runs SET ended_at = clock_timestamp(), missing = :missing, known = :known,
            failure = :failure
        WHERE id = :run
    """)
    values = {"run": run, "missing": missing, "known": known, "failure": failure}
    connection.execute(query, values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """What a backfill asks of one account: objects created in [since, until)."""

    account: str
    livemode: bool
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a list it is: the last object that is kept (None: at the beginning), and how many
    were read."""

    after: str | None = None
    read: int = 0
    finished: bool = False


def place(connection: Connection, of: Range, list_: str) -> Place:
    """Where an unfinished backfill of the last day left this list."""
    query = text("""
        SELECT after_id, read, finished FROM backfill_progress
        WHERE account = :account AND livemode = :livemode AND list = :list AND since = :since
          AND until = :until AND changed_at > clock_timestamp() - CAST(:fresh AS interval)
    """)
    row = connection.execute(query, {**_of(of), "list": list_, "fresh": FRESH}).first()
    return Place(row.after_id, row.read, row.finished) if row else Place()


def move(connection: Connection, of: Range, list_: str, to: Place) -> None:
    query = text("""
        INSERT INTO backfill_progress (account, livemode, list, since, until, after_id, read,
            finished)
        VALUES (:account, :livemode, :list, :since, :until, :after, :read, :finished)
        ON CONFLICT (account, livemode, list, since, until) DO UPDATE
        SET after_id = excluded.after_id, read = excluded.read, finished = excluded.finished,
            changed_at = clock_timestamp()
    """)
    where = {"list": list_, "after": to.after, "read": to.read, "finished": to.finished}
    connection.execute(query, _of(of) | where)


def forget_places(connection: Connection, of: Range) -> None:
    """All lists are read: the next backfill of the same time begins anew."""
    query = text("""
        DELETE FROM backfill_progress WHERE account = :account AND livemode = :livemode
          AND since = :since AND until = :until
    """)
    connection.execute(query, _of(of))


def read_whole(connection: Connection, of: Range) -> None:
    """Every object of this range was read: what it leaves of an uncovered one stays uncovered."""
    query = text("""
        WITH hit AS (
            DELETE FROM gap_uncovered WHERE account = :account AND livemode = :livemode
              AND since < :until AND until > :since RETURNING compared, since, until
        )
        INSERT INTO gap_uncovered (account, livemode, compared, since, until)
        SELECT :account, :livemode, hit.compared, lower(part), upper(part) FROM hit,
            unnest(tstzmultirange(tstzrange(hit.since, hit.until))
                   - tstzmultirange(tstzrange(:since, :until))) AS part
    """)
    connection.execute(query, _of(of))


def _of(one: Range) -> dict[str, object]:
    return {
        "account": one.account,
        "livemode": one.livemode,
        "since": one.since,
        "until": one.until,
    }
