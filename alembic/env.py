"""Runs migrations under an advisory lock, so that two releases at once take turns."""

from sqlalchemy import text

from alembic import context
from app.store.db import make_engine
from app.store.schema import metadata

MIGRATION_LOCK = 7_203_514_001  # any constant that nothing else locks


def run() -> None:
    engine = make_engine(context.config.attributes["database_url"], "migrate", statement_timeout=0)
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
        # Give way instead of queueing behind a long transaction, and all others behind us.
        connection.execute(text("SET lock_timeout = '5s'"))
        connection.commit()
        context.configure(connection=connection, target_metadata=metadata)
        with context.begin_transaction():
            context.run_migrations()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})
    engine.dispose()


run()
