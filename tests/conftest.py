"""A real Postgres and a real Valkey for the whole run, emptied before each test that asks."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from app.destinations import build
from app.destinations.base import Destination
from app.local.stores import EmbeddedStores, Stores
from app.queue import connect
from app.settings import Settings, WebhookSecret
from app.store.db import make_engine
from app.store.migrate import migrate
from app.store.schema import metadata

SECRET = "whsec_dGVzdHMtc2lnbi13aXRoLXRoaXMtb25l"


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStores]:
    """The stores themselves, for tests that stop them; they must be running again after."""
    stores = EmbeddedStores(tmp_path_factory.mktemp("stores"))
    migrate(stores.start().database_url)
    yield stores
    stores.stop()


@pytest.fixture(scope="session")
def _engine(embedded: EmbeddedStores) -> Iterator[Engine]:
    engine = make_engine(embedded.current.database_url, "tests")
    yield engine
    engine.dispose()


@pytest.fixture
def stores(embedded: EmbeddedStores, _engine: Engine) -> Stores:
    """Both stores, empty."""
    names = ", ".join(table.name for table in metadata.sorted_tables)
    with _engine.begin() as connection:
        # As a replica, so that the ledger's own triggers let the tests begin with nothing.
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY"))
    connect(embedded.current.redis_url).flushall()
    return embedded.current


@pytest.fixture
def engine(stores: Stores, _engine: Engine) -> Engine:
    """An engine on the emptied database."""
    return _engine


@pytest.fixture
def settings(stores: Stores, tmp_path: Path) -> Settings:
    """Settings of a bridge on these stores, without destinations."""
    return Settings(
        database_url=stores.database_url,
        redis_url=stores.redis_url,
        data_dir=tmp_path,
        webhook_secrets=(WebhookSecret(label="tests", value=SECRET),),
        allow_local_urls=True,
    )


@pytest.fixture
def with_destinations(settings: Settings) -> Callable[..., Settings]:
    """`with_destinations(amplitude={"api_key": ..., "url": ...})`: the settings with these."""

    def configured(**options: Any) -> Settings:
        found: list[Destination] = []
        for name, values in options.items():
            one = build(name, {"livemode": "both", **values}, allow_local_urls=True)
            assert isinstance(one, Destination), one
            found.append(one)
        return replace(settings, destinations=tuple(found))

    return configured
