"""Which worker looks for what is due: one at a time, by an advisory lock of Postgres."""

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

SWEEP_LOCK = 7_203_514_003  # an advisory lock; any constant that nothing else takes
SILENCE = 5.0  # seconds after which Postgres ends the session of one that is heard no more


def is_led(connection: Connection) -> bool:
    """Whether somebody leads just now: a lock with a bigint key is shown as two halves."""
    query = text("""
        SELECT EXISTS (SELECT 1 FROM pg_locks
            WHERE locktype = 'advisory' AND granted AND objsubid = 1
              AND classid = (:lock >> 32) AND objid = (:lock & 4294967295)
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
    """)
    return bool(connection.execute(query, {"lock": SWEEP_LOCK}).scalar_one())


class Leadership:
    """One candidate, on a connection of its own: whoever loses that loses the lock, and so does
    a process that is frozen, since Postgres hears nothing of it."""

    def __init__(self, engine: Engine, silence: float = SILENCE) -> None:
        self._engine = engine
        self._silence = silence
        self._connection: Connection | None = None
        self._leads = False

    def take(self) -> bool:
        """Lead, or go on leading; False while another does. Ask again well within the silence."""
        try:
            return self._ask()
        except DBAPIError:  # the session is gone, and the lock with it
            self.resign()
            return self._ask()

    def resign(self) -> None:
        """Let another one lead."""
        connection, self._connection, self._leads = self._connection, None, False
        if connection is not None:
            connection.close()

    def _ask(self) -> bool:
        if self._connection is None:
            self._connection = self._connect()
        # A session may take its own lock many times over, so a leader only shows that it lives.
        query = "SELECT true" if self._leads else f"SELECT pg_try_advisory_lock({SWEEP_LOCK})"
        self._leads = bool(self._connection.execute(text(query)).scalar_one())
        return self._leads

    def _connect(self) -> Connection:
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        connection.detach()  # never the pool's again: it has settings and a lock of its own
        limit = round(self._silence * 1000)
        try:
            connection.execute(text(f"SET idle_session_timeout = {limit}"))
        except DBAPIError:
            connection.close()
            raise
        return connection
