"""Files for spreadsheets: CSV, and XLSX by XlsxWriter. The same rows make the same bytes, a row at
a time, and a file is there whole or not at all.

Texts never become formulas: https://owasp.org/www-community/attacks/CSV_Injection. Numbers are
written as they are.
"""

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import xlsxwriter

Cell = str | int | Decimal | date | datetime | bool | None

# The last four are what some spreadsheets read as the first four.
FORMULA = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
# What a spreadsheet of another locale takes for the end of a cell or a line, even in quotes: to it
# they do not begin the cell.
SPLIT = re.compile(r"([;\t\r\n])")
# Of every workbook, so that its bytes are the same whenever it is written.
CREATED = datetime(2020, 1, 1)  # noqa: DTZ001 - XlsxWriter takes a naive one
# https://support.microsoft.com/en-us/office/excel-specifications-and-limits: rows of a sheet,
# characters of a cell, digits of a number. A number of more digits is written as a text.
ROWS, CHARACTERS, DIGITS = 1_048_576, 32_767, 15
WIDTH = 18


class NotAFile(ValueError):
    """What would be replaced is no ordinary file, or its folder is not there."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table: its rows are read once, and have as many cells as there are columns. Times are
    shown in UTC, a Decimal with its own decimals."""

    name: str
    columns: Sequence[str]
    rows: Iterable[Sequence[Cell]]


def guarded(text: str) -> str:
    """Text that no spreadsheet takes for a formula, not even after blanks that it strips."""
    if text[:1].isalnum():  # nearly always
        return text
    seen = next((one for one in text if not _invisible(one)), None)
    return f"'{text}" if seen in FORMULA else text


def _invisible(one: str) -> bool:
    """Blanks, and what has no width, such as a byte order mark."""
    return one not in FORMULA and (one.isspace() or unicodedata.category(one) in ("Cf", "Cc"))


def write_csv(file: Path, sheet: Sheet) -> None:
    """RFC 4180 in UTF-8, and no formula either where a spreadsheet splits lines by semicolons."""
    with _replacing(file) as new, new.open("w", encoding="utf-8", newline="") as out:
        out.write(_line(sheet.columns))
        out.writelines(map(_line, sheet.rows))


def _line(cells: Sequence[Cell]) -> str:
    return ",".join([_CSV[type(cell)](cell) for cell in cells]) + "\r\n"


def _quoted(text: str) -> str:
    if text.isidentifier():  # Stripe's ids
        return f'"{text}"'
    if SPLIT.search(text):
        first, *rest = SPLIT.split(text)
        text = first + "".join(map(_guarded_again, rest))
    return '"' + guarded(text).replace('"', '""') + '"'


def _guarded_again(part: str) -> str:
    """A separator, or what may be a cell of its own behind one; quotes may be empty ones to it."""
    plain = part.replace('"', "")
    return part if SPLIT.fullmatch(part) or guarded(plain) == plain else f"'{part}"


def _moment(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


_CSV: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: "",
    str: _quoted,
    bool: lambda cell: "true" if cell else "false",
    int: str,
    Decimal: "{:f}".format,
    date: date.isoformat,
    datetime: _moment,
}


def write_xlsx(file: Path, title: str, sheets: Iterable[Sheet], *, most: int = ROWS) -> None:
    """A workbook. What is more than `most` lines of a sheet goes on in a further one."""
    with _replacing(file) as new:
        options = {"constant_memory": True, "tmpdir": str(new.parent)}
        book = xlsxwriter.Workbook(str(new), options)
        book.use_zip64()
        book.set_properties({"title": title, "created": CREATED})
        write = _Writer(book)
        for sheet in sheets:
            write.sheet(sheet, most)
        book.close()


class _Writer:
    """Writes cells by their type. Texts as texts: none becomes a formula, a link or a number."""

    def __init__(self, book: Any) -> None:
        self._book = book
        self._bold = book.add_format({"bold": True})
        self._day = book.add_format({"num_format": "yyyy-mm-dd"})
        self._time = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        self._whole = book.add_format({"num_format": "0"})
        self._amounts: dict[int, Any] = {}
        self._by_type: dict[type, Callable[[Any, int, int, Any], None]] = {
            str: self._text,
            bool: lambda page, line, at, cell: page.write_boolean(line, at, cell),
            int: self._integer,
            Decimal: self._decimal,
            date: lambda page, line, at, cell: page.write_datetime(line, at, cell, self._day),
            datetime: self._moment,
        }

    def sheet(self, sheet: Sheet, most: int) -> None:
        page, line, part = self._page(sheet, sheet.name), 0, 1
        for row in sheet.rows:
            line += 1
            if line == most:
                part, line = part + 1, 1
                page = self._page(sheet, f"{sheet.name} {part}")
            for at, cell in enumerate(row):
                if cell is not None:
                    self._by_type[type(cell)](page, line, at, cell)

    def _page(self, sheet: Sheet, name: str) -> Any:
        page = self._book.add_worksheet(name)
        page.freeze_panes(1, 0)
        page.set_column(0, len(sheet.columns) - 1, WIDTH)
        for at, column in enumerate(sheet.columns):
            page.write_string(0, at, guarded(column), self._bold)
        return page

    @staticmethod
    def _text(page: Any, line: int, at: int, cell: str) -> None:
        text = guarded(cell)
        whole = len(text) <= CHARACTERS
        page.write_string(line, at, text if whole else f"{text[: CHARACTERS - 1]}\u2026")

    def _integer(self, page: Any, line: int, at: int, cell: int) -> None:
        if len(str(abs(cell))) > DIGITS:
            page.write_string(line, at, str(cell))
        else:
            page.write_number(line, at, cell, self._whole)

    def _decimal(self, page: Any, line: int, at: int, cell: Decimal) -> None:
        _, digits, exponent = cell.as_tuple()
        if len(digits) > DIGITS:
            page.write_string(line, at, f"{cell:f}")
            return
        places = max(0, -int(exponent))
        if places not in self._amounts:
            form = "#,##0." + "0" * places if places else "#,##0"
            self._amounts[places] = self._book.add_format({"num_format": form})
        page.write_number(line, at, cell, self._amounts[places])

    def _moment(self, page: Any, line: int, at: int, cell: datetime) -> None:
        page.write_datetime(line, at, cell.astimezone(UTC).replace(tzinfo=None), self._time)


@contextmanager
def _replacing(file: Path) -> Iterator[Path]:
    """Where to write a new `file`, beside it; it takes the place of an old one once it is whole.
    Raises NotAFile."""
    if not file.parent.is_dir():
        raise NotAFile(f"{file.parent} is no folder")
    if file.exists() and not file.is_file():
        raise NotAFile(f"{file} is no ordinary file")
    with TemporaryDirectory(prefix=".bridge-", dir=file.parent) as folder:
        new = Path(folder) / "new"
        yield new
        with new.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(new, file)
