"""What speaks to a warehouse, against a real Postgres: what is written, and what an answer is."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from app.destinations.base import Request, Response
from app.destinations.tables import Tables
from app.local.stores import EmbeddedStores
from tests.vendors.warehouse import WarehouseServer, changed, warehouse

MAKE = "CREATE TABLE IF NOT EXISTS notes (id int PRIMARY KEY, body jsonb, note text)"
INSERT = """INSERT INTO notes (id, body) SELECT id, body
    FROM json_to_recordset(%s::json) AS r (id int, body jsonb) ON CONFLICT (id) DO NOTHING"""
TWO = b'[{"id": 1, "body": {"a": "\xc3\xa9"}}, {"id": 2, "body": null}]'


@pytest.fixture(scope="module")
def running(embedded: EmbeddedStores) -> Iterator[WarehouseServer]:
    with warehouse(embedded.current.database_url, "tables") as one:
        yield one


@pytest.fixture
def store(running: WarehouseServer) -> WarehouseServer:
    running.sql("DROP TABLE IF EXISTS notes")
    running.sql("ALTER DATABASE tables RESET ALL")
    return running


@pytest.fixture
def tables() -> Iterator[Tables]:
    with closing(Tables()) as one:
        yield one


def insert(
    tables: Tables, url: str, body: bytes = TWO, *, seconds: float = 5.0, make: str = MAKE
) -> Response:
    request = Request(url, {"statement": INSERT, "missing": make}, body)
    return tables.send(request, until=time.monotonic() + seconds)


def test_rows_are_written_once_into_a_table_that_is_made_when_it_is_missing(
    tables: Tables, store: WarehouseServer
) -> None:
    assert insert(tables, store.url) == Response(200, "2")
    assert insert(tables, store.url) == Response(200, "0")
    assert store.sql("SELECT id, body FROM notes ORDER BY id") == [(1, {"a": "é"}), (2, None)]


def test_eight_at_once_make_one_table_and_write_each_row_once(store: WarehouseServer) -> None:
    barrier, answers = threading.Barrier(8), []

    def one() -> None:
        with closing(Tables()) as own:
            barrier.wait()
            answers.append(insert(own, store.url))

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answer.text for answer in answers) == ["0"] * 7 + ["2"]
    assert {answer.status for answer in answers} == {200}


def test_one_connection_serves_until_it_is_closed(tables: Tables, store: WarehouseServer) -> None:
    def connections() -> list[tuple[int]]:
        return store.sql(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'stripe-analytics-bridge'"
        )

    insert(tables, store.url)
    before = connections()
    insert(tables, store.url)

    assert connections() == before
    assert len(before) == 1
    tables.close()
    until = time.monotonic() + 5
    while connections() and time.monotonic() < until:
        time.sleep(0.01)
    assert connections() == []


def test_an_answer_means_that_it_is_on_disk_whatever_the_role_prefers(
    tables: Tables, store: WarehouseServer
) -> None:
    store.sql(MAKE)
    store.sql("ALTER DATABASE tables SET synchronous_commit = off")
    statement = """INSERT INTO notes (id, note)
        SELECT length(%s), current_setting('synchronous_commit')"""
    request = Request(store.url, {"statement": statement}, b"x")

    assert tables.send(request, until=time.monotonic() + 5) == Response(200, "1")
    assert store.sql("SELECT note FROM notes") == [("on",)]


def test_a_row_that_postgres_cannot_hold_refuses_all_of_the_statement(
    tables: Tables, store: WarehouseServer
) -> None:
    poisoned = b'[{"id": 1, "body": {}}, {"id": 2, "body": {"a": "\\u0000"}}]'

    assert insert(tables, store.url, poisoned) == Response(
        400, "22P05 unsupported Unicode escape sequence"
    )
    assert insert(tables, store.url, b'[{"id": 99999999999}]') == Response(
        400, '22003 value "99999999999" is out of range for type integer'
    )
    assert store.sql("SELECT count(*) FROM notes") == [(0,)]


def test_a_trigger_of_its_own_may_refuse_a_row(tables: Tables, store: WarehouseServer) -> None:
    store.sql(MAKE)
    store.sql("""
        CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'not on a Sunday'; END $$;
        CREATE TRIGGER no BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION no()
    """)

    assert insert(tables, store.url) == Response(400, "P0001 not on a Sunday")


def test_a_table_of_another_form_is_not_the_right_one(
    tables: Tables, store: WarehouseServer
) -> None:
    store.sql("CREATE TABLE notes (id int)")

    assert insert(tables, store.url) == Response(
        404, '42703 column "body" of relation "notes" does not exist'
    )


def test_a_schema_that_is_not_there_is_said(tables: Tables, store: WarehouseServer) -> None:
    make = MAKE.replace("notes", "elsewhere.notes")

    assert insert(tables, store.url, make=make) == Response(
        404, '3F000 schema "elsewhere" does not exist'
    )


def test_what_deletes_finds_nothing_where_there_is_no_table(
    tables: Tables, store: WarehouseServer
) -> None:
    request = Request(store.url, {"statement": "DELETE FROM notes WHERE note = %s"}, b"x")

    assert tables.send(request, until=time.monotonic() + 5) == Response(200, "0")


def test_a_role_without_the_rights_is_told_which(tables: Tables, store: WarehouseServer) -> None:
    store.sql("DROP ROLE IF EXISTS guest")
    store.sql("CREATE ROLE guest LOGIN")
    try:
        url = changed(store.url, user="guest")
        assert insert(tables, url) == Response(403, "42501 permission denied for schema public")
        store.sql(MAKE)
        assert insert(tables, url) == Response(403, "42501 permission denied for table notes")
        store.sql("GRANT INSERT, SELECT ON notes TO guest")
        assert insert(tables, url) == Response(200, "2")
    finally:
        tables.close()
        store.sql("DROP OWNED BY guest")
        store.sql("DROP ROLE guest")


def test_a_login_that_is_refused_is_told_without_its_names(
    tables: Tables, store: WarehouseServer
) -> None:
    nobody = changed(store.url, user="mallory", password="s3cret")
    nowhere = changed(store.url, dbname="mallory")

    assert insert(tables, nobody) == Response(401, 'role "…" does not exist', sent=False)
    assert insert(tables, nowhere) == Response(401, 'database "…" does not exist', sent=False)


UNREADABLE = ["postgresql://a:s3cret@h/d?nonsense=1", "postgresql://[/", "x"]
UNREADABLE += [f"postgresql://u:s3cret@{'a' * 70}.invalid/d"]


@pytest.mark.parametrize("url", UNREADABLE)
def test_a_url_that_cannot_be_read_is_told_without_it(tables: Tables, url: str) -> None:
    words = "the URL is not one that Postgres's client can read"

    assert insert(tables, url) == Response(401, words, sent=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_without_a_server_nothing_was_sent(tables: Tables, host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    answer = insert(tables, f"postgresql://u:s3cret@{host}:{port}/d")

    assert (answer.status, answer.sent, "s3cret" in answer.text) == (None, False, False)


def test_a_server_that_never_answers_is_given_up(tables: Tables) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/d"
        began = time.monotonic()
        answer = insert(tables, url, seconds=1.0)

    assert answer == Response(None, "ConnectTimeout", sent=False)
    assert answer.timed_out
    assert time.monotonic() - began < 4


REFUSAL = "password authentication failed for user"
BUSY = "sorry, too many clients already"


@pytest.mark.parametrize(("said", "status"), [(REFUSAL, 401), (BUSY, 503)])
def test_what_a_server_says_at_the_door_counts(tables: Tables, said: str, status: int) -> None:
    """By a server that says this to all, and the password that it was given after it."""

    def refuse() -> None:
        peer, _ = door.accept()
        with peer:
            if len(peer.recv(4096)) == 8:  # asked for TLS first
                peer.sendall(b"N")
                peer.recv(4096)
            fields = b"SFATAL\0VFATAL\0C28P01\0M" + f'{said} "s3cret"'.encode() + b"\0\0"
            peer.sendall(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)

    with socket.create_server(("127.0.0.1", 0)) as door:
        thread = threading.Thread(target=refuse)
        thread.start()
        url = f"postgresql://u:s3cret@127.0.0.1:{door.getsockname()[1]}/d"
        answer = insert(tables, url)
        thread.join()

    assert answer == Response(status, f'{said} "…"', sent=False)


def test_a_statement_that_waits_too_long_is_given_up_by_the_server_itself(
    tables: Tables, store: WarehouseServer
) -> None:
    store.sql(MAKE)
    with psycopg.connect(store.url) as other:
        other.execute("LOCK TABLE notes")
        answer = insert(tables, store.url, seconds=1.0)
        waiting = other.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        ).fetchone()

    assert answer == Response(503, "57014 canceling statement due to statement timeout")
    assert waiting == (0,)
    assert insert(tables, store.url) == Response(200, "2")


def test_a_server_that_freezes_is_given_up_and_asked_anew(
    tables: Tables, store: WarehouseServer
) -> None:
    insert(tables, store.url)
    name = "stripe-analytics-bridge"
    [[pid]] = store.sql(f"SELECT pid FROM pg_stat_activity WHERE application_name = '{name}'")
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        answer = insert(tables, store.url, seconds=0.5)
        took = time.monotonic() - began
    finally:
        os.kill(pid, signal.SIGCONT)

    assert answer == Response(None, "ReadTimeout")
    assert took < 2
    assert insert(tables, store.url) == Response(200, "0")


def test_a_connection_that_was_cut_is_made_anew(tables: Tables, store: WarehouseServer) -> None:
    insert(tables, store.url)
    store.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'stripe-analytics-bridge'"
    )
    time.sleep(0.1)
    cut = insert(tables, store.url)

    assert cut in (
        Response(503, "57P01 terminating connection due to administrator command"),
        Response(None, "OperationalError"),
    )
    assert insert(tables, store.url) == Response(200, "0")


def test_nothing_leaves_after_the_deadline(tables: Tables, store: WarehouseServer) -> None:
    assert insert(tables, store.url, seconds=-1.0) == Response(None, "ReadTimeout")
    assert store.sql("SELECT to_regclass('notes')") == [(None,)]
