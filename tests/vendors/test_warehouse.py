"""The tests' warehouse counts by its own SQL, whatever wrote to it."""

from decimal import Decimal

from app.destinations import build
from app.destinations.warehouse import Warehouse
from app.local.stores import EmbeddedStores
from tests.vendors.warehouse import TABLE, configured, warehouse


def test_it_sums_by_currency_and_is_gone_after(embedded: EmbeddedStores) -> None:
    with warehouse(embedded.current.database_url, "counting") as one:
        assert isinstance(
            build("warehouse", configured(one.url), allow_local_urls=False), Warehouse
        )
        one.sql(f"CREATE TABLE {TABLE} (event_id int, amount numeric, currency text)")
        one.sql(f"INSERT INTO {TABLE} VALUES (1, 12.99, 'USD'), (2, -5, 'USD'), (3, 7, 'JPY')")
        one.sql(f"INSERT INTO {TABLE} VALUES (4, NULL, NULL)")

        assert (one.counted(), one.revenue()) == (
            4,
            {"usd": Decimal("7.99"), "jpy": Decimal(7)},
        )
        left = "SELECT count(*) FROM pg_database WHERE datname = 'counting'"
        assert one.sql(left) == [(1,)]
