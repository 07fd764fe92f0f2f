"""What a reconciliation reads of the ledger and of what was told of it: no query per row."""

from collections.abc import Collection, Iterator
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, TextClause, text

from app.core.money import Money
from app.core.reconcile.rows import LedgerEntry
from app.store.bulk import batches, streamed
from app.store.identities import Scope

COLUMNS = """e.key, e.kind, e.minor, e.currency, e.occurred_at, e.effective_date, e.posting_date,
    e.origin, e.tax_minor, e.invoice, e.payment_intent, e.charge, e.refund, e.dispute,
    e.out_of_band, e.corrects"""
OF_DAYS = text(f"""
    SELECT {COLUMNS} FROM revenue_entries e
    WHERE e.effective_date >= :first AND e.effective_date < :last
    AND e.account = :account AND e.livemode = :livemode
""")
OF_KEYS = text(f"""
    SELECT {COLUMNS} FROM json_array_elements_text(CAST(:ids AS json)) AS k (key)
    JOIN revenue_entries e ON e.account = :account AND e.livemode = :livemode AND e.key = k.key
""")
OF_CORRECTIONS = text(f"""
    SELECT {COLUMNS} FROM json_array_elements_text(CAST(:ids AS json)) AS k (key)
    JOIN revenue_entries e ON e.account = :account AND e.livemode = :livemode
     AND e.corrects = k.key
""")
# One document and not a row each, which would cost ten times as much to read.
PARENTS = text("""
    SELECT json_agg(json_build_array(r.child, r.parent))
    FROM json_array_elements_text(CAST(:ids AS json)) AS o (id)
    JOIN stripe_refs r ON r.child = o.id AND r.account = :account AND r.livemode = :livemode
    WHERE NOT r.customer
""")


def scoped(scope: Scope, **more: object) -> dict[str, object]:
    """The values of a statement, with whose they are."""
    account, livemode = scope
    return {"account": account, "livemode": livemode, **more}


def entries_of_days(
    connection: Connection, scope: Scope, first: date, last: date
) -> dict[str, LedgerEntry]:
    """The entries of [first, last) by their effective date, by key."""
    rows = streamed(connection, OF_DAYS, scoped(scope, first=first, last=last))
    return {row[0]: _entry(*row) for row in rows}


def entries_of_keys(
    connection: Connection, scope: Scope, keys: Collection[str]
) -> dict[str, LedgerEntry]:
    """The entries of these keys, of whatever day, and their corrections."""
    found = _of_ids(connection, scope, OF_KEYS, keys)
    return found | _of_ids(connection, scope, OF_CORRECTIONS, found)


def _of_ids(
    connection: Connection, scope: Scope, query: TextClause, ids: Collection[str]
) -> dict[str, LedgerEntry]:
    return {
        row[0]: _entry(*row)
        for some in batches(ids)
        for row in connection.execute(query, scoped(scope, ids=some))
    }


def _entry(
    key: str, kind: str, minor: int, currency: str, occurred_at: datetime, *rest: Any
) -> LedgerEntry:
    """Of COLUMNS, in their order: attributes of a row cost more than all the rest."""
    effective, posting, origin, tax, invoice, intent, charge, refund, dispute, *more = rest
    out_of_band, corrects = more
    return LedgerEntry(
        key=key,
        kind=kind,
        money=Money(minor, currency),
        occurred_at=occurred_at,
        effective_date=effective,
        posting_date=posting,
        origin=origin,
        tax_minor=tax,
        invoice=invoice,
        payment_intent=intent,
        charge=charge,
        refund=refund,
        dispute=dispute,
        out_of_band=out_of_band,
        corrects=corrects,
    )


def parents(connection: Connection, scope: Scope, ids: Collection[str]) -> list[tuple[str, str]]:
    """What these charges and payment intents belong to, as far up as an invoice."""
    found: list[tuple[str, str]] = []
    asked: set[str] = set()
    wanted = set(ids)
    while wanted:
        asked |= wanted
        new = [
            (child, parent)
            for some in batches(wanted)
            for child, parent in connection.scalar(PARENTS, scoped(scope, ids=some)) or ()
        ]
        found += new
        wanted = {parent for _, parent in new if not parent.startswith("in_")} - asked
    return found


# --- the other legs


def tellings(connection: Connection, scope: Scope, first: date, last: date) -> Iterator[Any]:
    """Every entry of [first, last) with each of its deliveries, or with none. Streams tuples of
    the columns below; the rows of one entry follow each other."""
    query = text("""
        SELECT e.key, e.minor, e.currency, a.tax_minor, a.state AS event, a.reason AS why,
               d.destination, d.state, d.reason, d.payload
        FROM revenue_entries e
        LEFT JOIN analytics_events a
          ON a.account = e.account AND a.livemode = e.livemode AND a.key = e.key
        LEFT JOIN deliveries d ON d.analytics_event_id = a.id
        WHERE e.effective_date >= :first AND e.effective_date < :last
          AND e.account = :account AND e.livemode = :livemode
        ORDER BY e.key, d.destination
    """)
    return streamed(connection, query, scoped(scope, first=first, last=last))


def conversions(
    connection: Connection, scope: Scope, first: date, last: date
) -> list[tuple[date, str | None, str | None, int, Money]]:
    """(day, utm_source, utm_medium, how many, how much) of the payments that a checkout or a first
    invoice made, as they count once corrected: what a browser may have seen. Renewals are not."""
    query = text("""
        SELECT e.day, a.properties ->> 'utm_source' AS source,
               a.properties ->> 'utm_medium' AS medium, e.currency, count(*) AS conversions,
               sum(e.minor)::bigint AS minor
        FROM (
            SELECT coalesce(corrects, key) AS key, effective_date AS day, currency,
                   sum(minor) AS minor
            FROM revenue_entries
            WHERE effective_date >= :first AND effective_date < :last
              AND (kind = 'payment' OR corrects LIKE 'payment:%')
              AND account = :account AND livemode = :livemode
            GROUP BY 1, 2, 3 HAVING sum(minor) <> 0
        ) e JOIN analytics_events a
          ON a.account = :account AND a.livemode = :livemode AND a.key = e.key
        WHERE coalesce(a.properties ->> 'billing_reason', 'subscription_create')
              IN ('subscription_create', 'manual')
        GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    """)
    rows = connection.execute(query, scoped(scope, first=first, last=last))
    return [
        (row.day, row.source, row.medium, row.conversions, Money(row.minor, row.currency))
        for row in rows
    ]
