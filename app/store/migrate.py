"""Migrations: bring the database to this code's tables, from any earlier version."""

from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from app.store.db import MIGRATION_LOCK, make_engine

ROOT = Path(__file__).parents[2]


MONTHS_AHEAD = 12


def migrate(database_url: str, to: str = "head", timezone: str | None = None) -> None:
    """Upgrade to this revision, and make the partitions of the months to come.

    `timezone`: the zone (IANA name) in which views count days from now on; None leaves it as it is.
    One migrator at a time (an advisory lock); it gives way after 5 s behind a long transaction.
    """
    config = _config()
    config.attributes["database_url"] = database_url
    command.upgrade(config, to)
    engine = make_engine(database_url, "migrate", statement_timeout=0, pool_size=1)
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        add_partitions(connection, datetime.now(UTC).date(), MONTHS_AHEAD)
        if timezone is not None:
            set_reporting_zone(connection, timezone)
    engine.dispose()


def set_reporting_zone(connection: Connection, timezone: str) -> None:
    """Let views count days and months in this zone. An error if Postgres does not know it: views
    would have none but errors to show."""
    connection.execute(text("SELECT now() AT TIME ZONE :timezone"), {"timezone": timezone})
    connection.execute(
        text("""
            INSERT INTO reporting_zone (timezone) VALUES (:timezone)
            ON CONFLICT (only_row) DO UPDATE SET timezone = excluded.timezone
            WHERE reporting_zone.timezone <> excluded.timezone
        """),
        {"timezone": timezone},
    )


def get_reporting_zone(connection: Connection) -> str:
    """The zone in which views count days and months."""
    query = text("SELECT coalesce(max(timezone), 'UTC') FROM reporting_zone")
    return str(connection.execute(query).scalar_one())


def add_partitions(connection: Connection, today: date, months: int) -> None:
    """A partition of webhook_events for this month and so many after it, where none is.

    A month whose rows went to the DEFAULT partition already stays there: moving them would
    lock the door out.
    """
    for ahead in range(months + 1):
        first = _month(today, ahead)
        after = _month(today, ahead + 1)
        name = f"webhook_events_{first:%Y_%m}"
        taken = text("""
            SELECT to_regclass(:name) IS NOT NULL OR EXISTS (
                SELECT 1 FROM webhook_events_default
                WHERE received_at >= :first AND received_at < :after)
        """)
        values = {"name": name, "first": first, "after": after}
        if not connection.execute(taken, values).scalar_one():
            connection.execute(
                text(f"""CREATE TABLE {name} PARTITION OF webhook_events
                         FOR VALUES FROM ('{first}') TO ('{after}')""")
            )


def _month(day: date, ahead: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + ahead, 12)
    return date(year, month + 1, 1)


@lru_cache(maxsize=1)
def head() -> str:
    """The newest revision that this code knows."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def revision(connection: Connection) -> str | None:
    """The revision that this database has; None before the first migration."""
    return MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    return Config(toml_file=ROOT / "pyproject.toml")
