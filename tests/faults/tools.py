"""The receivers of a fault run, in a process of their own: they misbehave, and keep a log.

`python -m tests.faults.tools <log> <share> <seed>` says its port on the first line of stdout. Each
event of each request is a line of the log: when, what it is deduped by, a hash of its very bytes,
its money, whether it had its effect here, and how it was answered. Nothing of the product is used.
"""

import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

PATHS = {"/2/httpapi": "amplitude", "/webhook": "webhook"}
TRAP = "/redirected"  # where a redirect leads: nobody may ever come here
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST
HANG = 20.0  # seconds; more than anybody should wait
DRIP = 0.5  # seconds between two bytes of an answer that drips
# By weight: what hangs holds a worker's lane for its whole deadline, so there is little of it.
KINDS: Mapping[str, int] = {
    "500": 20,
    "500_after_effect": 20,
    "cut_after_effect": 20,
    "429_seconds": 4,
    "429_date": 4,
    "garbage_after_effect": 8,
    "noise_after_effect": 8,
    "redirect": 10,
    "200_with_errors": 8,
    "part_of_a_batch": 12,
    "throttled": 6,
    "hang_after_effect": 1,
    "drip_after_effect": 1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event as it came; `raw` are its bytes, as they stood in the request."""

    key: str
    name: str
    raw: bytes
    fact: str = ""
    device: str = ""
    revenue: str | None = None
    currency: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """What becomes of a request: `effect` on how many of its events (None: all), and the answer.

    `manner`: how the answer is given; "hang" and "cut" give none.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    effect: int | None = None
    manner: str = "plain"


def amplitude_events(body: bytes) -> list[Event]:
    """The events of an Amplitude request, each with the bytes it came in."""
    text = body.decode()
    start = text.index('"events":[') + len('"events":[')
    decoder = json.JSONDecoder(parse_float=str)
    found = []
    while text[start] != "]":
        event, end = decoder.raw_decode(text, start)
        revenue = event.get("revenue")
        found.append(
            Event(
                key=f"{event['insert_id']} {event.get('device_id', '')}",
                name=event["event_type"],
                raw=text[start:end].encode(),
                device=event.get("device_id", ""),
                revenue=None if revenue is None else str(revenue),
                currency=event.get("currency", "").lower(),
            )
        )
        start = end + (text[end] == ",")
    return found


def webhook_events(body: bytes, headers: Mapping[str, str]) -> list[Event]:
    """The one event of a signed webhook."""
    event = json.loads(body, parse_float=str)
    data = event["data"]
    revenue = data["revenue"] or {}
    return [
        Event(
            key=headers["webhook-id"],
            name=event["type"],
            raw=body,
            fact=data["key"],
            revenue=revenue.get("major"),
            currency=revenue.get("currency", "").lower(),
        )
    ]


# What needs to know nothing of the request.
SIMPLE: Mapping[str, Reaction] = {
    "500": Reaction(status=500, effect=0),
    "500_after_effect": Reaction(status=500),
    "cut_after_effect": Reaction(manner="cut"),
    "429_seconds": Reaction(status=429, headers={"Retry-After": "1"}, effect=0),
    "garbage_after_effect": Reaction(body=b"\x00\xff<html>{]"),
    "noise_after_effect": Reaction(manner="noise"),
    "redirect": Reaction(status=302, headers={"Location": TRAP}, effect=0),
    "hang_after_effect": Reaction(manner="hang"),
    "drip_after_effect": Reaction(manner="drip", body=b'{"code":200,"drip":"' + b"." * 100 + b'"}'),
}


def react(kind: str, to: str, events: list[Event], now: float) -> Reaction:
    """What this misbehaviour comes to, for this request. What a receiver cannot do, or not to a
    single event, is a plain 500."""
    match kind:
        case "429_date":
            date = formatdate(now + 2, usegmt=True)
            return Reaction(status=429, headers={"Retry-After": date}, effect=0)
        case "200_with_errors" if to == "amplitude":
            return Reaction(body=b'{"code":400,"error":"not today"}', effect=0)
        case "part_of_a_batch" if len(events) > 1:
            return Reaction(status=500, effect=len(events) // 2)
        case "throttled" if to == "amplitude":
            return _throttles(events[0].device)
        case _:
            return SIMPLE.get(kind, SIMPLE["500"])


def _throttles(device: str) -> Reaction:
    """One device sent too much: its events wait, the others may come again at once."""
    body = {"code": 429, "error": "Too many requests", "throttled_devices": {device: 11}}
    headers = {"Retry-After": "1"}
    return Reaction(status=429, body=json.dumps(body).encode(), headers=headers, effect=0)


class Log:
    """Lines to a file of our own, written through at once; from many threads."""

    def __init__(self, file: Path) -> None:
        self._out = file.open("a", buffering=1)
        self._lock = threading.Lock()

    def write(self, lines: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        with self._lock:
            self._out.write(text)


class Tools:
    """What the handlers share. `script` names the misbehaviour of a request, "" for none;
    `hanging` are receivers that answer nobody."""

    def __init__(self, log: Log, script: Callable[[], str]) -> None:
        self.log = log
        self.script = script
        self.hanging: frozenset[str] = frozenset()

    def obey(self, told: Mapping[str, Any]) -> None:
        """Whom to leave without an answer; and, for good, to misbehave no more."""
        self.hanging = frozenset(told["hanging"])
        if told.get("honest"):
            self.script = lambda: ""

    def take(self, to: str, headers: Mapping[str, str], body: bytes) -> Reaction:
        """Note what came, and say what becomes of it."""
        now = time.time()
        events = amplitude_events(body) if to == "amplitude" else webhook_events(body, headers)
        kind = "hang_after_effect" if to in self.hanging else self.script()
        reaction = react(kind, to, events, now) if kind else _honest(to, events)
        counted = len(events) if reaction.effect is None else reaction.effect
        self.log.write(
            [
                {
                    "at": now,
                    "to": to,
                    "key": event.key,
                    "name": event.name,
                    "fact": event.fact,
                    "hash": sha256(event.raw).hexdigest(),
                    "revenue": event.revenue,
                    "currency": event.currency,
                    "effect": place < counted,
                    "answer": kind or "200",
                }
                for place, event in enumerate(events)
            ]
        )
        return reaction


def _honest(to: str, events: list[Event]) -> Reaction:
    answer = {"code": 200, "events_ingested": len(events)} if to == "amplitude" else {"ok": True}
    return Reaction(body=json.dumps(answer).encode())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one packet for headers and body
    tools: Tools

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/control":
            self.tools.obey(json.loads(body))
            return self._send(Reaction())
        to = PATHS.get(self.path)
        if to is None:
            self.tools.log.write([{"at": time.time(), "trap": self.path}])
            return self._send(Reaction(status=404))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._answer(self.tools.take(to, headers, body))

    def do_GET(self) -> None:
        self.tools.log.write([{"at": time.time(), "trap": self.path}])
        self._send(Reaction(status=404))

    def _answer(self, reaction: Reaction) -> None:
        match reaction.manner:
            case "hang":
                time.sleep(HANG)
                self._cut()
            case "cut":
                self._cut()
            case "noise":
                self.wfile.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
                self.close_connection = True
            case "drip":
                self._drip(reaction)
            case _:
                self._send(reaction)

    def _cut(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.connection.close()

    def _drip(self, reaction: Reaction) -> None:
        self.close_connection = True
        self._head(reaction)
        self.wfile.flush()
        for byte in reaction.body:
            time.sleep(DRIP)
            self.wfile.write(bytes([byte]))
            self.wfile.flush()

    def _send(self, reaction: Reaction) -> None:
        self._head(reaction)
        self.wfile.write(reaction.body)

    def _head(self, reaction: Reaction) -> None:
        self.send_response(reaction.status)
        for name, value in {"Content-Type": "application/json", **reaction.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reaction.body)))
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Our log is the one that counts."""


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Workers are killed in the middle of a request: that is no news. Anything else is."""
        error = sys.exception()
        if not isinstance(error, (OSError, ValueError)) or isinstance(error, UnicodeError):
            super().handle_error(request, client_address)


def scripted(share: float, seed: int) -> Callable[[], str]:
    """A share of all requests misbehaves, each kind by its weight."""
    rng, lock = Random(f"tools:{seed}"), threading.Lock()

    def draw() -> str:
        with lock:
            if rng.random() >= share:
                return ""
            return rng.choices(list(KINDS), weights=list(KINDS.values()))[0]

    return draw


def main(log: str, share: str, seed: str) -> None:
    tools = Tools(Log(Path(log)), scripted(float(share), int(seed)))
    with Server(("127.0.0.1", 0), type("Bound", (Handler,), {"tools": tools})) as server:
        sys.stdout.write(f"{server.server_port}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
