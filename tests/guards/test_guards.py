"""Each guard is taken out of a copy of the project; its test must fail then.

Here those whose tests need no stores and are a few; `python -m tests.guards` takes out all.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.guards.guards import GUARDS
from tests.guards.run import SOME_FAILED, Guard, Ran, copy, outcome, without

AT_ONCE = 3
QUICK = [guard for guard in GUARDS if guard.is_quick]


def without_it(guard: Guard) -> Ran:
    """A guard whose text is not found is one that nothing was learnt of."""
    try:
        with copy() as project, without(guard, project):
            return outcome(project, guard.held_by)
    except LookupError as error:
        return Ran(0, str(error))


@pytest.fixture(scope="module")
def ran() -> Mapping[str, Ran]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip((one.name for one in QUICK), pool.map(without_it, QUICK), strict=True))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("guard", QUICK, ids=lambda guard: guard.name)
def test_without_a_guard_its_test_fails(ran: Mapping[str, Ran], guard: Guard) -> None:
    said = ran[guard.name]

    assert said.code == SOME_FAILED, said.output[-2_000:]


def test_guards_have_names_of_their_own() -> None:
    assert len({guard.name for guard in GUARDS}) == len(GUARDS)
