"""The audit log: who changed what, why, and how much."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from app.store.schema import audit_log


def note(
    connection: Connection, who: str, action: str, why: str, asked: Mapping[str, Any], rows: int
) -> None:
    """One line, in the transaction of what it tells of."""
    values = {"who": who, "action": action, "why": why or None, "filter": asked, "rows": rows}
    connection.execute(audit_log.insert(), values)


def of(connection: Connection, actions: Sequence[str]) -> list[dict[str, Any]]:
    """Every line of these actions, the oldest first."""
    query = select(audit_log).where(audit_log.c.action.in_(actions)).order_by(audit_log.c.id)
    return [dict(row) for row in connection.execute(query).mappings()]
