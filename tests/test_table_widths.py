"""Tables on screens of any width: nothing that is copied or read as a number comes apart."""

import io

import pytest
from rich.console import Console

from app.cli import room

SUMS = ["EUR", "1,570.66 EUR", "-10.00 EUR", "1,560.66 EUR", 3]
COLUMNS = ["currency", "payments", "refunds", "net", "late"]


def printed(
    monkeypatch: pytest.MonkeyPatch, width: int, columns: list[str], rows: list[list[object]]
) -> list[str]:
    out = io.StringIO()
    monkeypatch.setattr(
        room, "screen", Console(file=out, width=width, highlight=False, soft_wrap=True)
    )
    room.table("Sums", columns, rows)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_amounts_stand_right_and_whole_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    other = ["JPY", "68,640 JPY", "-", "68,640 JPY", 12]

    lines = printed(monkeypatch, 80, COLUMNS, [SUMS, other])

    assert lines[4:6] == [
        "│ EUR      │ 1,570.66 EUR │ -10.00 EUR │ 1,560.66 EUR │    3 │",
        "│ JPY      │   68,640 JPY │          - │   68,640 JPY │   12 │",
    ]


def test_where_there_is_no_room_a_row_is_a_block_of_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed(monkeypatch, 50, COLUMNS, [SUMS]) == [
        "Sums",
        "  currency  EUR",
        "  payments  1,570.66 EUR",
        "  refunds   -10.00 EUR",
        "  net       1,560.66 EUR",
        "  late      3",
        "",
    ]


def test_only_texts_are_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    row: list[object] = ["payment:in_1ctlB000001", "no webhook event told of it"]

    lines = printed(monkeypatch, 45, ["what", "why"], [row])

    assert lines[4:6] == [
        "│ payment:in_1ctlB000001 │ no webhook event │",
        "│                        │ told of it       │",
    ]


def test_cells_are_text_and_never_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = "[red]x[/red] \x1b[31m"

    assert printed(monkeypatch, 8, ["a"], [[hostile]])[1] == "  a  [red]x[/red] \\x1b[31m"


def test_a_table_without_rows_has_its_head(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed(monkeypatch, 50, ["what", "why"], [])[:3] == [
        "Sums",
        "┏━━━━━━┳━━━━━┓",
        "┃ what ┃ why ┃",
    ]
