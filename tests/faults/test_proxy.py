"""The proxy does to a connection what its modes say, and nothing otherwise."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.proxy import BLACKHOLE, PASS, RESET, Proxy, cut, drip, latency, proxy

QUESTION = b"question"


@contextmanager
def echo(server: socket.socket) -> Iterator[None]:
    """Whatever comes goes back, until the block ends."""

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65_536):
                    connection.sendall(data)
            except ConnectionError:
                return

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield
    finally:
        server.close()


@pytest.fixture
def wire() -> Iterator[Proxy]:
    server = socket.create_server(("127.0.0.1", 0))
    with echo(server), proxy(server.getsockname()) as running:
        yield running


def dial(wire: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", wire.port), timeout=5)


def ask(connection: socket.socket, size: int = len(QUESTION)) -> bytes:
    """The answer to the question, up to so many bytes."""
    connection.sendall(QUESTION)
    return listen(connection, size)


def listen(connection: socket.socket, size: int) -> bytes:
    heard = b""
    while len(heard) < size and (piece := connection.recv(size - len(heard))):
        heard += piece
    return heard


def test_everything_passes_both_ways(wire: Proxy) -> None:
    with dial(wire) as connection:
        assert [ask(connection) for _ in range(3)] == [QUESTION] * 3
    assert wire.cuts == 0


def test_it_stands_before_a_unix_socket_too(tmp_path: Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "s"))
    server.listen()
    with echo(server), proxy(str(tmp_path / "s")) as wire, dial(wire) as connection:
        assert ask(connection) == QUESTION


def test_latency_comes_both_ways(wire: Proxy) -> None:
    wire.mode = latency(0.15)
    with dial(wire) as connection:
        began = time.monotonic()
        assert ask(connection) == QUESTION
        assert 0.3 <= time.monotonic() - began < 2


def test_a_black_hole_swallows_until_it_passes_again(wire: Proxy) -> None:
    with dial(wire) as connection:
        wire.mode = BLACKHOLE
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            ask(connection)
        wire.mode = PASS
        connection.settimeout(5)
        assert listen(connection, len(QUESTION)) == QUESTION


def test_a_reset_ends_idle_connections_and_new_ones(wire: Proxy) -> None:
    with dial(wire) as idle:
        assert ask(idle) == QUESTION
        wire.mode = RESET
        with pytest.raises(ConnectionResetError):
            idle.recv(1)
    with dial(wire) as fresh, pytest.raises(ConnectionError):
        listen(fresh, 1)
    assert wire.cuts == 2


def test_a_cut_lets_so_many_bytes_of_the_answer_pass(wire: Proxy) -> None:
    with dial(wire) as connection:
        assert ask(connection) == QUESTION
        wire.mode = cut(after=3)
        assert ask(connection, 3) == QUESTION[:3]
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_a_cut_of_one_answer_lets_the_next_connection_pass(wire: Proxy) -> None:
    wire.mode = cut(after=0, times=1)
    with dial(wire) as first, pytest.raises(ConnectionResetError):
        ask(first)
    with dial(wire) as second:
        assert ask(second) == QUESTION
    assert wire.cuts == 1


def test_an_answer_drips_byte_by_byte(wire: Proxy) -> None:
    wire.mode = drip(0.05)
    with dial(wire) as connection:
        began = time.monotonic()
        assert ask(connection) == QUESTION
        assert time.monotonic() - began >= 0.05 * (len(QUESTION) - 1)


def test_a_dead_upstream_is_a_reset(tmp_path: Path) -> None:
    nobody = str(tmp_path / "nobody")
    with proxy(nobody) as dead, dial(dead) as connection, pytest.raises(ConnectionResetError):
        listen(connection, 1)
