"""The latency of one webhook: from the 200 that Stripe gets to the arrival at the tool."""

import os
import socket
import time
from dataclasses import dataclass
from random import Random

import orjson

from app.demo.payloads import sample
from app.demo.receiver import Misbehaviour, Post, receiver
from bench.client import answer, post
from bench.door import percentile
from bench.room import SECRET, Room, destinations, web, worker

PATIENCE = 15.0  # seconds until the last one must have arrived
WARM_UP = 5  # webhooks before the clock runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Milliseconds. `missing` never arrived; `others` are answers that were no 200."""

    load_average: float
    rate: float  # webhooks a second
    sent: int
    p50: float
    p99: float
    answer_p50: float  # of the door itself
    missing: int
    others: int


@dataclass(frozen=True, slots=True)
class _Sent:
    user: str
    status: int
    answered: float
    took: float


def measure(room: Room, *, rate: float, seconds: float) -> Latency:
    """Open loop: webhooks leave by the clock, whatever became of those before."""
    busy = os.getloadavg()[0]
    arrived: dict[str, float] = {}

    def note(received: Post) -> Misbehaviour | None:
        now = time.perf_counter()
        for event in orjson.loads(received.body)["events"]:
            arrived.setdefault(event["user_id"], now)
        return None

    room.empty()
    with (
        receiver(script=note) as tools,
        worker(room, destinations(tools, ["amplitude"])),
        web(room) as port,
    ):
        sent = _post(port, rate, WARM_UP + max(1, round(rate * seconds)))[WARM_UP:]
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and any(one.user not in arrived for one in sent):
            time.sleep(0.05)
    return _latency(sent, arrived, busy, rate)


def _latency(sent: list[_Sent], arrived: dict[str, float], busy: float, rate: float) -> Latency:
    there = [one for one in sent if one.user in arrived]
    waits = sorted((arrived[one.user] - one.answered) * 1000 for one in there) or [0.0]
    return Latency(
        load_average=busy,
        rate=rate,
        sent=len(sent),
        p50=percentile(waits, 0.5),
        p99=percentile(waits, 0.99),
        answer_p50=percentile(sorted(one.took * 1000 for one in sent), 0.5),
        missing=len(sent) - len(there),
        others=sum(one.status != 200 for one in sent),
    )


def _post(port: int, rate: float, count: int) -> list[_Sent]:
    webhooks = [(f"bench-{number}", _completed(number)) for number in range(count)]
    sent = []
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.perf_counter()
        for number, (user, body) in enumerate(webhooks):
            request = post(body, SECRET, int(time.time()))
            time.sleep(max(0.0, began + number / rate - time.perf_counter()))
            left = time.perf_counter()
            connection.sendall(request)
            status = answer(connection)
            now = time.perf_counter()
            sent.append(_Sent(user, status, now, now - left))
    return sent


def _completed(number: int) -> bytes:
    """A completed checkout that says itself whose it is: nothing of it has to wait."""
    events = sample("checkout.session.completed", now=int(time.time()), rng=Random(number))
    event = events[-1]
    event["data"]["object"]["metadata"] = {"user_id": f"bench-{number}", "consent": "granted"}
    return orjson.dumps(event, option=orjson.OPT_INDENT_2)
