"""The ledger as finance reads it: summed, or every entry with what it was settled as. Streamed."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from sqlalchemy import Connection, Row, text

from app.store.ledger import WITH_TAX

Dates = Literal["closed", "restated"]
Part = Literal["day", "month", "kind"]
# Of an entry: as the months were closed, or as it happened.
COLUMN: dict[Dates, str] = {"closed": "posting_date", "restated": "effective_date"}
BATCH = 2_000  # rows that are in memory at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Entries of the days [first, last); None: of every account, of both modes."""

    first: date
    last: date
    dates: Dates = "closed"
    account: str | None = None
    livemode: bool | None = None

    @property
    def values(self) -> dict[str, Any]:
        return {
            "first": self.first,
            "last": self.last,
            "account": self.account,
            "livemode": self.livemode,
        }

    @property
    def where(self) -> str:
        column = COLUMN[self.dates]
        told = [f"e.{column} >= :first AND e.{column} < :last"]
        told += ["e.account = :account"] * (self.account is not None)
        told += ["e.livemode = :livemode"] * (self.livemode is not None)
        return " AND ".join(told)


# What an entry was settled as: its transactions together, where all are of one currency.
SETTLED = """
    LEFT JOIN (
        SELECT p.key, string_agg(s.id, ' ' ORDER BY s.id COLLATE "C") AS ids,
               CASE WHEN min(s.currency) = max(s.currency) THEN trim(min(s.currency)) END
                   AS currency,
               sum(s.gross)::bigint AS gross, sum(s.fee)::bigint AS fee, sum(s.net)::bigint AS net,
               CASE WHEN count(*) = 1 THEN min(s.exchange_rate) END AS rate
        FROM settled_entries p JOIN settlements s
          ON s.account = p.account AND s.livemode = p.livemode AND s.id = p.settlement
        WHERE p.account = :account AND p.livemode = :livemode
        GROUP BY p.key
    ) s ON s.key = e.key
"""
BY: dict[Part | None, str] = {
    None: "",
    "day": "e.{column}",
    "month": "to_char(e.{column}, 'YYYY-MM')",
    "kind": "e.kind",
}


def summary(connection: Connection, wanted: Wanted, by: Part | None) -> list[dict[str, Any]]:
    """Sums in minor units by account, mode and currency, and by day, month or kind. `late`: how
    many entries have two different dates."""
    part = BY[by].format(column=COLUMN[wanted.dates])
    shown, group = (f"{part} AS part,", "1, 2, 3, 4") if part else ("", "1, 2, 3")
    order = "account, livemode DESC, currency" + (", part" if part else "")
    query = text(f"""
        SELECT e.account, e.livemode, trim(e.currency) AS currency, {shown}
               coalesce(sum(e.minor) FILTER (WHERE e.kind = 'payment'), 0)::bigint AS payments,
               coalesce(sum(e.minor) FILTER (WHERE e.kind LIKE 'refund%'), 0)::bigint AS refunds,
               coalesce(sum(e.minor) FILTER (WHERE e.kind LIKE 'dispute%'), 0)::bigint AS disputes,
               sum(e.minor)::bigint AS net,
               coalesce(sum(coalesce(e.tax_minor, told.tax_minor)), 0)::bigint AS tax,
               count(*) AS entries,
               count(*) FILTER (WHERE e.posting_date <> e.effective_date) AS late
        {WITH_TAX} WHERE {wanted.where} GROUP BY {group} ORDER BY {order}
    """)
    return [dict(row) for row in connection.execute(query, wanted.values).mappings()]


def count(connection: Connection, wanted: Wanted) -> int:
    query = text(f"SELECT count(*) FROM revenue_entries e WHERE {wanted.where}")
    return int(connection.execute(query, wanted.values).scalar_one())


def entries(connection: Connection, wanted: Wanted) -> Iterator[Row[Any]]:
    """Every entry of one account and mode, a batch at a time, in an order of its own facts."""
    assert wanted.account is not None
    assert wanted.livemode is not None
    # All rows are read: not the plan that has the first of them soonest. And a file may be long
    # in the writing after the last of them.
    connection.execute(text("SET LOCAL cursor_tuple_fraction = 1"))
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    query = text(f"""
        SELECT e.*, trim(e.currency) AS iso, coalesce(e.tax_minor, told.tax_minor) AS tax,
               s.ids AS settlements, s.currency AS settled_in, s.gross, s.fee, s.net, s.rate
        {WITH_TAX} {SETTLED} WHERE {wanted.where}
        ORDER BY e.{COLUMN[wanted.dates]}, e.key COLLATE "C"
    """)
    streaming = connection.execution_options(stream_results=True, yield_per=BATCH)
    return iter(streaming.execute(query, wanted.values))
