"""A CSV file of a spreadsheet or of Stripe, read exactly: by header name, amounts as Decimal.

Separator, decimal separator and byte order mark may be any; what is not plain is refused with the
file, the line and the column.
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from io import BytesIO, TextIOWrapper
from sys import intern

from app.core.money import exponent

AMOUNT = re.compile(r"(-?[0-9]{1,15})(?:[.,]([0-9]{1,9}))?")
CURRENCY = re.compile("[a-z]{3}")
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx, .xls
MAX_LINE, MAX_CELL, MAX_COLUMNS = 1_000_000, 10_000, 500  # characters, characters, names


class Unreadable(Exception):
    """What is wrong with the file, for people: the file, the line, the column."""


@dataclass(slots=True)
class Cells:
    """One row of a file, by column name. A column that the file does not have is empty."""

    file: str
    line: int
    values: Mapping[str, str]

    def text(self, column: str) -> str | None:
        """What stands there, None if nothing. Refuses what is no printable id or name."""
        value = self.values.get(column)
        if not value:
            return None
        value = value.strip()
        if not value.isprintable() or len(value) > MAX_CELL:
            raise self.wrong(column, "expected printable text")
        return value or None

    def needed(self, column: str) -> str:
        value = self.text(column)
        if value is None:
            raise self.wrong(column, "is empty")
        return value

    def currency(self, column: str = "currency") -> str:
        value = self.needed(column).lower()
        if not CURRENCY.fullmatch(value):
            raise self.wrong(column, "expected a currency such as usd")
        return intern(value)

    def minor(self, column: str, currency: str) -> int:
        """An amount in whole units, as Stripe's reports have it, in minor units. Refuses more
        decimals than the currency has: `1.000` would be a thousand or one."""
        found = AMOUNT.fullmatch(self.needed(column))
        if found is None:
            raise self.wrong(column, "expected an amount such as 1299.50 or 1299,50")
        whole, decimals = found.groups(default="")
        places = exponent(currency)
        if len(decimals) > places and not (places == 0 and decimals == "00"):
            raise self.wrong(
                column, f"has more decimals than {currency.upper()}, which has {places}"
            )
        return int(whole + decimals[:places].ljust(places, "0"))

    def whole(self, column: str) -> int:
        value = self.needed(column)
        if not re.fullmatch("[0-9]{1,15}", value):
            raise self.wrong(column, "expected a whole number")
        return int(value)

    def time(self, column: str, zone: tzinfo) -> datetime:
        """A date and time as Stripe writes them, in this zone unless it names its own."""
        try:
            found = datetime.fromisoformat(self.needed(column))
        except ValueError:
            raise self.wrong(column, "expected a time such as 2026-10-01 13:05:59") from None
        return found if found.tzinfo else found.replace(tzinfo=zone)

    def wrong(self, column: str, why: str) -> Unreadable:
        value = self.values.get(column, "")
        said = f" ({value[:40]!r})" if value else ""
        return Unreadable(f"{self.file}, line {self.line}, column {column}: {why}{said}")


def rows(content: bytes, file: str, needs: Sequence[str]) -> Iterator[Cells]:
    """The rows of a file's content. `needs`: columns that it must have, "a|b" for either.

    Raises Unreadable, for a wrong header at once, else when the row is reached.
    """
    lines = _lines(content, file)
    header_line = next(lines, "")
    separator = max(",;\t", key=header_line.count)
    reader = csv.reader(_bounded(header_line, lines, file), delimiter=separator, strict=True)
    names = [name.strip().lower() for name in _next(reader, file) or ()]
    _check_header(names, file, needs)
    while (cells := _next(reader, file)) is not None:
        if len(cells) > len(names):
            why = f"{len(cells)} cells under {len(names)} columns"
            raise Unreadable(f"{file}, line {reader.line_num}: {why}")
        if any(cell.strip() for cell in cells):
            yield Cells(file, reader.line_num, dict(zip(names, cells, strict=False)))


def _lines(content: bytes, file: str) -> TextIOWrapper:
    """Decoded as they are read; what is no text is refused before the first."""
    if content.startswith(WORKBOOKS):
        raise Unreadable(f"{file}: an Excel workbook; save it as CSV UTF-8")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Unreadable(f"{file}: UTF-16; save it as CSV UTF-8")
    try:
        content.decode()
    except UnicodeDecodeError as error:
        raise Unreadable(f"{file}: byte {error.start} is no UTF-8; save it as CSV UTF-8") from None
    if b"\0" in content:
        raise Unreadable(f"{file}: holds a NUL, so it is no CSV")
    return TextIOWrapper(BytesIO(content), encoding="utf-8-sig", newline="")


def _bounded(first: str, lines: Iterator[str], file: str) -> Iterator[str]:
    for line in (first, *lines):
        if len(line) > MAX_LINE:
            raise Unreadable(f"{file}: a line is longer than {MAX_LINE:,} characters")
        yield line


def _next(reader: Iterator[list[str]], file: str) -> list[str] | None:
    try:
        return next(reader, None)
    except csv.Error as error:
        line = getattr(reader, "line_num", 0)
        raise Unreadable(f"{file}, line {line}: no CSV ({error})") from None


def _check_header(names: Sequence[str], file: str, needs: Sequence[str]) -> None:
    if len(names) > MAX_COLUMNS:
        raise Unreadable(f"{file}: more than {MAX_COLUMNS} columns")
    missing = [need for need in needs if not set(need.split("|")) & set(names)]
    if missing:
        wanted = ", ".join(need.replace("|", " or ") for need in missing)
        raise Unreadable(f"{file}, line 1: no column {wanted}")
    wanted_names = {name for need in needs for name in need.split("|")}
    if twice := sorted(name for name in wanted_names if names.count(name) > 1):
        raise Unreadable(f"{file}, line 1: two columns {twice[0]}")
