"""What the verbs share: exit codes, the screen, and the database of a running bridge."""

import json
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import typer
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy import Connection

from app.local.stores import in_use
from app.queue import connect, ring
from app.settings import Settings, WebhookSecret, load_from_environment
from app.store.db import make_engine

FAILURES, USAGE, OUT_OF_REACH, RUNNING_ALREADY, INTERRUPTED = 1, 2, 3, 4, 130

# A pipe has no width: what reads it gets whole lines.
WIDTH = None if sys.stdout and sys.stdout.isatty() else 200
screen = Console(highlight=False, soft_wrap=True, width=WIDTH)
aside = Console(stderr=True, highlight=False, soft_wrap=True)


def complain(*lines: str) -> None:
    """For the person, on stderr."""
    for line in lines:
        aside.print(escape(line))


def stop(code: int, *lines: str) -> typer.Exit:
    """Say why and leave with this exit code: `raise stop(...)`."""
    complain(*lines)
    return typer.Exit(code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Where the stack of `bridge dev` is while it runs; written to its data folder."""

    database_url: str
    redis_url: str
    port: int


def running_file(settings: Settings) -> Path:
    return settings.data_dir / "running.json"


def running(settings: Settings) -> Running | None:
    """The stack that runs on this data folder, if one does; what a killed one left is not one."""
    if not in_use(settings.data_dir):
        return None
    try:
        return Running(**json.loads(running_file(settings).read_text()))
    except FileNotFoundError:
        return None  # it is starting


@contextmanager
def announced(settings: Settings, stack: Running) -> Iterator[None]:
    """Tell the other verbs where the stack is, for as long as it runs."""
    file = running_file(settings)
    content = json.dumps({name: getattr(stack, name) for name in Running.__slots__})
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(content)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def database_url(settings: Settings) -> str:
    """Of DATABASE_URL, or of the running `bridge dev`. Leaves with 3 where there is neither."""
    if settings.database_url:
        return settings.database_url
    if stack := running(settings):
        return stack.database_url
    raise stop(OUT_OF_REACH, "No database: start `bridge dev`, or set DATABASE_URL.")


@contextmanager
def database(settings: Settings | None = None) -> Iterator[Connection]:
    """A connection for one verb, in one transaction."""
    settings = settings or load_from_environment()
    engine = make_engine(database_url(settings), "cli", pool_size=1)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def local_secret(settings: Settings) -> WebhookSecret:
    """The signing secret of the local stack when none is set: made once, kept in its folder."""
    if settings.webhook_secrets:
        return settings.webhook_secrets[0]
    file = settings.data_dir / "webhook-secret"
    if not file.exists():
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write("whsec_" + secrets.token_urlsafe(24))
    return WebhookSecret(label="local", value=file.read_text().strip())


def confirm(yes: bool, *, dry_run: bool = True) -> None:
    """Go on, or leave with nothing changed; without a terminal only on --yes. `dry_run`: the verb
    has that option."""
    if yes:
        return
    if not sys.stdin or not sys.stdin.isatty():
        look = ", or look first with --dry-run" if dry_run else ""
        raise stop(USAGE, f"Not at a terminal: say --yes{look}.")
    if not typer.confirm("Go ahead?"):
        raise stop(FAILURES, "Nothing was changed.")


def knock(settings: Settings) -> None:
    """Tell the workers that there is something to do; without Redis their sweep finds it."""
    stack = running(settings)
    redis_url = settings.redis_url or (stack.redis_url if stack else "")
    if redis_url:
        ring(connect(redis_url))


def as_json(value: object) -> None:
    """One JSON document on stdout; times are ISO 8601, UTC."""
    sys.stdout.buffer.write(
        orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z) + b"\n"
    )


# A number, perhaps with its unit or currency.
NUMBER = re.compile(r"-?[0-9][0-9,]*(\.[0-9]+)?( ?%| [A-Z]{3}| s)?")
FOLDED = 12  # characters of a text below which it is not folded


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A readable table; numbers stand right. Cells are text, never markup. Only texts with blanks
    are folded: where the others do not fit beside each other, a row is a block of lines."""
    cells = [[show(cell) for cell in row] for row in rows]
    grid = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    needed = 1
    by_column = [*zip(*cells, strict=True)] or [()] * len(columns)
    for column, those in zip(columns, by_column, strict=True):
        given = [one for one in those if one != "-"]
        numeric = bool(given) and all(map(NUMBER.fullmatch, given))
        whole = numeric or not any(" " in one for one in those)
        widest = max(map(cell_len, those), default=0)
        least = max([widest if whole else min(widest, FOLDED), *map(cell_len, column.split())])
        needed += least + 3
        grid.add_column(
            column,
            justify="right" if numeric else "left",
            overflow="fold",
            min_width=least,
            no_wrap=whole and widest >= cell_len(column),
        )
    for row in cells:
        grid.add_row(*map(escape, row))
    if needed <= screen.width:
        screen.print(grid)
    else:
        _blocks(title, columns, cells)


def _blocks(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Line by line what does not fit side by side."""
    width = max(map(cell_len, columns))
    screen.print(f"[bold]{escape(title)}[/bold]")
    for row in rows:
        for column, cell in zip(columns, row, strict=True):
            screen.print(f"  {escape(column):<{width}}  {escape(cell)}")
        screen.print()


def show(cell: object) -> str:
    """Times in UTC to the second; nothing as a dash; control characters as they are named."""
    if cell is None or cell == "":
        return "-"
    if isinstance(cell, datetime):
        return f"{cell:%Y-%m-%d %H:%M:%S}"
    if isinstance(cell, int) and not isinstance(cell, bool):
        return f"{cell:,}"
    return "".join(
        one if one.isprintable() or one == "\n" else repr(one)[1:-1] for one in str(cell)
    )


def listing(
    found: Sequence[Mapping[str, Any]],
    json_: bool,
    title: str,
    columns: Mapping[str, Callable[[Mapping[str, Any]], object]],
    empty: str,
) -> None:
    """Rows as JSON, as a table, or as the sentence for when there are none."""
    if json_:
        as_json([dict(row) for row in found])
    elif not found:
        screen.print(escape(empty))
    else:
        rows = [[cell(row) for cell in columns.values()] for row in found]
        table(title, list(columns), rows)


def count(found: int, one: str, many: str | None = None) -> str:
    """A number with its noun."""
    return f"{found:,} {one if found == 1 else many or one + 's'}"
