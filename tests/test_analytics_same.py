"""Views that were rewritten to be faster say what they said before."""

from collections.abc import Iterator
from datetime import UTC, date, datetime

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from app.local.stores import Stores
from app.store.db import make_engine
from app.store.migrate import migrate
from bench.views import make

REWRITTEN = (
    *("subscription_steps", "subscription_mrr", "mrr_movements", "analytics.mrr_daily"),
    *("analytics.mrr_monthly_by_customer", "analytics.mrr_rollforward"),
    *("analytics.mrr_rollforward_check", "analytics.retention_monthly"),
    *("analytics.dq_currency_mismatch", "analytics.dq_untold", "analytics.dq_duplicate_txn"),
    *("analytics.dq_settlement_missing", "analytics.dq_unallocated", "analytics.dq_summary"),
    *("analytics.dq_negative_mrr", "analytics.dq_unknown_mrr"),
)


@pytest.fixture
def before(stores: Stores) -> Iterator[Engine]:
    """A database of the revision before, with a ledger and subscriptions of every kind."""
    url = make_url(stores.database_url)
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text("DROP DATABASE IF EXISTS faster WITH (FORCE)"))
        connection.execute(text("CREATE DATABASE faster"))
    engine = make_engine(url.set(database="faster").render_as_string(hide_password=False), "tests")
    migrate(engine.url.render_as_string(hide_password=False), "0013")
    with engine.begin() as connection:
        # The maker knows today's tables.
        later = "ADD COLUMN effective_date date, ADD COLUMN posting_date date"
        connection.execute(text(f"ALTER TABLE settlements {later}"))
        make(connection, entries=3_000, subscriptions=200)
    yield engine
    engine.dispose()
    with server.connect() as connection:
        connection.execute(text("DROP DATABASE faster WITH (FORCE)"))
    server.dispose()


def test_a_faster_view_says_what_the_one_before_it_said(before: Engine) -> None:
    this_month = datetime.now(UTC).date().replace(day=1)
    said = {view: read(before, view, this_month) for view in REWRITTEN}
    assert {view for view, rows in said.items() if not rows} == set()

    migrate(before.url.render_as_string(hide_password=False), "0014")

    assert {view: read(before, view, this_month, *said[view][0]) for view in REWRITTEN} == said


def read(engine: Engine, view: str, this_month: date, *columns: str) -> list[dict[str, object]]:
    """Its rows in an order of ours, without those that are not over yet. `columns`: these alone."""
    with engine.connect() as connection:
        query = f"SELECT {', '.join(columns) or '*'} FROM {view}"
        rows = [dict(row) for row in connection.execute(text(query)).mappings()]
    over = [row for row in rows if row.get("month", row.get("day", date.min)) < this_month]
    return sorted(over, key=repr)
