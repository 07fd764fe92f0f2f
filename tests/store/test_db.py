"""What every connection of ours has, whatever a server's or a role's defaults are."""

import psycopg
from sqlalchemy import text

from app.local.stores import Stores
from app.store.db import make_engine


def test_what_a_2xx_and_an_advisory_lock_rest_on_is_set_on_every_connection(
    stores: Stores,
) -> None:
    url = stores.database_url.replace("postgresql+psycopg", "postgresql")
    names = ("synchronous_commit", "transaction_isolation")
    try:
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("ALTER ROLE CURRENT_USER SET synchronous_commit = off")
            other.execute(
                "ALTER ROLE CURRENT_USER SET default_transaction_isolation = serializable"
            )
        engine = make_engine(stores.database_url, "tests")
        with engine.connect() as connection:
            found = [connection.execute(text(f"SHOW {name}")).scalar_one() for name in names]
        engine.dispose()
    finally:
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("ALTER ROLE CURRENT_USER RESET ALL")

    assert found == ["on", "read committed"]
