"""Whose payments we know: by the ids that a balance report has of them, over every account and
mode."""

from collections.abc import Collection

from sqlalchemy import Connection, text

from app.store.bulk import batches
from app.store.identities import Scope

KNOWN = text("""
    SELECT DISTINCT o.id, k.account, k.livemode
    FROM json_array_elements_text(CAST(:ids AS json)) AS o (id)
    CROSS JOIN LATERAL (
        SELECT account, livemode FROM stripe_refs WHERE child = o.id
        UNION ALL SELECT account, livemode FROM payments WHERE payment = o.id
    ) k
""")


def known_as(connection: Connection, ids: Collection[str]) -> dict[str, set[Scope]]:
    """The accounts and modes in which webhook events told of these charges and payment intents;
    unknown ids are left out."""
    found: dict[str, set[Scope]] = {}
    for some in batches(ids):
        for object_id, account, livemode in connection.execute(KNOWN, {"ids": some}):
            found.setdefault(object_id, set()).add((account, livemode))
    return found
