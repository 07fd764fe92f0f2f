"""The engine: how every process of ours connects to Postgres."""

from collections.abc import Callable
from random import uniform
from time import monotonic, sleep
from typing import Any, TypeVar

import orjson
import psycopg
from psycopg.abc import PQGen
from psycopg.types.array import ListBinaryDumper
from psycopg.types.json import set_json_loads
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

APPLICATION = "bridge"
MIGRATION_LOCK = 7_203_514_001  # an advisory lock; any constant that nothing else takes
TRIES = 5
GRACE = 1.0  # seconds for an answer after `statement_timeout`, which the server itself observes

Value = TypeVar("Value")


def make_engine(
    url: str, name: str, *, statement_timeout: int = 30_000, pool_size: int = 8
) -> Engine:
    """An engine for one process; make it after any fork.

    `statement_timeout` is in milliseconds, 0 for none. A server that hangs does not observe it:
    one that says nothing for `GRACE` longer is given up, with all connections of the pool.
    `synchronous_commit` is set on every connection, whatever the role's default: a 2xx to Stripe
    rests on it. So is the isolation level: whoever waited for an advisory lock must then see what
    the one before wrote.
    """
    settings = {
        "synchronous_commit": "on",
        "default_transaction_isolation": r"read\ committed",
        "statement_timeout": str(statement_timeout),
        "lock_timeout": str(min(statement_timeout, 10_000) if statement_timeout else 0),
        "idle_in_transaction_session_timeout": "30000",
        "timezone": "UTC",
        "jit": "off",  # ours are look-ups of milliseconds, whatever the planner expects of them
    }
    engine = create_engine(
        make_url(url),
        hide_parameters=True,  # RQ keeps a failed job's traceback in Redis, and logs it
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=False,  # a dead connection fails one statement; the caller retries
        pool_recycle=300,
        pool_timeout=2,
        connect_args={
            "connect_timeout": 3,
            "application_name": f"{APPLICATION} {name}",
            "options": " ".join(f"-c {key}={value}" for key, value in settings.items()),
            "keepalives_idle": 30,
            "tcp_user_timeout": 10_000,
        },
    )

    def connect(_dialect: object, _record: object, args: Any, options: Any) -> Patient:
        connection = Patient.connect(*args, **options)
        connection.patience = statement_timeout / 1000 + GRACE if statement_timeout else None
        return connection

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "connect", _adapt)
    return engine


def write(engine: Engine, wrote: Callable[[Connection], None]) -> None:
    """One transaction; again if Postgres broke it, as a deadlock with another one does."""
    for tries in range(1, TRIES + 1):
        try:
            with engine.begin() as connection:
                return wrote(connection)
        except OperationalError:
            if tries == TRIES:
                raise
            sleep(uniform(0, 0.2 * tries))


class Patient(psycopg.Connection[Any]):
    """A connection that closes itself when the server is silent for longer than `patience`.

    Nobody else would: a frozen server keeps its sockets open, and a unix socket has no timeout.
    """

    patience: float | None = None  # seconds

    def wait(self, gen: PQGen[Value], *args: Any, **options: Any) -> Value:
        if self.patience is None:
            return super().wait(gen, *args, **options)
        try:
            return super().wait(_while_heard(gen, self.patience), *args, **options)
        except TimeoutError:
            self.close()
            raise psycopg.OperationalError("the server hangs") from None


def _while_heard(gen: PQGen[Value], patience: float) -> PQGen[Value]:
    """What `gen` does, until its socket is not ready for so many seconds (psycopg looks at it ten
    times a second)."""
    try:
        want = next(gen)
        heard = monotonic()
        while True:
            ready = yield want
            if ready:
                heard = monotonic()
            elif monotonic() - heard > patience:
                raise TimeoutError
            want = gen.send(ready)
    except StopIteration as done:
        value: Value = done.value
        return value


def _adapt(connection: psycopg.Connection[Any], _record: object) -> None:
    """Lists travel binary (psycopg escapes text ones with a regex), JSON is read by orjson."""
    connection.adapters.register_dumper(list, ListBinaryDumper)
    set_json_loads(orjson.loads, connection)
