"""The ledger as finance reads it: summed, or every entry with what it was settled as. Streamed."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from sqlalchemy import Connection, Row, TextClause, text

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
        FROM current_settled_entries p JOIN settlements s ON s.account = p.account
         AND s.livemode = p.livemode AND s.id = p.settlement AND s.run = p.run
        WHERE p.account = :account AND p.livemode = :livemode
        GROUP BY p.key
    ) s ON s.key = e.key
"""
# What payment records say was paid of an entry outside of Stripe, and whether that is all of it.
OUTSIDE = """
    LEFT JOIN (
        SELECT c.key, c.currency, least(sum(p.minor), c.minor)::bigint AS minor,
               sum(p.minor) >= c.minor AS whole
        FROM payments p JOIN stripe_refs r ON r.child = p.payment AND NOT r.customer
         AND r.account = p.account AND r.livemode = p.livemode
        JOIN revenue_entries c ON c.account = p.account AND c.livemode = p.livemode
         AND c.key = 'payment:' || r.parent AND c.currency = p.currency
        WHERE p.payment LIKE 'pr\\_%' AND p.account = :account AND p.livemode = :livemode
        GROUP BY c.key, c.currency, c.minor
    ) o ON o.key = coalesce(e.corrects, e.key) AND o.currency = e.currency
"""
# The kind of the entry that a correction is of: looked up for these few alone.
CORRECTED = """
    CASE WHEN e.corrects IS NOT NULL THEN (
        SELECT c.kind FROM revenue_entries c
        WHERE c.account = e.account AND c.livemode = e.livemode AND c.key = e.corrects) END
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
               coalesce(sum(e.minor) FILTER (WHERE e.kind = 'correction'), 0)::bigint
                   AS corrections,
               sum(e.minor)::bigint AS net,
               coalesce(sum(coalesce(e.tax_minor, told.tax_minor)), 0)::bigint AS tax,
               count(*) AS entries,
               count(*) FILTER (WHERE e.posting_date <> e.effective_date) AS late
        {WITH_TAX} WHERE {wanted.where} GROUP BY {group} ORDER BY {order}
    """)
    return [dict(row) for row in connection.execute(query, wanted.values).mappings()]


def known(connection: Connection, account: str, *, livemode: bool) -> bool:
    """Whether anything of this account and mode was booked, or came."""
    query = text("""
        SELECT EXISTS (SELECT FROM revenue_entries
                       WHERE account = :account AND livemode = :livemode)
            OR EXISTS (SELECT FROM webhook_event_keys
                       WHERE account = :account AND livemode = :livemode)
    """)
    values = {"account": account, "livemode": livemode}
    return bool(connection.execute(query, values).scalar_one())


def count(connection: Connection, wanted: Wanted) -> int:
    query = text(f"SELECT count(*) FROM revenue_entries e WHERE {wanted.where}")
    return int(connection.execute(query, wanted.values).scalar_one())


def entries(connection: Connection, wanted: Wanted) -> Iterator[Row[Any]]:
    """Every entry of one account and mode, a batch at a time, in an order of its own facts."""
    assert wanted.account is not None
    assert wanted.livemode is not None
    query = text(f"""
        SELECT e.*, trim(e.currency) AS iso, coalesce(e.tax_minor, told.tax_minor) AS tax,
               s.ids AS settlements, s.currency AS settled_in, s.gross, s.fee, s.net, s.rate,
               {CORRECTED} AS corrected, o.minor AS outside,
               CASE WHEN o.whole THEN true ELSE e.out_of_band END AS all_outside
        {WITH_TAX} {SETTLED} {OUTSIDE} WHERE {wanted.where}
        ORDER BY e.{COLUMN[wanted.dates]}, e.key COLLATE "C"
    """)
    return stream(connection, query, wanted)


def stream(connection: Connection, query: TextClause, wanted: Wanted) -> Iterator[Row[Any]]:
    """All rows of a query, `BATCH` in memory at a time, for a file."""
    # Not the plan that has the first of them soonest. And a file may be long in the writing after
    # the last of them.
    connection.execute(text("SET LOCAL cursor_tuple_fraction = 1"))
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    streaming = {"stream_results": True, "yield_per": BATCH}
    return iter(connection.execute(query, wanted.values, execution_options=streaming))
