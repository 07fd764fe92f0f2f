"""A warehouse: a second, empty database in the tests' own Postgres, asked in SQL."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import make_url

TABLE = "stripe_analytics_events"


def configured(url: str) -> dict[str, str]:
    """The settings of a destination that reaches the database at this URL."""
    return {"url": url}


class WarehouseServer:
    """`url` reaches it. It speaks no HTTP, so it has no `answer`; nothing is dropped unseen."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.dropped: list[str] = []

    def revenue(self) -> dict[str, Decimal]:
        found = self.sql(
            f"SELECT lower(currency), sum(amount) FROM {TABLE} WHERE amount IS NOT NULL GROUP BY 1"
        )
        return dict(found)

    def counted(self) -> int:
        [[count]] = self.sql(f"SELECT count(DISTINCT event_id) FROM {TABLE}")
        return int(count)

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []


@contextmanager
def warehouse(database_url: str, name: str = "warehouse") -> Iterator[WarehouseServer]:
    """A database of this name beside that of the URL, gone after the block."""
    url = make_url(database_url).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as server:
        server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
        server.execute(f"CREATE DATABASE {name}".encode())
        yield WarehouseServer(url.set(database=name).render_as_string(hide_password=False))
        server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def changed(url: str, **parts: Any) -> str:
    """The URL of the same database with other parts, as libpq writes it."""
    known: Mapping[str, Any] = {**conninfo_to_dict(url), **parts}
    return make_conninfo(**known)
