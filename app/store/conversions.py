"""The browser's own ids of conversions: each belongs to one analytics event of an account."""

import hashlib
from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import Connection, text

from app.store.bulk import insert_rows
from app.store.identities import Scope
from app.store.schema import conversion_ids

Conversion = tuple[Scope, str, str]  # (account, livemode), the analytics event's name, the id


def claim(connection: Connection, wanted: Mapping[UUID, Conversion]) -> set[UUID]:
    """Which of these analytics events have their id for themselves: the first that asked for it.

    Payment Links copy their metadata to every Session, so many may come with one id. Ids are kept
    as digests: they are a visitor's.
    """
    unsorted = [
        {
            "account": scope[0],
            "livemode": scope[1],
            "name": name,
            "digest": hashlib.sha256(given.encode()).hexdigest(),
            "analytics_event": event,
        }
        for event, (scope, name, given) in sorted(wanted.items())
    ]
    names = ("account", "livemode", "name", "digest")
    # In one order for all: two transactions with the same ids would else wait for each other.
    rows = sorted(unsorted, key=lambda row: [row[name] for name in names])
    if not rows:
        return set()
    insert_rows(connection, conversion_ids, rows)
    owners = text("""
        SELECT c.analytics_event FROM conversion_ids c JOIN unnest(
            CAST(:account AS text[]), CAST(:livemode AS boolean[]), CAST(:name AS text[]),
            CAST(:digest AS text[])
        ) AS w (account, livemode, name, digest) USING (account, livemode, name, digest)
    """)
    asked = {name: [row[name] for row in rows] for name in names}
    return set(connection.execute(owners, asked).scalars()) & wanted.keys()
