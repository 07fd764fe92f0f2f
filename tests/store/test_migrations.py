"""Migrations make the tables that the code expects, one migrator at a time."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import date

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from app.local.stores import Stores
from app.store.db import make_engine
from app.store.migrate import add_partitions, head, migrate, revision, set_reporting_zone
from app.store.schema import metadata


@pytest.fixture
def empty_database(stores: Stores) -> Iterator[str]:
    url = make_url(stores.database_url)
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text("DROP DATABASE IF EXISTS migrations WITH (FORCE)"))
        connection.execute(text("CREATE DATABASE migrations"))
    yield url.set(database="migrations").render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.execute(text("DROP DATABASE migrations WITH (FORCE)"))
    server.dispose()


def test_migrations_and_schema_give_the_same_tables(engine: Engine) -> None:
    def ours(name: str | None, kind: str, _parents: object) -> bool:
        return kind != "table" or not (name or "").startswith("webhook_events_")

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": ours})
        assert compare_metadata(context, metadata) == []


def test_four_migrators_at_once_take_turns(empty_database: str) -> None:
    code = "import sys; from app.store.migrate import migrate; migrate(sys.argv[1])"
    command = [sys.executable, "-c", code, empty_database]
    migrators = [subprocess.Popen(command) for _ in range(4)]
    assert [one.wait(60) for one in migrators] == [0, 0, 0, 0]

    engine = make_engine(empty_database, "tests")
    with engine.connect() as connection:
        assert revision(connection) == head()
        partitions = connection.execute(
            text("SELECT count(*) FROM pg_inherits WHERE inhparent = 'webhook_events'::regclass")
        ).scalar_one()
    engine.dispose()
    assert partitions == 14  # this month, twelve more, and the default


def test_a_month_that_began_in_the_default_partition_stays_there(empty_database: str) -> None:
    migrate(empty_database)
    engine = make_engine(empty_database, "tests")
    with engine.begin() as connection:
        connection.execute(
            text("""
                INSERT INTO webhook_events
                    (id, received_at, account, livemode, event_id, type, created, origin, raw)
                VALUES (1, '2031-05-20', '', true, 'evt_1', 'x', '2031-05-20', 'webhook', '{}')
            """)
        )
        add_partitions(connection, date(2031, 5, 1), 1)
        names = connection.execute(
            text(
                "SELECT relname FROM pg_class WHERE relname LIKE 'webhook\\_events\\_2031%'"
                " AND relkind = 'r'"
            )
        ).scalars()
        assert list(names) == ["webhook_events_2031_06"]
    engine.dispose()


def test_a_database_of_the_first_revision_keeps_what_it_holds(empty_database: str) -> None:
    migrate(empty_database, "0001")
    engine = make_engine(empty_database, "tests")
    with engine.begin() as connection:
        connection.execute(
            text("""
                INSERT INTO webhook_events
                    (id, account, livemode, event_id, type, created, origin, raw)
                VALUES (7, '', true, 'evt_7', 'x', '2026-01-01', 'webhook', '{}');
                INSERT INTO identity_links
                    (account, livemode, object_id, source, rank, ids, campaign, stated_at, digest)
                SELECT '', true, 'sub_1', 'subscription.metadata', 1, '{"user_id": "u"}', '{}',
                    at, 'd'
                FROM unnest(ARRAY['2026-01-03', '2026-01-01', '2026-01-02']::timestamptz[]) AS at;
                INSERT INTO payments
                    (account, livemode, payment_intent, minor, currency, occurred_at)
                VALUES ('', true, 'pi_1', 900, 'eur', '2026-01-01');
                INSERT INTO standalone_payments VALUES ('', true, 'pi_1');
                INSERT INTO subscription_snapshots (webhook_event_id, account, livemode,
                    subscription, stated_at, status, started_at, items, discounts)
                VALUES (7, '', true, 'sub_1', '2026-01-01', 'active', '2026-01-01', '[]', '[]');
            """)
        )

    migrate(empty_database)

    with engine.connect() as connection:
        found = {
            name: [tuple(row) for row in connection.execute(text(query))]
            for name, query in {
                "links": "SELECT stated_at::date::text, anchor FROM identity_links",
                "payments": "SELECT payment, minor FROM payments",
                "claims": "SELECT payment, session, tax_minor FROM payment_claims",
                "snapshots": "SELECT event_id, paused_collection FROM subscription_snapshots",
                "to be measured": "SELECT lane, ref_id FROM work",
            }.items()
        }
    engine.dispose()
    assert found == {
        "links": [("2026-01-01", False)],
        "payments": [("pi_1", 900)],
        "claims": [("pi_1", None, 0)],
        "snapshots": [("evt_7", False)],
        "to be measured": [("measure", 7)],
    }


def test_settlements_of_before_stand_on_their_days_and_stay_as_they_were(
    empty_database: str,
) -> None:
    migrate(empty_database, "0015")
    engine = make_engine(empty_database, "tests")
    with engine.begin() as connection:
        set_reporting_zone(connection, "Europe/Berlin")
        connection.execute(
            text("""
                INSERT INTO settlements (account, livemode, id, created, category, gross, fee, net,
                    currency)
                VALUES ('', true, 'txn_1', '2026-01-31 23:30Z', 'charge', 900, 50, 850, 'eur');
                INSERT INTO settled_entries VALUES ('', true, 'txn_1', 'payment:in_1');
            """)
        )

    migrate(empty_database)

    with engine.connect() as connection:
        dates = "effective_date::text, posting_date::text, run, fee"
        of = connection.execute(text(f"SELECT id, {dates} FROM current_settlements")).all()
        pairs = connection.execute(text("SELECT * FROM current_settled_entries")).all()
    with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
        connection.execute(text("UPDATE settlements SET fee = fee"))
    engine.dispose()
    assert [tuple(row) for row in of] == [("txn_1", "2026-02-01", "2026-02-01", 0, 50)]
    assert [tuple(row) for row in pairs] == [("", True, "txn_1", "payment:in_1", 0)]
