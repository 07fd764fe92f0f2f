"""docs/reliability.md says what there is: destinations with their windows, and every fault."""

import re
from datetime import timedelta

import pytest

from app.destinations import KINDS
from tests.faults.faults import FAULTS
from tests.faults.report import BEGIN, DOCS, END

PAGE = DOCS.read_text()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_destination_is_there_with_its_dedupe_window(kind: str) -> None:
    [row] = re.findall(rf"^\| `{kind}` \|.*$", PAGE, re.M)
    window = KINDS[kind].DEDUPE_WINDOW

    length = "as long as" if window is None else f"{window.days} days |"
    assert (length if window != timedelta(days=1) else "24 hours |") in row


def test_each_fault_is_injected_or_has_the_reason_why_not() -> None:
    injected = {"F3", *(fault.name for fault in FAULTS)}
    reasons = set(re.findall(r"^\| (F\d+),", PAGE, re.M))

    assert injected & reasons == set()
    assert injected | reasons == {f"F{number}" for number in range(1, 26)}


def test_there_is_one_place_for_the_longest_run() -> None:
    assert (PAGE.count(BEGIN), PAGE.count(END)) == (1, 1)
    assert PAGE.index(BEGIN) < PAGE.index(END)
