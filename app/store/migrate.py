"""Migrations: bring the database to this code's tables, from any earlier version."""

from functools import lru_cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

ROOT = Path(__file__).parents[2]


def migrate(database_url: str) -> None:
    """Upgrade to the newest revision, one migrator at a time."""
    config = _config()
    config.attributes["database_url"] = database_url
    command.upgrade(config, "head")


@lru_cache(maxsize=1)
def head() -> str:
    """The newest revision that this code knows."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def revision(connection: Connection) -> str | None:
    """The revision that this database has; None before the first migration."""
    return MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    return Config(toml_file=ROOT / "pyproject.toml")
