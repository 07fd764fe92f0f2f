"""Revenue entries with what corrections made of them."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, text

from app.core.correction import KIND, Booked, Part
from app.core.money import Money
from app.store.comparison import scoped
from app.store.identities import Scope
from app.store.ledger import WITH_TAX

IDS = ("customer", "subscription", "invoice", "payment_intent", "charge", "refund", "dispute")


def booked(connection: Connection, scope: Scope, key: str) -> Booked | None:
    """The entry of this key, which may be any but a correction, with what it counts now."""
    query = text(f"""
        SELECT e.*, trim(e.currency) AS iso, coalesce(e.tax_minor, told.tax_minor) AS tax
        {WITH_TAX}
        WHERE e.account = :account AND e.livemode = :livemode
          AND ((e.key = :key AND e.corrects IS NULL) OR e.corrects = :key)
        ORDER BY e.id
    """)
    rows = connection.execute(query, scoped(scope, key=key)).all()
    entry = next((row for row in rows if row.corrects is None), None)
    if entry is None:
        return None
    return Booked(
        account=entry.account,
        livemode=entry.livemode,
        key=key,
        kind=entry.kind,
        currency=entry.iso,
        occurred_at=entry.occurred_at,
        effective_date=entry.effective_date,
        out_of_band=entry.out_of_band,
        ids={name: value for name in IDS if (value := getattr(entry, name)) is not None},
        counts=[part for part in _parts(rows) if part.money.minor],
        number=max((_number(row.key, key) for row in rows if row.corrects), default=0),
    )


def _parts(rows: Iterable[Row[Any]]) -> list[Part]:
    """By currency, its own first."""
    found: dict[str, list[Row[Any]]] = {}
    for row in rows:
        found.setdefault(row.iso, []).append(row)
    return [
        Part(
            Money(sum(row.minor for row in of), currency),
            _sum([row.tax for row in of]),
            _sum([row.discount_minor for row in of]),
        )
        for currency, of in found.items()
    ]


def _sum(known: Sequence[int | None]) -> int | None:
    """Of what is known; None where nothing is."""
    given = [one for one in known if one is not None]
    return sum(given) if given else None


def _number(correction: str, key: str) -> int:
    return int(correction.removeprefix(f"{KIND}:{key}:").partition(":")[0])


class Corrected(NamedTuple):
    """A correction's entry."""

    key: str
    money: Money
    posting_date: Any


def of_number(connection: Connection, scope: Scope, key: str, number: int) -> list[Corrected]:
    """The entries of one correction of this entry."""
    query = text("""
        SELECT key, minor, trim(currency) AS currency, posting_date FROM revenue_entries
        WHERE account = :account AND livemode = :livemode AND corrects = :key ORDER BY id
    """)
    rows = connection.execute(query, scoped(scope, key=key))
    return [
        Corrected(row.key, Money(row.minor, row.currency), row.posting_date)
        for row in rows
        if _number(row.key, key) == number
    ]


def scopes(connection: Connection, key: str) -> list[Scope]:
    """The accounts and modes that have an entry of this key."""
    query = text("""
        SELECT account, livemode FROM revenue_entries WHERE key = :key
        ORDER BY account, livemode DESC
    """)
    return [(row[0], row[1]) for row in connection.execute(query, {"key": key})]


class Said(NamedTuple):
    """What became of a kept event: `verdict` None while it waits. `erased`: nobody reads it any
    more."""

    verdict: str | None
    reason: str | None
    erased: bool


def said(connection: Connection, scope: Scope, event_id: str) -> Said | None:
    """What became of the event of this id; None: there is none."""
    query = text("""
        SELECT CASE WHEN w.ref_id IS NULL THEN e.verdict END AS verdict, e.reason,
               e.erased_at IS NOT NULL AS erased
        FROM webhook_event_keys k JOIN webhook_events e ON e.id = k.id
        LEFT JOIN work w ON w.lane = 'process' AND w.ref_id = e.id
        WHERE k.account = :account AND k.livemode = :livemode AND k.event_id = :event_id
    """)
    row = connection.execute(query, scoped(scope, event_id=event_id)).one_or_none()
    return Said(row.verdict, row.reason, row.erased) if row else None
