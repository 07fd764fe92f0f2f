"""Pretend analytics tools on this machine: strict as the real ones, and they count what they get.

with receiver() as tools:
    ...  # send to tools.amplitude_url and tools.webhook_url
    tools.snapshot().amplitude.revenue
"""

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Literal

from app.demo.strict import Verdict, amplitude, signed_webhook
from app.demo.tally import DestinationTotals, Tally

AMPLITUDE_KEY = "d0" * 16
WEBHOOK_SECRET = "whsec_ZGVtby1vbmx5LXNlY3JldC1vZi10aGUtcHJldGVuZC10b29s"
WEEK = 7 * 86_400.0
READ_AT_MOST = 32 << 20

Destination = Literal["amplitude", "webhook"]
PATHS: Mapping[str, Destination] = {"/2/httpapi": "amplitude", "/webhook": "webhook"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A request as a script sees it; `number` counts from 1 at each destination."""

    destination: Destination
    number: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Misbehaviour:
    """What to answer instead. `effect`: whether the events are counted all the same.

    `status` None keeps the tool's own answer; `drop` closes the connection without any.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: float = 0.0
    drop: bool = False
    effect: bool = True


Script = Callable[[Post], Misbehaviour | None]
HONEST = Misbehaviour()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverTotals:
    amplitude: DestinationTotals
    webhook: DestinationTotals


class Receiver:
    """The running tools. `script` may be replaced at any time; None: behave."""

    def __init__(
        self, api_key: str, secret: str, script: Script | None, clock: Callable[[], float]
    ) -> None:
        self.api_key = api_key
        self.secret = secret
        self.script = script
        self.base_url = ""
        self._clock = clock
        self._tallies: dict[Destination, Tally] = {
            "amplitude": Tally(window=WEEK),
            "webhook": Tally(window=None),
        }

    @property
    def amplitude_url(self) -> str:
        return f"{self.base_url}/2/httpapi"

    @property
    def webhook_url(self) -> str:
        return f"{self.base_url}/webhook"

    def snapshot(self) -> ReceiverTotals:
        """What was counted until now."""
        return ReceiverTotals(**{name: each.totals() for name, each in self._tallies.items()})

    def answer(
        self, destination: Destination, headers: Mapping[str, str], body: bytes
    ) -> tuple[Misbehaviour, Verdict]:
        """Count a request as it deserves, and say how to answer it."""
        tally = self._tallies[destination]
        number = tally.request(body)
        post = Post(destination=destination, number=number, headers=headers, body=body)
        script = self.script
        scripted = (script(post) if script else None) or HONEST
        verdict = self._judge(post)
        if verdict.status >= 400:
            tally.refused()
        for event in verdict.events if scripted.effect else ():
            tally.take(event, self._clock())
        return scripted, verdict

    def _judge(self, post: Post) -> Verdict:
        if post.destination == "amplitude":
            return amplitude(post.body, self.api_key, self._clock())
        return signed_webhook(post.body, post.headers, self.secret)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one packet for headers and body
    tools: Receiver

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > READ_AT_MOST:
            self.close_connection = True
            return self._send(413 if length.isdigit() else 411, b"", {})
        body = self.rfile.read(int(length))
        destination = PATHS.get(self.path.partition("?")[0])
        if destination is None:
            return self._send(404, b'{"code":404,"error":"Invalid request path"}', {})
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._obey(*self.tools.answer(destination, headers, body))

    def _obey(self, scripted: Misbehaviour, verdict: Verdict) -> None:
        time.sleep(scripted.delay)
        if scripted.drop:
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
        elif scripted.status is None:
            self._send(verdict.status, json.dumps(verdict.answer).encode(), scripted.headers)
        else:
            self._send(scripted.status, scripted.body, scripted.headers)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End kept-alive connections too: tools that are gone answer nobody."""
        for connection in tuple(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is not worth a traceback."""


@contextmanager
def receiver(
    *,
    api_key: str = AMPLITUDE_KEY,
    secret: str = WEBHOOK_SECRET,
    script: Script | None = None,
    clock: Callable[[], float] = time.time,
) -> Iterator[Receiver]:
    """Run the tools on a free loopback port for as long as the block lasts."""
    tools = Receiver(api_key, secret, script, clock)
    handler = type("Handler", (_Handler,), {"tools": tools})
    with _Server(handler) as server:
        tools.base_url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield tools
        finally:
            server.shutdown()
            thread.join()
            server.hang_up()
