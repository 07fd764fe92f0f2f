"""The ledger: signed entries, only ever added; and payments that nobody claimed yet."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Row, text

from app.core.facts import Claim, Fact, Payment
from app.core.money import Money
from app.core.settle import Paid
from app.store import work
from app.store.bulk import insert_rows
from app.store.identities import Scope, Scoped, columns
from app.store.schema import payment_claims, payments, revenue_entries
from app.store.webhook_events import Kept


def book(connection: Connection, facts: Iterable[tuple[Kept, Fact]], zone: ZoneInfo) -> None:
    """One revenue entry per money fact, or nothing if its key is booked already."""
    rows = [_entry(kept, fact, zone) for kept, fact in facts if fact.money is not None]
    insert_rows(connection, revenue_entries, rows)


def _entry(kept: Kept, fact: Fact, zone: ZoneInfo) -> dict[str, object]:
    entry = fact.money
    assert entry is not None
    effective: date = entry.effective_date or fact.at.astimezone(zone).date()
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
        "dispute": entry.dispute,
        "out_of_band": entry.out_of_band,
        "corrects": entry.corrects,
        "occurred_at": fact.at,
        "effective_date": effective,
        "posting_date": effective,
        "origin": kept.origin,
        "webhook_event_id": kept.id,
    }


def add_payments(connection: Connection, found: Iterable[tuple[Kept, Payment]]) -> None:
    rows = [
        {
            "account": kept.account,
            "livemode": kept.livemode,
            "webhook_event_id": kept.id,
            "payment": payment.id,
            "customer": payment.customer,
            "charge": payment.charge,
            "minor": payment.money.minor,
            "currency": payment.money.currency,
            "occurred_at": payment.at,
        }
        for kept, payment in found
    ]
    # Of before it was kept who told of a payment: whoever tells of it again.
    told_by = """(payment, account, livemode) DO UPDATE
        SET webhook_event_id = excluded.webhook_event_id WHERE payments.webhook_event_id IS NULL"""
    once = {(row["account"], row["livemode"], row["payment"]): row for row in reversed(rows)}
    insert_rows(connection, payments, list(once.values()), conflict=told_by)


def add_claims(connection: Connection, found: Iterable[tuple[Scope, Claim]]) -> None:
    rows = [
        {
            "account": account,
            "livemode": livemode,
            "payment": claim.payment,
            "session": claim.session,
            "tax_minor": claim.tax_minor,
            "discount_minor": claim.discount_minor,
        }
        for (account, livemode), claim in found
    ]
    insert_rows(connection, payment_claims, rows)


def claimed_payments(
    connection: Connection, objects: Collection[Scoped], *, book_all: bool
) -> list[tuple[Scope, Payment, Claim]]:
    """Of these payments, those that are revenue of their own, with who claims them: no invoice
    does, and a Checkout Session, the charge itself or Stripe's API says so.

    With `book_all` the setting claims them all, and only it: whether a session spoke before is
    nothing that an entry may depend on.
    """
    query = text("""
        SELECT p.*, c.session, c.tax_minor, c.discount_minor FROM payments p
        JOIN unnest(CAST(:accounts AS text[]), CAST(:livemodes AS boolean[]), CAST(:ids AS text[]))
            AS o (account, livemode, id)
          ON p.payment = o.id AND p.account = o.account AND p.livemode = o.livemode
        LEFT JOIN payment_claims c ON c.payment = p.payment
         AND c.account = p.account AND c.livemode = p.livemode
        WHERE (:book_all OR c.payment IS NOT NULL)
        AND NOT EXISTS (
            SELECT 1 FROM stripe_refs r WHERE r.child = p.payment AND NOT r.customer
            AND r.account = p.account AND r.livemode = p.livemode)
    """)
    rows = connection.execute(query, {**columns(objects), "book_all": book_all})
    return [((row.account, row.livemode), *_claimed(row, book_all=book_all)) for row in rows]


def _claimed(row: Row[Any], *, book_all: bool) -> tuple[Payment, Claim]:
    payment = Payment(
        id=row.payment,
        customer=row.customer,
        money=Money(row.minor, row.currency),
        charge=row.charge,
        at=row.occurred_at,
    )
    if book_all:
        return payment, Claim(payment=row.payment)
    claim = Claim(
        payment=row.payment,
        session=row.session,
        tax_minor=row.tax_minor,
        discount_minor=row.discount_minor,
    )
    return payment, claim


def paid(connection: Connection, objects: Collection[Scoped]) -> dict[Scoped, Paid]:
    """The payment entries of these invoices and one-off payments."""
    query = text("""
        SELECT e.account, e.livemode, o.id, e.minor, e.currency, e.tax_minor, e.invoice
        FROM unnest(CAST(:accounts AS text[]), CAST(:livemodes AS boolean[]), CAST(:ids AS text[]))
            AS o (account, livemode, id)
        JOIN revenue_entries e ON e.account = o.account AND e.livemode = o.livemode
         AND e.key = 'payment:' || o.id
    """)
    return {
        (row.account, row.livemode, row.id): Paid(
            money=Money(row.minor, row.currency),
            tax_minor=row.tax_minor or 0,
            invoice=row.invoice,
        )
        for row in connection.execute(query, columns(objects))
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Unattributed:
    """A leased payment that nobody claims; `id` is the webhook event's that told of it.
    `settled`: meanwhile somebody does, or another webhook event asks for it. `age` is seconds
    since it was received."""

    id: int
    token: int
    attempts: int
    age: float
    account: str
    livemode: bool
    payment: str
    settled: bool


LEASE_UNATTRIBUTED = text(f"""
{work.LEASED}
SELECT l.ref_id AS id, l.token, l.attempts,
       extract(epoch FROM clock_timestamp() - coalesce(p.recorded_at, clock_timestamp()))::float8
           AS age,
       coalesce(p.account, '') AS account, coalesce(p.livemode, false) AS livemode,
       coalesce(p.payment, '') AS payment,
       p.payment IS NULL OR EXISTS (SELECT 1 FROM payment_claims c WHERE c.payment = p.payment
               AND c.account = p.account AND c.livemode = p.livemode)
       OR EXISTS (SELECT 1 FROM stripe_refs r WHERE r.child = p.payment AND NOT r.customer
                  AND r.account = p.account AND r.livemode = p.livemode) AS settled
FROM leased l LEFT JOIN payments p ON p.webhook_event_id = l.ref_id
""")


def lease_unattributed(connection: Connection, limit: int, seconds: float) -> list[Unattributed]:
    """Up to `limit` payments to ask Stripe about, ours for so many seconds."""
    values = {"lane": work.ASK, "limit": limit, "lease": seconds}
    found = connection.execute(LEASE_UNATTRIBUTED, values)
    return [Unattributed(**row) for row in found.mappings()]


def totals(connection: Connection) -> list[tuple[str, int, int]]:
    """(currency, entries, sum in minor units) of the whole ledger; currencies never mix."""
    query = text("""
        SELECT currency, count(*), sum(minor)::bigint FROM revenue_entries GROUP BY 1 ORDER BY 1
    """)
    return [(row[0], row[1], row[2]) for row in connection.execute(query)]


def has_invoices(connection: Connection) -> bool:
    """Whether any payment of an invoice is booked."""
    query = text("""
        SELECT EXISTS (SELECT 1 FROM revenue_entries WHERE kind = 'payment' AND invoice IS NOT NULL)
    """)
    return bool(connection.execute(query).scalar_one())


# The tax in a refund or a dispute is its share of the payment's, as it was worked out when told.
WITH_TAX = """
    FROM revenue_entries e
    LEFT JOIN analytics_events told ON e.tax_minor IS NULL AND told.account = e.account
     AND told.livemode = e.livemode AND told.key = e.key
"""

# No entry of its own, and none of the invoice that it is a part of.
UNATTRIBUTED = """
    FROM payments p
    LEFT JOIN LATERAL (
        SELECT min(r.parent) AS id FROM stripe_refs r
        WHERE r.child = p.payment AND NOT r.customer
          AND r.account = p.account AND r.livemode = p.livemode
    ) invoice ON true
    WHERE NOT EXISTS (SELECT 1 FROM revenue_entries e
                      WHERE e.key IN ('payment:' || p.payment, 'payment:' || invoice.id)
                      AND e.account = p.account AND e.livemode = p.livemode)
"""


def unattributed(connection: Connection) -> list[dict[str, Any]]:
    """Captured payments that are no revenue yet, by mode and currency: how many, and their sum."""
    query = text(f"""
        SELECT p.livemode, p.currency, count(*) AS payments, sum(p.minor)::bigint AS minor
        {UNATTRIBUTED} GROUP BY 1, 2 ORDER BY 1 DESC, 2
    """)
    return [dict(row) for row in connection.execute(query).mappings()]


def unattributed_payments(
    connection: Connection, limit: int, *, older_than: float = 0
) -> list[dict[str, Any]]:
    """The newest of them, one by one; `older_than`: known to us for so many seconds. `invoice` is
    that of a part payment, whose invoice is neither paid nor voided yet."""
    query = text(f"""
        SELECT p.account, p.livemode, p.payment, p.charge, p.customer, p.minor, p.currency,
               p.occurred_at, p.recorded_at, invoice.id AS invoice
        {UNATTRIBUTED}
          AND p.recorded_at <= clock_timestamp() - make_interval(secs => :older_than)
        ORDER BY p.occurred_at DESC, p.payment LIMIT :limit
    """)
    rows = connection.execute(query, {"limit": limit, "older_than": older_than})
    return [dict(row) for row in rows.mappings()]
