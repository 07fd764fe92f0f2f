"""The one module that speaks to a warehouse: one statement, one answer, inside a deadline nothing
outlives. Any Postgres from 12 on, also behind a pooler that hands out transactions.

A request's URL is the database's, its headers are SQL: `statement`, whose one parameter is the
body as text, and `missing`, which makes the table if there is none. An answer's status is the
nearest of HTTP's, so that a page judges it as any other:

    200  done; the text is the number of rows
    400  the server refuses what a row holds
    401  it refuses the login, or cannot read the URL
    403  it refuses the right to do this
    404  the table is not as it must be, or cannot be
    503  it cannot just now
    None no answer
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

from app.destinations.base import Request, Response

CONNECT_TIMEOUT = 5  # seconds, of each address
APPLICATION = "stripe-analytics-bridge"
MAKING_LOCK = 7_203_514_101  # an advisory lock in the warehouse: one makes the table at a time
# By the beginning of SQLSTATE, the first that fits:
# https://www.postgresql.org/docs/current/errcodes-appendix.html
STATUSES = {
    **dict.fromkeys(("21", "22", "23", "44", "54", "P0"), 400),  # P0: a trigger's own words
    "28": 401,
    "42501": 403,
    **dict.fromkeys(("0A", "3D", "3F", "42"), 404),
}
# What a server says before it lets anybody in has no SQLSTATE for us.
LOGIN = re.compile("password|authenti|pg_hba|does not exist|denied|permitted", re.I)
# The server gives up first, so that nothing goes on there after we have hung up. An answer means
# that it is on disk, whatever the role's own setting.
BEGIN = """
SELECT set_config('statement_timeout', %s, true), set_config('synchronous_commit', 'on', true)
"""

Value = TypeVar("Value")


class Tables:
    """One connection of one thread, kept while it serves."""

    def __init__(self) -> None:
        self._connection: _Bounded | None = None
        self._url = ""

    def send(self, request: Request, *, until: float) -> Response:
        """Run the statement, all of it or nothing, before `until` on the clock of
        `time.monotonic`. Never raises for the server."""
        try:
            connection = self._connected(request.url, until)
        except (psycopg.Error, UnicodeError) as error:  # a name that no host may have
            return _no_entry(error)
        try:
            connection.until = until
            return Response(200, str(_done(connection, request)))
        except psycopg.Error as error:
            return _answer(error)
        finally:
            if connection.closed:
                self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self, url: str, until: float) -> "_Bounded":
        if self._connection is None or self._url != url:
            self.close()
            self._connection = _Bounded.connect(
                url,
                autocommit=True,
                prepare_threshold=None,  # a pooler gives each transaction another session
                application_name=APPLICATION,
                connect_timeout=max(1, min(CONNECT_TIMEOUT, int(until - monotonic()))),
            )
            self._url = url
        return self._connection


class _Bounded(psycopg.Connection[Any]):
    """A connection that closes itself at its deadline. Nobody else would: a frozen server keeps
    its sockets open."""

    until = 0.0

    def wait(self, gen: PQGen[Value], *args: Any, **options: Any) -> Value:
        try:
            return super().wait(_before(gen, self.until), *args, **options)
        except TimeoutError:
            self.close()
            raise psycopg.errors.ConnectionTimeout from None


def _before(gen: PQGen[Value], until: float) -> PQGen[Value]:
    """What `gen` does, until then (psycopg comes back ten times a second)."""
    try:
        if monotonic() > until:
            raise TimeoutError
        want = next(gen)
        while True:
            ready = yield want
            if monotonic() > until:
                raise TimeoutError
            want = gen.send(ready)
    except StopIteration as done:
        value: Value = done.value
        return value


def _done(connection: _Bounded, request: Request) -> int:
    """How many rows the statement wrote; the table is made first, if there is none."""
    try:
        return _run(connection, request)
    except psycopg.errors.UndefinedTable:
        make = request.headers.get("missing")
        if not make:
            return 0
    with _transaction(connection):
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [MAKING_LOCK])
        connection.execute(make.encode())
    return _run(connection, request)


def _run(connection: _Bounded, request: Request) -> int:
    statement = request.headers["statement"].encode()
    with _transaction(connection):
        return connection.execute(statement, [request.body.decode()]).rowcount


@contextmanager
def _transaction(connection: _Bounded) -> Iterator[None]:
    left = max(1, int(900 * (connection.until - monotonic())))  # nine tenths, in milliseconds
    with connection.transaction():
        connection.execute(BEGIN, [f"{left}ms"])
        yield


def _no_entry(error: Exception) -> Response:
    """Why there is no connection, in words without host, user and password."""
    if isinstance(error, psycopg.errors.ConnectionTimeout):
        return Response(None, "ConnectTimeout", sent=False)
    if not isinstance(error, psycopg.OperationalError):
        return Response(401, "the URL is not one that Postgres's client can read", sent=False)
    _, fatal, words = str(error).partition("FATAL:")
    if not fatal:
        return Response(None, "no connection", sent=False)
    said = re.sub('"[^"]*"', '"…"', words.strip().partition("\n")[0])
    return Response(401 if LOGIN.search(said) else 503, said, sent=False)


def _answer(error: psycopg.Error) -> Response:
    """What an error of the server's, or none of its answers at all, comes to."""
    state = error.sqlstate
    if isinstance(error, psycopg.errors.ConnectionTimeout):
        return Response(None, "ReadTimeout")
    if state is None:
        unwritable = isinstance(error, psycopg.DataError)  # the client's own refusal
        return Response(400 if unwritable else None, type(error).__name__)
    # Without its context and detail, which quote what a row holds.
    said = f"{state} {error.diag.message_primary or ''}".strip()
    return Response(next((s for each, s in STATUSES.items() if state.startswith(each)), 503), said)
