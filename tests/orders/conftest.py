"""A bridge to tell lives to."""

from collections.abc import Iterator

import pytest

from app.settings import Settings
from tests.orders.run import Bench


@pytest.fixture
def here(settings: Settings) -> Iterator[Bench]:
    """On the emptied database of the tests."""
    bench = Bench(settings)
    yield bench
    bench.close()
