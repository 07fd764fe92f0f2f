"""The ledger: signed entries, only ever added; and payments that nobody claimed yet."""

from collections.abc import Collection, Iterable
from datetime import date
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, text

from app.core.facts import Fact, Payment
from app.core.money import Money
from app.store.bulk import insert_rows
from app.store.identities import Scope, Scoped, columns
from app.store.schema import payments, revenue_entries, standalone_payments
from app.store.webhook_events import Kept


def book(connection: Connection, facts: Iterable[tuple[Kept, Fact]], zone: ZoneInfo) -> None:
    """One revenue entry per money fact, or nothing if its key is booked already."""
    rows = [_entry(kept, fact, zone) for kept, fact in facts if fact.money is not None]
    insert_rows(connection, revenue_entries, rows)


def _entry(kept: Kept, fact: Fact, zone: ZoneInfo) -> dict[str, object]:
    entry = fact.money
    assert entry is not None
    effective: date = fact.at.astimezone(zone).date()
    return {
        "account": kept.account,
        "livemode": kept.livemode,
        "key": fact.key,
        "kind": entry.kind,
        "minor": entry.money.minor,
        "currency": entry.money.currency,
        "tax_minor": entry.tax_minor,
        "discount_minor": entry.discount_minor,
        "customer": fact.customer,
        "subscription": fact.subscription,
        "invoice": fact.invoice,
        "payment_intent": entry.payment_intent,
        "charge": entry.charge,
        "refund": entry.refund,
        "out_of_band": entry.out_of_band,
        "occurred_at": fact.at,
        "effective_date": effective,
        "posting_date": effective,
        "origin": kept.origin,
        "webhook_event_id": kept.id,
    }


def add_payments(connection: Connection, found: Iterable[tuple[Scope, Payment]]) -> None:
    rows = [
        {
            "account": account,
            "livemode": livemode,
            "payment_intent": payment.payment_intent,
            "customer": payment.customer,
            "charge": payment.charge,
            "minor": payment.money.minor,
            "currency": payment.money.currency,
            "occurred_at": payment.at,
        }
        for (account, livemode), payment in found
    ]
    insert_rows(connection, payments, rows)


def add_standalone(connection: Connection, found: Iterable[tuple[Scope, str]]) -> None:
    rows = [
        {"account": account, "livemode": livemode, "payment_intent": intent}
        for (account, livemode), intent in found
    ]
    insert_rows(connection, standalone_payments, rows)


def claimed_payments(
    connection: Connection, objects: Collection[Scoped], *, book_all: bool
) -> list[tuple[Scope, Payment]]:
    """Of these payment intents, the payments that are revenue of their own: a Checkout Session
    (or, with `book_all`, the setting) claims them and no invoice does."""
    query = text("""
        SELECT p.* FROM payments p
        JOIN unnest(CAST(:accounts AS text[]), CAST(:livemodes AS boolean[]), CAST(:ids AS text[]))
            AS o (account, livemode, id)
          ON p.payment_intent = o.id AND p.account = o.account AND p.livemode = o.livemode
        WHERE (:book_all OR EXISTS (
            SELECT 1 FROM standalone_payments s WHERE s.payment_intent = p.payment_intent
            AND s.account = p.account AND s.livemode = p.livemode))
        AND NOT EXISTS (
            SELECT 1 FROM stripe_refs r WHERE r.child = p.payment_intent AND NOT r.customer
            AND r.account = p.account AND r.livemode = p.livemode)
    """)
    rows = connection.execute(query, {**columns(objects), "book_all": book_all})
    return [((row.account, row.livemode), _payment(row)) for row in rows]


def _payment(row: object) -> Payment:
    values = row._mapping  # type: ignore[attr-defined]
    return Payment(
        payment_intent=values["payment_intent"],
        customer=values["customer"],
        money=Money(values["minor"], values["currency"]),
        charge=values["charge"],
        at=values["occurred_at"],
    )


def totals(connection: Connection) -> list[tuple[str, int, int]]:
    """(currency, entries, sum in minor units) of the whole ledger; currencies never mix."""
    query = text("""
        SELECT currency, count(*), sum(minor)::bigint FROM revenue_entries GROUP BY 1 ORDER BY 1
    """)
    return [(row[0], row[1], row[2]) for row in connection.execute(query)]


def unattributed(connection: Connection) -> list[tuple[str, int, int]]:
    """(currency, payments, sum) of captured payments that neither checkout nor invoice claims."""
    query = text("""
        SELECT p.currency, count(*), sum(p.minor)::bigint FROM payments p
        WHERE NOT EXISTS (SELECT 1 FROM revenue_entries e
                          WHERE e.key = 'payment:' || p.payment_intent
                          AND e.account = p.account AND e.livemode = p.livemode)
          AND NOT EXISTS (SELECT 1 FROM stripe_refs r
                          WHERE r.child = p.payment_intent AND NOT r.customer
                          AND r.account = p.account AND r.livemode = p.livemode)
        GROUP BY 1 ORDER BY 1
    """)
    return [(row[0], row[1], row[2]) for row in connection.execute(query)]
