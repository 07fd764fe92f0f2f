"""A whole bridge of real processes, on the tests' stores, to be killed and frozen at will."""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from sqlalchemy import Engine, text

from app.core.signature import sign
from app.demo.receiver import AMPLITUDE_KEY, WEBHOOK_SECRET, Receiver
from app.demo.saas import Webhook
from app.local.spawn import end, kill, spawn
from app.local.stores import Stores

ROOT = Path(__file__).parents[2]
SECRET = "whsec_dGVzdHMtc2lnbi13aXRoLXRoaXMtb25l"
PATIENCE = 60.0  # seconds that anything awaited may take
RETRY_NOW = """
    UPDATE work w SET due_at = clock_timestamp() FROM (
        SELECT lane, ref_id FROM work WHERE attempts > 0 AND NOT leased FOR UPDATE SKIP LOCKED
    ) tried WHERE (w.lane, w.ref_id) = (tried.lane, tried.ref_id)
"""
SENDERS = 8  # webhooks on their way at once


def wait(until: Callable[[], object], what: str, seconds: float = PATIENCE) -> float:
    """Seconds until it came true."""
    began = time.monotonic()
    while not until():
        assert time.monotonic() - began < seconds, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - began


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A webhook that was answered 200 in the end; `seconds` of each answer, `refused` before."""

    event_id: str
    seconds: list[float]
    refused: int


class Process:
    """`python -m app web|worker`; its log is a file."""

    def __init__(self, verb: str, env: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = spawn(
                [sys.executable, "-m", "app", verb],
                env=env,
                cwd=log.parent,  # where no .env is
                output=output,
                death_signal=signal.SIGKILL,
            )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def said(self, event: str) -> list[dict[str, Any]]:
        """The log lines of this name."""
        lines = self.log.read_text(errors="replace").splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in found if line.get("event") == event]

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def signal(self, number: signal.Signals) -> None:
        """Send it; nothing happens to a process that has ended."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, also when frozen."""
        kill(self._process)

    def terminate(self, seconds: float = 40.0) -> float:
        """SIGTERM; the seconds until it was gone. Killed if that takes too long."""
        began = time.monotonic()
        end(self._process, signal.SIGTERM, seconds)
        return time.monotonic() - began


class Bridge:
    """Processes on given stores, told to deliver to the pretend tools."""

    def __init__(self, stores: Stores, engine: Engine, tools: Receiver, folder: Path) -> None:
        self.engine = engine
        self.processes: list[Process] = []
        self._folder = folder
        self._port = _free_port()
        self._session = requests.Session()
        self._session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=2 * SENDERS))
        self._env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": str(ROOT),
            "BRIDGE_NO_BOOTSTRAP": "1",
            "DATABASE_URL": stores.database_url,
            "REDIS_URL": stores.redis_url,
            "PORT": str(self._port),
            "STRIPE_WEBHOOK_SECRET": SECRET,
            "BRIDGE_ALLOW_LOCAL_URLS": "true",
            "BRIDGE_IDENTITY_HOLD": "1",
            "BRIDGE_DEST_AMPLITUDE_API_KEY": AMPLITUDE_KEY,
            "BRIDGE_DEST_AMPLITUDE_URL": tools.amplitude_url,
            "BRIDGE_DEST_AMPLITUDE_LIVEMODE": "both",
            "BRIDGE_DEST_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "BRIDGE_DEST_WEBHOOK_URL": tools.webhook_url,
            "BRIDGE_DEST_WEBHOOK_LIVEMODE": "both",
        }

    def web(self) -> Process:
        """Start the web server and wait until it answers."""
        process = self._start("web")
        wait(self._is_ready, "the web server answers")
        return process

    def worker(self, **environment: str) -> Process:
        """Start a worker and wait until it serves."""
        process = self._start("worker", **environment)
        wait(lambda: process.said("worker.ready"), "the worker is ready")
        return process

    def _start(self, verb: str, **environment: str) -> Process:
        log = self._folder / f"{len(self.processes)}-{verb}.log"
        process = Process(verb, {**self._env, **environment}, log)
        self.processes.append(process)
        return process

    def _is_ready(self) -> bool:
        try:
            url = f"http://127.0.0.1:{self._port}/healthz"
            return self._session.get(url, timeout=2).status_code == 200
        except requests.RequestException:
            return False

    def post(self, webhooks: Sequence[Webhook]) -> list[Sent]:
        """Post them as Stripe does, several at a time, each again until it is answered 200."""
        with ThreadPoolExecutor(SENDERS) as senders:
            return list(senders.map(self._post, webhooks))

    @contextmanager
    def posting(self, webhooks: Sequence[Webhook]) -> Iterator[Future[list[Sent]]]:
        """The same while the block runs; `result()` waits for the last answer."""
        with ThreadPoolExecutor(1) as aside:
            yield aside.submit(self.post, webhooks)

    def _post(self, webhook: Webhook) -> Sent:
        seconds: list[float] = []
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            began = time.monotonic()
            status = self._answer(webhook.body)
            seconds.append(time.monotonic() - began)
            if status == 200:
                return Sent(event_id=webhook.event_id, seconds=seconds, refused=len(seconds) - 1)
            time.sleep(0.2)  # Stripe waits longer
        raise AssertionError(f"{webhook.event_id} was never answered 200")

    def _answer(self, body: bytes) -> int:
        headers = {
            "Content-Type": "application/json",
            "Stripe-Signature": sign(body, SECRET, int(time.time())),
        }
        url = f"http://127.0.0.1:{self._port}/webhooks/stripe"
        try:
            return self._session.post(url, body, headers=headers, timeout=20).status_code
        except requests.RequestException:
            return 0

    def expire_leases(self) -> None:
        """What 40 seconds of waiting would do: leases of rows and of lanes' slots run out."""
        self.sql("UPDATE work SET due_at = clock_timestamp() WHERE leased")
        self.sql("UPDATE lane_slots SET leased_until = clock_timestamp()")

    def wait_until_processed(self) -> None:
        """Nothing is left but deliveries."""
        query = "SELECT count(*) FROM work WHERE lane IN ('process', 'release')"
        wait(lambda: self._is_none(query), "all is processed and released")

    def wait_until_delivered(self) -> float:
        """Nothing is left; retries fall due at once instead of after their backoff."""

        def done() -> bool:
            self.sql(RETRY_NOW)
            return self._is_none("SELECT count(*) FROM work")

        return wait(done, "all is delivered")

    def _is_none(self, query: str) -> bool:
        return self.sql(query) == [(0,)]

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        with self.engine.begin() as connection:
            result = connection.execute(text(query))
            return [tuple(row) for row in result] if result.returns_rows else []

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
        self._session.close()


@contextmanager
def bridge(stores: Stores, engine: Engine, tools: Receiver, folder: Path) -> Iterator[Bridge]:
    """A bridge without processes; the test starts them. All are gone after the block."""
    running = Bridge(stores, engine, tools, folder)
    try:
        yield running
    finally:
        running.stop()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
