"""Runs migrations under an advisory lock, so that two releases at once take turns."""

from alembic import context
from sqlalchemy import text

from app.store.db import MIGRATION_LOCK, make_engine
from app.store.schema import metadata


def _is_in_the_schema(name: str | None, kind: str, _parents: object) -> bool:
    """Partitions are their table's."""
    return kind != "table" or not (name or "").startswith("webhook_events_")


def run() -> None:
    engine = make_engine(context.config.attributes["database_url"], "migrate", statement_timeout=0)
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
        # Give way instead of queueing behind a long transaction, and all others behind us.
        connection.execute(text("SET lock_timeout = '5s'"))
        connection.commit()
        context.configure(
            connection=connection, target_metadata=metadata, include_name=_is_in_the_schema
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})
    engine.dispose()


run()
