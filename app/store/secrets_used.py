"""When each webhook signing secret was last used, by its label; never the secret."""

from datetime import datetime

from sqlalchemy import Connection, text


def use(connection: Connection, label: str) -> None:
    """It signed a webhook just now. Of several processes, the latest word stands."""
    query = text("""
        INSERT INTO webhook_secrets_used (label, last_used_at) VALUES (:label, clock_timestamp())
        ON CONFLICT (label) DO UPDATE
        SET last_used_at = greatest(webhook_secrets_used.last_used_at, excluded.last_used_at)
    """)
    connection.execute(query, {"label": label})


def last_used(connection: Connection) -> dict[str, tuple[datetime, float]]:
    """By label, when it was last used, and how many seconds ago."""
    query = text("""
        SELECT label, last_used_at,
               extract(epoch FROM clock_timestamp() - last_used_at)::float8 AS age
        FROM webhook_secrets_used
    """)
    return {row.label: (row.last_used_at, row.age) for row in connection.execute(query)}
