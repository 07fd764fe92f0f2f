"""What the journal is made of: revenue entries, and settlements as they were recorded. Streamed."""

from collections.abc import Iterator
from datetime import date
from typing import NamedTuple

from sqlalchemy import Connection, text

from app.store.exports import COLUMN, CORRECTED, OUTSIDE, Wanted, stream
from app.store.ledger import WITH_TAX


class Booked(NamedTuple):
    """A revenue entry on its day. `corrected`: the kind of what it corrects; `outside`: what of it
    was paid outside of Stripe, `all_outside`: all of it."""

    day: date
    key: str
    kind: str
    corrected: str | None
    corrects: str | None
    minor: int
    currency: str
    tax: int | None
    outside: int | None
    all_outside: bool | None


class Moved(NamedTuple):
    """A settlement on its day, as `run` found it. `by_run`: it is taken back, as that run found it
    otherwise or not at all. `minor` of `shown_in` is what the customer saw, if known."""

    day: date
    id: str
    category: str
    source: str | None
    gross: int
    fee: int
    net: int
    currency: str
    minor: int | None
    shown_in: str | None
    run: int
    by_run: int | None


MOVED = """s.id, s.category, s.source, s.gross, s.fee, s.net, trim(s.currency) AS currency, s.minor,
    trim(s.customer_currency) AS shown_in, s.run"""
WITHDRAWN = "w.account = s.account AND w.livemode = s.livemode AND w.id = s.id AND w.run = s.run"
# As recorded: what was withdrawn on the day that it stands on was never there; what later, on that
# later day. So the days of a closed month have what they had when it was closed.
RECORDED = f"""
    SELECT s.posting_date AS day, {MOVED}, NULL::bigint AS by_run
    FROM settlements s
    WHERE {{where}} AND s.posting_date >= :first AND s.posting_date < :last
      AND NOT EXISTS (SELECT FROM withdrawn_settlements w
                      WHERE {WITHDRAWN} AND w.posting_date = s.posting_date)
    UNION ALL
    SELECT w.posting_date, {MOVED}, w.by_run
    FROM withdrawn_settlements w JOIN settlements s ON {WITHDRAWN}
    WHERE {{where}} AND w.posting_date >= :first AND w.posting_date < :last
      AND w.posting_date <> s.posting_date
"""
CURRENT = f"""
    SELECT s.effective_date AS day, {MOVED}, NULL::bigint AS by_run
    FROM current_settlements s
    WHERE {{where}} AND s.effective_date >= :first AND s.effective_date < :last
"""
WHOSE = "s.account = :account AND s.livemode = :livemode"


def booked(connection: Connection, wanted: Wanted) -> Iterator[Booked]:
    """The entries of one account and mode by day and key."""
    column = COLUMN[wanted.dates]
    query = f"""
        SELECT e.{column} AS day, e.key, e.kind, {CORRECTED} AS corrected, e.corrects, e.minor,
               trim(e.currency) AS currency, coalesce(e.tax_minor, told.tax_minor) AS tax,
               o.minor AS outside, CASE WHEN o.whole THEN true ELSE e.out_of_band END AS all_outside
        {WITH_TAX} {OUTSIDE} WHERE {wanted.where}
        ORDER BY e.{column}, e.key COLLATE "C"
    """
    return map(Booked._make, stream(connection, text(query), wanted))


def moved(connection: Connection, wanted: Wanted) -> Iterator[Moved]:
    """The settlements of one account and mode by day and id, what is taken back before what takes
    its place."""
    query = (RECORDED if wanted.dates == "closed" else CURRENT).format(where=WHOSE)
    ordered = f'SELECT * FROM ({query}) AS s ORDER BY day, id COLLATE "C", by_run NULLS LAST, run'
    return map(Moved._make, stream(connection, text(ordered), wanted))
