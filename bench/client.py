"""A cheap load client: raw kept-alive sockets, one loop, all signed before the clock runs."""

import selectors
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import TypeVar

from app.core.signature import sign
from app.demo.saas import simulate

KINDS = ("invoice.paid", "customer.subscription.updated")
SMALLEST, LARGEST = 5_000, 7_500  # bytes of the bodies that are taken
FASTEST = 8_000  # requests a second that are prepared for

Answer = TypeVar("Answer")


@dataclass(slots=True, kw_only=True)
class Load:
    """What a run came to: seconds it lasted, milliseconds of each 200, answers by status."""

    seconds: float = 0.0
    milliseconds: list[float] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)  # 0: the connection was closed


def elsewhere(function: Callable[..., Answer], *args: object) -> Answer:
    """Call it in a process of its own, so that it shares no interpreter with anybody."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def load(port: int, secret: str, connections: int, seconds: float) -> Load:
    """Closed loop: every connection posts its next webhook when the last one was answered."""
    posts = prepare(bodies(), secret, int(FASTEST * seconds) + connections)
    run = _Run(port, posts)
    for _ in range(connections):
        run.open()
    return run.until(time.perf_counter() + seconds)


def bodies() -> list[tuple[str, bytes]]:
    """(event id, body) of the size that most of a subscription business's webhooks have."""
    story = simulate(seed=1, customers=40, now=int(time.time()))
    return [
        (one.event_id, one.body)
        for one in story.webhooks
        if one.type in KINDS and SMALLEST <= len(one.body) <= LARGEST
    ]


def prepare(templates: Sequence[tuple[str, bytes]], secret: str, count: int) -> list[bytes]:
    """Whole requests, each a webhook event of its own."""
    now = int(time.time())
    requests = []
    for number in range(count):
        event_id, body = templates[number % len(templates)]
        fresh = f"evt_{uuid.uuid4().hex}"[: len(event_id)]
        requests.append(post(body.replace(event_id.encode(), fresh.encode(), 1), secret, now))
    return requests


def post(body: bytes, secret: str, now: int) -> bytes:
    """The bytes of one signed POST."""
    head = (
        "POST /webhooks/stripe HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"Stripe-Signature: {sign(body, secret, now)}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Run:
    """The loop; each socket's own data is when its request left."""

    def __init__(self, port: int, posts: list[bytes]) -> None:
        self._port = port
        self._posts = posts
        self._ready = selectors.DefaultSelector()
        self._load = Load()
        self._began = time.perf_counter()

    def open(self) -> None:
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._send(connection)

    def until(self, end: float) -> Load:
        """Post until then, or until nothing prepared is left, and hear the last answers."""
        while self._ready.get_map():
            for key, _ in self._ready.select(timeout=30):
                self._ready.unregister(key.fileobj)
                assert isinstance(key.fileobj, socket.socket)
                self._hear(key.fileobj, key.data, time.perf_counter() < end)
        self._load.seconds = time.perf_counter() - self._began
        return self._load

    def _send(self, connection: socket.socket) -> None:
        self._ready.register(connection, selectors.EVENT_READ, time.perf_counter())
        connection.sendall(self._posts.pop())

    def _hear(self, connection: socket.socket, sent: float, again: bool) -> None:
        status = answer(connection)
        self._load.answers[status] += 1
        if status == 200:
            self._load.milliseconds.append((time.perf_counter() - sent) * 1000)
        if status and again and self._posts:
            self._send(connection)
            return
        connection.close()
        if not status and again and self._posts:
            self.open()


def answer(connection: socket.socket) -> int:
    """Read one answer; its status, 0 if the connection was closed instead."""
    data = b""
    try:
        while not _whole(data):
            piece = connection.recv(4096)
            if not piece:
                return 0
            data += piece
    except OSError:
        return 0
    return int(data[9:12])


def _whole(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return False
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return not lengths or len(body) >= int(lengths[0].partition(b":")[2])
