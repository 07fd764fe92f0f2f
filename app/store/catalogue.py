"""The catalogue: prices, coupons and discounts, as Stripe stated them last."""

import json
from collections.abc import Collection, Iterable, Mapping
from hashlib import blake2b
from typing import Any

from sqlalchemy import Connection, text

from app.core.facts import CatalogueItem
from app.store.bulk import insert_rows
from app.store.identities import Scope, Scoped
from app.store.schema import catalogue, catalogue_checks

ItemKey = tuple[str, bool, str, str]  # account, livemode, kind, Stripe id

# Newest statement first, then the digest, so that the order of arrival never matters. What was
# said again unchanged changes nothing, so it leaves the mark of who changed it.
NEWEST = """
(account, livemode, kind, id) DO UPDATE SET
    stated_at = excluded.stated_at, body = excluded.body, digest = excluded.digest,
    webhook_event_id = CASE WHEN catalogue.digest = excluded.digest
        THEN catalogue.webhook_event_id ELSE excluded.webhook_event_id END
WHERE (excluded.stated_at, excluded.digest COLLATE "C")
    > (catalogue.stated_at, catalogue.digest COLLATE "C")
"""

KNOWN = text("""
SELECT c.account, c.livemode, c.kind, c.id, c.body FROM catalogue c
JOIN unnest(CAST(:accounts AS text[]), CAST(:livemodes AS boolean[]), CAST(:kinds AS text[]),
            CAST(:ids AS text[])) AS o (account, livemode, kind, id)
  USING (account, livemode, kind, id)
""")


def add(connection: Connection, items: Iterable[tuple[Scope, int | None, CatalogueItem]]) -> None:
    """Write down (whose, our id of the webhook event that said it, item); the newest stands.

    Whoever adds of a webhook event puts it into the lane `measure` in the same transaction.
    """
    newest: dict[ItemKey, dict[str, Any]] = {}
    for (account, livemode), webhook_event_id, item in items:
        row = {
            "account": account,
            "livemode": livemode,
            "kind": item.kind,
            "id": item.id,
            "stated_at": item.stated_at,
            "body": item.body,
            "digest": _digest(item.body),
            "webhook_event_id": webhook_event_id,
        }
        key = (account, livemode, item.kind, item.id)
        if key not in newest or _order(row) > _order(newest[key]):
            newest[key] = row
    # In one order for all: two transactions that add the same items must not cross.
    insert_rows(connection, catalogue, [newest[key] for key in sorted(newest)], conflict=NEWEST)


def _order(row: Mapping[str, Any]) -> tuple[Any, str]:
    return row["stated_at"], row["digest"]


def _digest(body: Mapping[str, Any]) -> str:
    return blake2b(json.dumps(body, sort_keys=True).encode(), digest_size=16).hexdigest()


def known(connection: Connection, wanted: Collection[ItemKey]) -> dict[ItemKey, dict[str, Any]]:
    """The bodies of these, as far as they are known."""
    if not wanted:
        return {}
    rows = connection.execute(KNOWN, columns(wanted))
    return {(row.account, row.livemode, row.kind, row.id): row.body for row in rows}


def prices(connection: Connection, wanted: Collection[Scoped]) -> dict[Scoped, dict[str, Any]]:
    """These prices, each with its tiers where they are known."""
    keys = {
        (account, livemode, kind, price_id)
        for account, livemode, price_id in wanted
        for kind in ("price", "price.tiers")
    }
    found: dict[Scoped, dict[str, Any]] = {}
    for (account, livemode, _, price_id), body in known(connection, keys).items():
        found.setdefault((account, livemode, price_id), {}).update(body)
    return found


def changed_by(connection: Connection, webhook_events: Collection[int]) -> set[ItemKey]:
    """The items that one of these webhook events (by our id) changed last."""
    query = text("""
        SELECT account, livemode, kind, id FROM catalogue
        WHERE webhook_event_id = ANY(CAST(:ids AS bigint[]))
    """)
    rows = connection.execute(query, {"ids": list(webhook_events)})
    return {(row.account, row.livemode, row.kind, row.id) for row in rows}


def check(connection: Connection, asked: Collection[ItemKey]) -> None:
    """Remember that Stripe's API was asked for these just now, whatever it had to say."""
    rows = [
        {"account": account, "livemode": livemode, "kind": kind, "id": item_id}
        for account, livemode, kind, item_id in sorted(asked)
    ]
    again = "(account, livemode, kind, id) DO UPDATE SET checked_at = clock_timestamp()"
    insert_rows(connection, catalogue_checks, rows, conflict=again)


def columns(keys: Collection[ItemKey]) -> dict[str, list[object]]:
    """The keys as arrays for `unnest`, in one order."""
    names = ("accounts", "livemodes", "kinds", "ids")
    ordered = sorted(keys)
    return {name: [key[place] for key in ordered] for place, name in enumerate(names)}
