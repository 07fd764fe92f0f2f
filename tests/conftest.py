"""A real Postgres and a real Valkey for the whole run, emptied before each test that asks. What
a test lets out is held against docs/schemas after it."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
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
SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"
FORMATS = FormatChecker(formats=["uuid"])


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
def engine(request: pytest.FixtureRequest, stores: Stores, _engine: Engine) -> Iterator[Engine]:
    """An engine on the emptied database. After the test, every analytics event that was released
    must have the properties that its schema says."""
    yield _engine
    if "planted" not in request.fixturenames and (faults := _faults(_engine)):
        pytest.fail("analytics events are not as docs/schemas says:\n" + "\n".join(faults))


@pytest.fixture
def planted() -> None:
    """For tests that plant analytics events of their own making, which no schema describes."""


def _faults(engine: Engine) -> list[str]:
    """A line for each way in which released analytics events differ from their schema."""
    query = "SELECT name, key, properties FROM analytics_events WHERE state = 'released'"
    with engine.connect() as connection:
        rows = connection.execute(text(query)).all()
    keys: dict[str, list[str]] = defaultdict(list)
    for name, key, properties in rows:
        validator = _validator(name)
        if validator is None:
            keys[f"{name}: there is no such analytics event"].append(key)
        elif not validator.is_valid(properties):
            for fault in validator.iter_errors(properties):
                keys[f"{name}: {fault.json_path}: {fault.message}"].append(key)
    return [f"  {fault} ({len(told)}, such as {told[0]})" for fault, told in sorted(keys.items())]


@cache
def _validator(name: str) -> Draft202012Validator | None:
    file = SCHEMAS / f"{name}.json"
    if not file.exists():
        return None
    return Draft202012Validator(json.loads(file.read_text()), format_checker=FORMATS)


@FORMATS.checks("date-time", raises=ValueError)
def _is_time(value: object) -> bool:
    """ISO 8601 with its zone: the library asserts this format only with another package."""
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


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
