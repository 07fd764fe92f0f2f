"""The audit log: who changed what, why, and how much."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from app.store.schema import audit_log


def note(
    connection: Connection, who: str, action: str, why: str, asked: Mapping[str, Any], rows: int
) -> None:
    """One line, in the transaction of what it tells of."""
    values = {"who": who, "action": action, "why": why or None, "filter": asked, "rows": rows}
    connection.execute(audit_log.insert(), values)
