"""Many rows in one statement: they travel as one JSON document, whatever their number.

Measured against SQLAlchemy's multi-row VALUES and psycopg's executemany, whose cost is per row.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson
from sqlalchemy import Connection, LargeBinary, Row, Table, TextClause, text
from sqlalchemy.dialects import postgresql

DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


def insert_rows(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    returning: tuple[str, ...] = (),
    conflict: str = "DO NOTHING",
) -> Sequence[Row[Any]]:
    """Insert rows (all with the same columns) where no unique key has them already.

    `conflict` is SQL for those that one has; no two of the rows may share a key then.
    Gives the named columns of the rows that were inserted. Bytes must be UTF-8 text.
    """
    if not rows:
        return []
    statement = _insert(table, tuple(rows[0]), returning, conflict)
    result = connection.execute(statement, {"rows": _document(rows)})
    return result.all() if returning else []


def update_rows(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], set_also: str = ""
) -> None:
    """Update rows by their `id`; `set_also` is SQL for columns that no row brings."""
    if rows:
        statement = _update(table, tuple(rows[0]), set_also)
        connection.execute(statement, {"rows": _document(rows)})


@lru_cache(maxsize=64)
def _insert(
    table: Table, columns: tuple[str, ...], returning: tuple[str, ...], conflict: str
) -> TextClause:
    values = ", ".join(_value(table, name) for name in columns)
    tail = f"RETURNING {', '.join(returning)}" if returning else ""
    return text(f"""
        INSERT INTO {table.name} ({", ".join(columns)}) SELECT {values}
        FROM {_recordset(table, columns)} ON CONFLICT {conflict} {tail}
    """)


@lru_cache(maxsize=64)
def _update(table: Table, columns: tuple[str, ...], set_also: str) -> TextClause:
    changes = [f"{name} = {_value(table, name)}" for name in columns if name != "id"]
    return text(f"""
        UPDATE {table.name} t SET {", ".join([*changes, *([set_also] if set_also else [])])}
        FROM {_recordset(table, columns)} WHERE t.id = r.id
    """)


def _recordset(table: Table, columns: Sequence[str]) -> str:
    typed = ", ".join(f"{name} {_type(table, name)}" for name in columns)
    return f"json_to_recordset(CAST(:rows AS json)) AS r ({typed})"


def _type(table: Table, column: str) -> str:
    if isinstance(table.c[column].type, LargeBinary):
        return "text"
    return table.c[column].type.compile(DIALECT)


def _value(table: Table, column: str) -> str:
    if isinstance(table.c[column].type, LargeBinary):
        return f"convert_to(r.{column}, 'UTF8')"
    return f"r.{column}"


def _document(rows: Sequence[Mapping[str, Any]]) -> str:
    return orjson.dumps(rows, default=_plain).decode()


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(type(value).__name__)
