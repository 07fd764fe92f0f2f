"""Stripe, as a bridge under faults sees it: simulated lives posted without end, again until 2xx."""

import heapq
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path
from random import Random

from app.demo.envelopes import sign
from app.demo.saas import Story, Webhook, simulate
from tests.faults.checker import Acknowledged, Expected

PATH = "/webhooks/stripe"
SENDERS = 24  # webhooks on their way at once
PATIENCE = 20.0  # seconds that Stripe waits for an answer
AGAIN = 0.5, 5.0  # seconds before a webhook is sent again: the first time, and at most
AT_ONCE = 4  # stories told at a time
NEAR = 8  # webhooks of a story among which the next to be posted is drawn


@dataclass(frozen=True, slots=True)
class Answer:
    """To one POST: when it was sent, the status (0: none) and what was said, after `seconds`."""

    at: float
    event_id: str
    status: int
    word: str
    seconds: float


@dataclass(order=True, slots=True)
class _Due:
    """A webhook to post, at a moment of the monotonic clock."""

    at: float
    number: int
    webhook: Webhook = field(compare=False)
    odd: bool = field(compare=False, default=False)
    tries: int = field(compare=False, default=0)


class Load:
    """`rate` webhooks a second; what an outage holds up comes at once after it.

    `expected` is fed with everything posted; `answers` are kept in order, and in a file.
    """

    def __init__(
        self, port: int, secret: str, out: Path, *, seed: int, rate: float, customers: int
    ) -> None:
        self.expected = Expected()
        self.answers: list[Answer] = []
        self.acknowledged: dict[str, Acknowledged] = {}
        self.told = False  # everything was posted for the first time, after `finish`
        self._port, self._secret, self._seed, self._rate = port, secret, seed, rate
        self._customers = customers
        self._out = out.open("a", buffering=1)
        self._rng = Random(f"load:{seed}")
        self._numbers = count()
        self._due: list[_Due] = []
        self._on_their_way = 0
        self._changed = threading.Condition()
        self._ending, self._stopped = threading.Event(), threading.Event()
        self._told = self._tell()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Tell stories without end, at the rate."""
        self.start_senders()
        self._begin(self._pace)

    def start_senders(self) -> None:
        """Send what is posted."""
        for _ in range(SENDERS):
            self._begin(self._send)

    def _begin(self, act: Callable[[], None]) -> None:
        thread = threading.Thread(target=act, daemon=True)
        thread.start()
        self._threads.append(thread)

    def finish(self) -> None:
        """Begin no new story; what is begun is posted to its end."""
        self._ending.set()

    def stop(self) -> None:
        """Post nothing more."""
        self._ending.set()
        with self._changed:
            self._stopped.set()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(PATIENCE + 5)
        self._out.close()

    @property
    def waiting(self) -> int:
        """Webhooks that were posted or due, and are not acknowledged yet."""
        with self._changed:
            return len(self._due) + self._on_their_way

    # --- what is posted

    def _tell(self) -> Iterator[Webhook]:
        """Several stories at a time, each a little out of order."""
        stories: list[list[Webhook]] = []
        numbers = count()
        while True:
            while len(stories) < AT_ONCE and not self._ending.is_set():
                story = self._story(next(numbers))
                self.expected.story(story.expected.counts)
                stories.append(list(reversed(story.webhooks)))
            if not stories:
                return
            chosen = self._rng.choice(stories)
            yield chosen.pop(-1 - self._rng.randrange(min(NEAR, len(chosen))))
            if not chosen:
                stories.remove(chosen)

    def _story(self, number: int) -> Story:
        seed = self._seed * 1_000_000 + number
        return simulate(seed=seed, customers=self._customers, now=int(time.time()))

    def _pace(self) -> None:
        began, posted = time.monotonic(), 0
        while not self._stopped.is_set():
            webhook = self.next()
            if webhook is None:
                self.told = True
                return
            self.post(webhook)
            posted += 1
            self._stopped.wait(max(0.0, began + posted / self._rate - time.monotonic()))

    def next(self) -> Webhook | None:
        """The next of the stories, for whoever wants to post it in a way of their own."""
        with self._changed:
            webhook = next(self._told, None)
        if webhook is not None:
            self.expected.post(webhook.body)
        return webhook

    def post(self, webhook: Webhook, *, odd: bool = False) -> None:
        """Post it as soon as there is a sender, and again until it is acknowledged; an odd one
        (no story's) also rests once it is refused as no event."""
        with self._changed:
            due = _Due(time.monotonic(), next(self._numbers), webhook, odd)
            heapq.heappush(self._due, due)
            self._changed.notify()

    def post_at_once(self, webhook: Webhook, times: int) -> None:
        """The same bytes so many times, all at the same moment; from a thread of the caller's."""
        together = threading.Barrier(times)

        def post() -> None:
            with _connection(self._port) as connection:
                together.wait(10)
                self._note(webhook, self._post(connection, webhook), odd=False)

        threads = [threading.Thread(target=post, daemon=True) for _ in range(times)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE + 5)
        self.post(webhook)  # until it is acknowledged, whatever became of those

    # --- how it is posted

    def _send(self) -> None:
        while (due := self._take()) is not None:
            with _connection(self._port) as connection:
                while due is not None:
                    answer = self._post(connection, due.webhook)
                    self._note(due.webhook, answer, odd=due.odd)
                    self._settle(due, answer)
                    if answer.status == 0:
                        break  # a new connection
                    due = self._take()

    def _take(self) -> _Due | None:
        with self._changed:
            while not self._stopped.is_set():
                now = time.monotonic()
                if self._due and self._due[0].at <= now:
                    self._on_their_way += 1
                    return heapq.heappop(self._due)
                self._changed.wait(self._due[0].at - now if self._due else None)
        return None

    def _settle(self, due: _Due, answer: Answer) -> None:
        over = 200 <= answer.status < 300 or (due.odd and 400 <= answer.status < 500)
        with self._changed:
            self._on_their_way -= 1
            if over:
                return
            first, most = AGAIN
            due.at = time.monotonic() + min(most, first * 2**due.tries) * self._rng.uniform(0.5, 1)
            due.tries += 1
            heapq.heappush(self._due, due)
            self._changed.notify()

    def _post(self, connection: HTTPConnection, webhook: Webhook) -> Answer:
        at, began = time.time(), time.monotonic()
        headers = {
            "Content-Type": "application/json",
            "Stripe-Signature": sign(webhook.body, self._secret, int(at)),
        }
        status, word = 0, ""
        try:
            connection.request("POST", PATH, webhook.body, headers)
            response = connection.getresponse()
            word = response.read().decode(errors="replace").strip()
            status = response.status
        except (OSError, HTTPException) as error:
            word = type(error).__name__
            connection.close()
        return Answer(at, webhook.event_id, status, word, time.monotonic() - began)

    def _note(self, webhook: Webhook, answer: Answer, *, odd: bool) -> None:
        line = [answer.at, answer.event_id, answer.status, answer.word, round(answer.seconds, 4)]
        acknowledged = Acknowledged(event_id=webhook.event_id, at=answer.at, odd=odd)
        with self._changed:
            self.answers.append(answer)
            if not self._out.closed:
                self._out.write(json.dumps(line) + "\n")
            if 200 <= answer.status < 300:
                self.acknowledged.setdefault(webhook.event_id, acknowledged)


def _connection(port: int) -> closing[HTTPConnection]:
    """A connection to the door, closed at the block's end."""
    return closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE))


# --- what no Stripe posts


def poison(number: int, rng: Random) -> Webhook:
    """A signed body that is hard to read: the numbered one of the corpus, under its own id."""
    event_id = f"evt_odd_{number}_{rng.getrandbits(40):010x}"
    kind, body = CORPUS[number % len(CORPUS)]
    filled = body.replace(b"EVENT", event_id.encode())
    return Webhook(body=filled, event_id=event_id, type=kind, created=0)


def _odd(kind: str, what: bytes, created: bytes = b"1790000000") -> tuple[str, bytes]:
    head = (
        b'{"id":"EVENT","object":"event","api_version":"2025-03-31.basil","created":%b,' % created
    )
    rest = b'"livemode":false,"pending_webhooks":1,"type":"%b","data":{"object":%b}}'
    return kind, head + rest % (kind.encode(), what)


DEEP, DEEPER = (b"[" * levels + b"]" * levels for levels in (200, 5_000))
LONG = b"x" * 1_000_000
CORPUS: list[tuple[str, bytes]] = [
    _odd("invoice.paid", b'{"id":"in_odd","object":"invoice","lines":%b}' % DEEP),
    _odd("invoice.paid", b'{"id":"in_odd","object":"invoice","lines":%b}' % DEEPER),
    _odd("invoice.paid", b'{"id":"in_\\u0000","object":"invoice","amount_paid":1}'),
    _odd("customer.updated", b'{"id":"cus_odd","object":"customer","name":"\\ud800"}'),
    _odd("invoice.paid", b'{"id":"in_odd","object":"invoice","amount_paid":%b}' % (b"9" * 400)),
    _odd("invoice.paid", b'{"id":"in_odd","object":"invoice","amount_paid":NaN}'),
    _odd("invoice.paid", b'{"id":"in_odd","object":"invoice","amount_paid":"12.50"}'),
    _odd("invoice.paid", b"null"),
    _odd("invoice.paid", b"[]"),
    _odd("customer.subscription.updated", b'{"id":"sub_odd","object":"subscription","items":7}'),
    _odd("refund.created", b'{"id":"re_odd","object":"refund","amount":true,"currency":"usd"}'),
    _odd("invoice.paid", b"{}", created=b"99999999999999999999"),
    _odd("not.of.this.world", b'{"id":"x","object":"y"}'),
    _odd("customer.updated", b'{"id":"cus_odd","object":"customer","name":"%b"}' % LONG),
    ("invoice.paid", b'["EVENT"]'),
    ("invoice.paid", b"7"),
    ("invoice.paid", b'{"id":"EVENT","object":"event"'),
    ("invoice.paid", b"\xff\xfe{}"),
]  # fmt: skip


def drip_requests(port: int, seconds: float, connections: int = 30) -> None:
    """Connections that send a request byte by byte, and never to its end."""
    with suppress(OSError):
        open_ones = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(connections)]
        until = time.monotonic() + seconds
        head = f"POST {PATH} HTTP/1.1\r\nHost: bridge\r\nContent-Length: 900000\r\n".encode()
        place = 0
        while time.monotonic() < until:
            for one in open_ones:
                with suppress(OSError):
                    one.send(head[place % len(head) :][:1])
            place += 1
            time.sleep(0.2)
        for one in open_ones:
            one.close()


def post_ten_megabytes(port: int) -> int:
    """The status that a body of 10 MB gets, its length said; 0 if the connection is cut."""
    with _connection(port) as connection, suppress(OSError, HTTPException):
        connection.request("POST", PATH, b"x" * (10 << 20), {"Content-Type": "application/json"})
        return connection.getresponse().status
    return 0


def post_chunked(port: int, megabytes: int = 4) -> int:
    """The status that a body without a length gets; 0 if the connection is cut."""
    pieces = (b"x" * (1 << 16) for _ in range(megabytes * 16))
    with _connection(port) as connection, suppress(OSError, HTTPException):
        headers = {"Content-Type": "application/json"}
        connection.request("POST", PATH, pieces, headers, encode_chunked=True)
        return connection.getresponse().status
    return 0
