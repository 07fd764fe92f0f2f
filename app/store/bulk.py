"""Many rows in one statement: they travel as one JSON document, whatever their number.

Measured against SQLAlchemy's multi-row VALUES and psycopg's executemany, whose cost is per row.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

import orjson
from sqlalchemy import Connection, Executable, LargeBinary, Row, Table, TextClause, text
from sqlalchemy.dialects import postgresql

BATCH, MANY = 5_000, 50_000  # rows, ids
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


def insert_all(connection: Connection, table: Table, rows: Iterable[Mapping[str, Any]]) -> None:
    """The same for however many: `BATCH` in a statement, and in memory."""
    left = iter(rows)
    while batch := list(islice(left, BATCH)):
        insert_rows(connection, table, batch)


def batches(ids: Collection[str]) -> Iterator[str]:
    """However many ids for a statement's json_array_elements_text, sorted, `MANY` at a time.

    Measured against an array, of which psycopg makes every element on its own.
    """
    ordered = sorted(ids)
    for start in range(0, len(ordered), MANY):
        yield orjson.dumps(ordered[start : start + MANY]).decode()


def streamed(connection: Connection, query: Executable, values: Mapping[str, Any]) -> Iterator[Any]:
    """The rows of an answer of any size, `BATCH` in memory at a time."""
    # All rows are read: not the plan that has the first of them soonest.
    connection.execute(text("SET LOCAL cursor_tuple_fraction = 1"))
    streaming = {"stream_results": True, "max_row_buffer": BATCH}
    found = connection.execute(query, values, execution_options=streaming)
    while rows := found.fetchmany(BATCH):
        yield from rows


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
