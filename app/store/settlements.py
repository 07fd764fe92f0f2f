"""Settlements: Stripe's balance transactions as reconciliations read them. Only ever added.

A transaction has a row for each run that found something new of it. What a later run finds
otherwise, or not at all, is withdrawn: of what is left, current_settlements, all else is made.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, text

from app.core.money import Money
from app.core.reconcile.rows import StripeRow
from app.store.bulk import batches, insert_all, streamed
from app.store.comparison import scoped
from app.store.identities import Scope
from app.store.schema import settled_entries, settlements

KEEPING_LOCK = 7_203_514_016  # an advisory lock: of whoever keeps what a run found


def take_turns(connection: Connection) -> None:
    """Until the transaction ends, no other run keeps anything."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": KEEPING_LOCK})


def add(
    connection: Connection, scope: Scope, run: int, rows: Iterable[StripeRow], zone: ZoneInfo
) -> None:
    """As this run found them, each on its day; on a later one if that month is closed."""
    account, livemode = scope
    found = (
        {
            "account": account,
            "livemode": livemode,
            "id": row.id,
            "created": row.created,
            "category": row.category,
            "gross": row.gross,
            "fee": row.fee,
            "net": row.net,
            "currency": row.currency,
            "minor": row.shown.minor if row.shown else None,
            "customer_currency": row.shown.currency if row.shown else None,
            "exchange_rate": None if row.exchange_rate is None else str(row.exchange_rate),
            "source": row.source,
            "charge": row.charge,
            "payment_intent": row.payment_intent,
            "invoice": row.invoice,
            "run": run,
            "effective_date": (day := row.day(zone)),
            "posting_date": day,
        }
        for row in rows
    )
    insert_all(connection, settlements, found)


COPIED = """account, livemode, id, created, category, gross, fee, net, currency, minor,
    customer_currency, exchange_rate, source, charge, payment_intent, invoice, effective_date"""


def repeat(connection: Connection, scope: Scope, run: int, ids: Collection[str]) -> None:
    """These as they are known, as a row of this run: what they are of is known otherwise."""
    query = text(f"""
        INSERT INTO settlements ({COPIED}, run, posting_date)
        SELECT {COPIED}, :run, effective_date
        FROM json_array_elements_text(CAST(:ids AS json)) AS wanted JOIN current_settlements
          ON account = :account AND livemode = :livemode AND id = wanted
    """)
    for some in batches(ids):
        connection.execute(query, scoped(scope, run=run, ids=some))


def withdraw(connection: Connection, scope: Scope, run: int, ids: Collection[str]) -> None:
    """What other runs kept of these counts no more. It leaves the journal on the day that it is
    there; on a later one if that month is closed."""
    # What was withdrawn before is a conflict: looking for it would look through what is inserted.
    query = text("""
        INSERT INTO withdrawn_settlements (account, livemode, id, run, by_run, posting_date)
        SELECT account, livemode, id, run, :run, posting_date
        FROM json_array_elements_text(CAST(:ids AS json)) AS wanted JOIN settlements
          ON account = :account AND livemode = :livemode AND id = wanted AND run <> :run
        ON CONFLICT DO NOTHING
    """)
    for some in batches(ids):
        connection.execute(query, scoped(scope, run=run, ids=some))


def settle(
    connection: Connection, scope: Scope, run: int, pairs: Iterable[tuple[str, str]]
) -> None:
    """Which settlement of this run is of which revenue entry: (a transaction's id, a key)."""
    account, livemode = scope
    found = (
        {"account": account, "livemode": livemode, "settlement": one, "run": run, "key": key}
        for one, key in sorted(pairs)
    )
    insert_all(connection, settled_entries, found)


def of_days(
    connection: Connection, scope: Scope, first: datetime, last: datetime
) -> Iterator[tuple[StripeRow, int]]:
    """Those created in [first, last), each with the run that kept it, as a stream."""
    query = text("""
        SELECT id, created, category, gross, fee, net, currency, minor, customer_currency, source,
               charge, payment_intent, invoice, exchange_rate, run
        FROM current_settlements WHERE account = :account AND livemode = :livemode
        AND created >= :first AND created < :last ORDER BY id
    """)
    rows = streamed(connection, query, scoped(scope, first=first, last=last))
    return (_row(*row) for row in rows)


def keys_of_days(
    connection: Connection, scope: Scope, first: datetime, last: datetime
) -> dict[str, list[str]]:
    """The keys of the entries that the settlements created in [first, last) are of."""
    query = text("""
        SELECT p.settlement, p.key FROM current_settled_entries p JOIN settlements s
          ON s.account = p.account AND s.livemode = p.livemode AND s.id = p.settlement
         AND s.run = p.run
        WHERE s.account = :account AND s.livemode = :livemode
          AND s.created >= :first AND s.created < :last
    """)
    found: dict[str, list[str]] = {}
    for settlement, key in streamed(connection, query, scoped(scope, first=first, last=last)):
        found.setdefault(settlement, []).append(key)
    return found


def _row(
    id_: str, created: datetime, category: str, gross: int, fee: int, net: int, *rest: Any
) -> tuple[StripeRow, int]:
    """Of the query's columns, in their order."""
    currency, minor, shown_in, source, charge, payment_intent, invoice, rate, run = rest
    row = StripeRow(
        id=id_,
        created=created,
        category=category,
        gross=gross,
        fee=fee,
        net=net,
        currency=currency,
        shown=None if minor is None else Money(minor, shown_in),
        source=source,
        charge=charge,
        payment_intent=payment_intent,
        invoice=invoice,
        exchange_rate=rate,
    )
    return row, run
