"""A vendor's stand-in on loopback, and what a network may do to it."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from typing import Literal

from tests.vendors import Vendor

# What becomes of a request: answered; taken, and the answer lost; refused for now.
Fate = Literal["answered", "answer lost", "busy", "failing"]
REFUSALS = {"busy": 429, "failing": 503}


class Server:
    """One vendor behind a wire of changing luck: `fates` come round and round, one a request."""

    def __init__(self, vendor: Vendor) -> None:
        self.vendor = vendor
        self.url = ""
        self.requests = 0
        self.bodies: list[bytes] = []
        self._guard = threading.Lock()
        self._fates: Iterator[Fate] = cycle(["answered"])

    def suffer(self, fates: Sequence[Fate]) -> None:
        """From now on, these in turn."""
        with self._guard:
            self._fates = cycle(fates)

    def take(self, path: str, headers: dict[str, str], body: bytes) -> tuple[Fate, int, str]:
        """One request at a time, as a vendor's own dedupe sees them."""
        with self._guard:
            fate = next(self._fates)
            self.requests += 1
            self.bodies.append(body)
            if fate in REFUSALS:
                return fate, REFUSALS[fate], ""
            return (fate, *self.vendor.answer(path, headers, body))


@contextmanager
def served(vendor: Vendor) -> Iterator[Server]:
    """The vendor at `server.url`, http://127.0.0.1:<port>."""
    server = Server(vendor)
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server.take))
    httpd.daemon_threads = True
    server.url = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=httpd.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def _handler(
    take: Callable[[str, dict[str, str], bytes], tuple[Fate, int, str]],
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            fate, status, text = take(self.path, headers, body)
            if fate == "answer lost":
                self.close_connection = True
                return
            content = text.encode()
            self.send_response(status)
            if fate == "busy":
                self.send_header("Retry-After", "0")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Tests read what was taken, not a log."""

    return Handler
