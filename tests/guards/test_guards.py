"""Each guard is taken out of a copy of the project; its test must fail then."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guards.guards import GUARDS
from tests.guards.run import SOME_FAILED, Guard, copy, tests, without


@pytest.fixture(scope="module")
def project() -> Iterator[Path]:
    with copy() as folder:
        yield folder


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_without_a_guard_its_test_fails(project: Path, guard: Guard) -> None:
    with without(guard, project):
        ran = tests(project, guard.held_by)

    assert ran.code == SOME_FAILED, ran.output[-2_000:]
