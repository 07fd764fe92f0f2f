"""What the database knows of what does not agree: asked of a few groups, set by set."""

import json
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlalchemy import Connection, text

from app.core.money import Money, exponent
from app.core.reading.shapes import id_of, integer_or_none, mapping
from app.store.bulk import batches
from app.store.comparison import scoped
from app.store.identities import Scope

MAX_INVOICES = 200  # whose webhook events are looked for in the kept bytes
HEARD_WITHIN = timedelta(days=90)


def quarantined(connection: Connection, scope: Scope) -> dict[str, str]:
    """The webhook event that could not be processed, by the Stripe id that it is about."""
    query = text("""
        SELECT event_id, raw FROM webhook_events WHERE verdict = 'quarantined'
        AND account = :account AND livemode = :livemode ORDER BY id DESC LIMIT 10000
    """)
    rows = connection.execute(query, scoped(scope))
    found = {id_of(_object(bytes(row.raw))): row.event_id for row in rows}
    return {about: event for about, event in found.items() if about}


def _object(raw: bytes) -> Mapping[str, Any]:
    try:
        event = json.loads(raw)
    except ValueError:
        return {}
    return mapping(mapping(mapping(event).get("data")).get("object"))


def heard(connection: Connection, scope: Scope, since: datetime) -> frozenset[str]:
    """The types of webhook events that Stripe posted in the 90 days before this and later."""
    query = text("""
        SELECT DISTINCT type FROM webhook_events WHERE received_at >= :since
        AND account = :account AND livemode = :livemode AND origin = 'webhook'
    """)
    rows = connection.execute(query, scoped(scope, since=since - HEARD_WITHIN))
    return frozenset(row.type for row in rows)


def captured(connection: Connection, scope: Scope, ids: Collection[str]) -> frozenset[str]:
    """Those of these payment intents and charges that we know as captured payments."""
    query = text("""
        SELECT p.payment FROM json_array_elements_text(CAST(:ids AS json)) AS o (id)
        JOIN payments p ON p.payment = o.id AND p.account = :account AND p.livemode = :livemode
    """)
    return frozenset(
        row.payment
        for some in batches(ids)
        for row in connection.execute(query, scoped(scope, ids=some))
    )


def due(
    connection: Connection, scope: Scope, invoices: Collection[str], since: datetime
) -> dict[str, int]:
    """What these invoices ask for in minor units, as kept webhook events of theirs say. Looked for
    in the bytes, so only of a few: of more there is another trouble."""
    if not invoices or len(invoices) > MAX_INVOICES:
        return {}
    query = text("""
        SELECT raw FROM webhook_events WHERE type LIKE 'invoice.%' AND received_at >= :since
        AND account = :account AND livemode = :livemode
        AND encode(raw, 'escape') ~ :pattern ORDER BY created, id
    """)
    known = [one for one in sorted(invoices) if one.replace("_", "").isalnum()]
    values = scoped(scope, since=since - HEARD_WITHIN, pattern=f'"({"|".join(known)})"')
    found: dict[str, int] = {}
    for row in connection.execute(query, values):
        invoice = _object(bytes(row.raw))
        invoice_id = id_of(invoice)
        if invoice_id and invoice_id in invoices and invoice.get("object") == "invoice":
            found[invoice_id] = integer_or_none(invoice, "amount_due") or 0
    return found


def elsewhere(connection: Connection, scope: Scope, keys: Collection[str]) -> dict[str, str]:
    """Of keys that Stripe does not have here: the mode or the account that has them as well."""
    query = text("""
        SELECT key, account, livemode FROM (
            SELECT key, account, livemode FROM revenue_entries
            WHERE account = :account AND livemode <> :livemode AND key = ANY(CAST(:ids AS text[]))
            UNION SELECT key, account, livemode FROM current_settled_entries
            WHERE key = ANY(CAST(:ids AS text[]))
        ) AS e WHERE (account, livemode) <> (:account, CAST(:livemode AS boolean))
        ORDER BY account DESC, livemode DESC
    """)
    if not keys:
        return {}
    rows = connection.execute(query, scoped(scope, ids=sorted(keys)))
    account, _ = scope
    return {
        row.key: row.account or "the own account"
        if row.account != account
        else ("live" if row.livemode else "test")
        for row in rows
    }


def credited(connection: Connection, scope: Scope, keys: Collection[str]) -> dict[str, int]:
    """Minor units that the customer's credit balance paid, of the entries of these keys."""
    query = text("""
        SELECT key, currency, properties ->> 'credit_applied' AS credit FROM analytics_events
        WHERE account = :account AND livemode = :livemode AND key = ANY(CAST(:ids AS text[]))
        AND properties ? 'credit_applied'
    """)
    if not keys:
        return {}
    rows = connection.execute(query, scoped(scope, ids=sorted(keys)))
    found = {}
    for row in rows:
        try:
            found[row.key] = int(Decimal(row.credit).scaleb(exponent(row.currency or "")))
        except (InvalidOperation, ValueError):
            continue  # no number of ours
    return found


def payments_of(
    connection: Connection, scope: Scope, invoices: Collection[str]
) -> list[tuple[str, str, str | None, Money]]:
    """(invoice, payment, charge, money) of the captured payments of these invoices."""
    query = text("""
        SELECT r.parent, p.payment, p.charge, p.minor, p.currency FROM stripe_refs r
        JOIN payments p ON p.payment = r.child AND p.account = r.account
         AND p.livemode = r.livemode
        WHERE r.parent = ANY(CAST(:ids AS text[])) AND NOT r.customer
          AND r.account = :account AND r.livemode = :livemode
    """)
    if not invoices:
        return []
    rows = connection.execute(query, scoped(scope, ids=sorted(invoices)))
    return [(row.parent, row.payment, row.charge, Money(row.minor, row.currency)) for row in rows]


def told_by(connection: Connection, scope: Scope, keys: Collection[str]) -> dict[str, str]:
    """The webhook event that each of these entries was made from."""
    query = text("""
        SELECT e.key, w.event_id FROM revenue_entries e
        JOIN webhook_events w ON w.id = e.webhook_event_id
        WHERE e.account = :account AND e.livemode = :livemode
          AND e.key = ANY(CAST(:ids AS text[]))
    """)
    if not keys:
        return {}
    rows = connection.execute(query, scoped(scope, ids=sorted(keys)))
    return {row.key: row.event_id for row in rows}
