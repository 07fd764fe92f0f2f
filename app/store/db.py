"""The engine: how every process of ours connects to Postgres."""

from typing import Any

import orjson
import psycopg
from psycopg.types.array import ListBinaryDumper
from psycopg.types.json import set_json_loads
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url

APPLICATION = "bridge"
MIGRATION_LOCK = 7_203_514_001  # an advisory lock; any constant that nothing else takes


def make_engine(
    url: str, name: str, *, statement_timeout: int = 30_000, pool_size: int = 8
) -> Engine:
    """An engine for one process; make it after any fork.

    `statement_timeout` is in milliseconds, 0 for none. `synchronous_commit` is set on every
    connection, whatever the role's default: a 2xx to Stripe rests on it.
    """
    settings = {
        "synchronous_commit": "on",
        "statement_timeout": str(statement_timeout),
        "lock_timeout": str(min(statement_timeout, 10_000) if statement_timeout else 0),
        "idle_in_transaction_session_timeout": "30000",
        "timezone": "UTC",
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
    event.listen(engine, "connect", _adapt)
    return engine


def _adapt(connection: psycopg.Connection[Any], _record: object) -> None:
    """Lists travel binary (psycopg escapes text ones with a regex), JSON is read by orjson."""
    connection.adapters.register_dumper(list, ListBinaryDumper)
    set_json_loads(orjson.loads, connection)
