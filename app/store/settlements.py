"""Settlements: Stripe's balance transactions as reconciliations read them. Only ever added."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from app.core.money import Money
from app.core.reconcile.rows import StripeRow
from app.store.bulk import insert_all, streamed
from app.store.comparison import scoped
from app.store.identities import Scope
from app.store.schema import settled_entries, settlements


def add(connection: Connection, scope: Scope, rows: Iterable[StripeRow]) -> None:
    """Those that are not known yet."""
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
        }
        for row in rows
    )
    insert_all(connection, settlements, found)


def settle(connection: Connection, scope: Scope, pairs: Iterable[tuple[str, str]]) -> None:
    """Which settlement is of which revenue entry: pairs of a transaction's id and a key."""
    account, livemode = scope
    found = (
        {"account": account, "livemode": livemode, "settlement": settlement, "key": key}
        for settlement, key in sorted(pairs)
    )
    insert_all(connection, settled_entries, found)


def of_days(
    connection: Connection, scope: Scope, first: datetime, last: datetime
) -> Iterator[StripeRow]:
    """Those created in [first, last), as a stream."""
    query = text("""
        SELECT id, created, category, gross, fee, net, currency, minor, customer_currency, source,
               charge, payment_intent, invoice, exchange_rate
        FROM settlements WHERE account = :account AND livemode = :livemode
        AND created >= :first AND created < :last ORDER BY id
    """)
    rows = streamed(connection, query, scoped(scope, first=first, last=last))
    return (_row(*row) for row in rows)


def pairs_of_days(
    connection: Connection, scope: Scope, first: datetime, last: datetime
) -> set[tuple[str, str]]:
    """(settlement, key) of the settlements created in [first, last)."""
    query = text("""
        SELECT p.settlement, p.key FROM settled_entries p JOIN settlements s
          ON s.account = p.account AND s.livemode = p.livemode AND s.id = p.settlement
        WHERE s.account = :account AND s.livemode = :livemode
          AND s.created >= :first AND s.created < :last
    """)
    rows = streamed(connection, query, scoped(scope, first=first, last=last))
    return {(settlement, key) for settlement, key in rows}


def _row(
    id_: str, created: datetime, category: str, gross: int, fee: int, net: int, *rest: Any
) -> StripeRow:
    """Of the query's columns, in their order."""
    currency, minor, shown_in, source, charge, payment_intent, invoice, exchange_rate = rest
    return StripeRow(
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
        exchange_rate=exchange_rate,
    )
