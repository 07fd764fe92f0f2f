"""The same webhooks, in any order and however often: the same money, events and movements."""

import hypothesis
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from tests.orders.run import Bench
from tests.orders.story import Life, lives


@pytest.mark.timeout(600)
def test_any_life_in_any_order_comes_out_as_it_was_lived(here: Bench) -> None:
    @_many_examples
    @given(lives(), st.integers(0, 2**32))
    def tell(life: Life, order: int) -> None:
        told = here.tell(life, order)

        assert not told.differences, "\n" + "\n".join(told.differences)

    tell()


_many_examples = hypothesis.settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
