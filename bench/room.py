"""Stores, web servers and workers of our own for the length of a measurement."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import requests
from sqlalchemy import Engine, text

from app.demo.receiver import AMPLITUDE_KEY, WEBHOOK_SECRET, Receiver
from app.local.spawn import end, spawn
from app.local.stores import Stores, stores
from app.queue import connect
from app.store.db import make_engine
from app.store.migrate import migrate
from app.store.schema import metadata

SECRET = "whsec_bench-signs-with-this"
ROOT = Path(__file__).parents[1]
READY = 60.0  # seconds until a server or worker of ours must answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Fresh, migrated stores and the folder of their data and logs."""

    stores: Stores
    folder: Path
    engine: Engine

    def environment(self, **more: str) -> dict[str, str]:
        """What a process of the bridge sees here; nothing of the caller's own settings."""
        ours = ("BRIDGE_", "STRIPE_", "DATABASE_", "REDIS_")
        outside = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
        return {
            **outside,
            "DATABASE_URL": self.stores.database_url,
            "REDIS_URL": self.stores.redis_url,
            "STRIPE_WEBHOOK_SECRET": SECRET,
            "BRIDGE_NO_BOOTSTRAP": "1",
            "BRIDGE_DATA_DIR": str(self.folder),
            "BRIDGE_ALLOW_LOCAL_URLS": "true",
            **more,
        }

    def empty(self) -> None:
        """Both stores as after the migration."""
        names = ", ".join(table.name for table in metadata.sorted_tables)
        with self.engine.begin() as connection:
            # As a replica: the ledger's own triggers refuse to be emptied.
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY"))
        connect(self.stores.redis_url).flushall()


@contextmanager
def room() -> Iterator[Room]:
    """A room for the length of the block; call it from the main thread."""
    with TemporaryDirectory(prefix="bridge-bench-") as name:
        folder = Path(name)
        with stores(folder / "data") as started:
            migrate(started.database_url)
            engine = make_engine(started.database_url, "bench", statement_timeout=0)
            try:
                yield Room(stores=started, folder=folder, engine=engine)
            finally:
                engine.dispose()


@contextmanager
def web(room: Room, processes: int = 1) -> Iterator[int]:
    """The real web server; its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    env = room.environment(PORT=str(port), WEB_CONCURRENCY=str(processes))
    with _bridge(room, "web", env) as alive:
        _wait_until(lambda: _ready(port), alive, "the web server")
        yield port


@contextmanager
def worker(room: Room, destinations: Mapping[str, str]) -> Iterator[psutil.Process]:
    """One real `bridge worker`, listening already."""
    redis = connect(room.stores.redis_url)
    with _bridge(room, "worker", room.environment(**destinations)) as alive:
        _wait_until(lambda: bool(redis.scard("rq:workers")), alive, "the worker")
        time.sleep(0.2)  # it has registered: the next it does is to listen
        yield alive


def destinations(tools: Receiver, names: Sequence[str]) -> dict[str, str]:
    """The settings that send to these of the pretend tools."""
    known = {
        "amplitude": {"API_KEY": AMPLITUDE_KEY, "URL": tools.amplitude_url},
        "webhook": {"SECRET": WEBHOOK_SECRET, "URL": tools.webhook_url},
    }
    return {
        f"BRIDGE_DEST_{name.upper()}_{setting}": text
        for name in names
        for setting, text in {**known[name], "LIVEMODE": "both"}.items()
    }


@contextmanager
def _bridge(room: Room, verb: str, env: Mapping[str, str]) -> Iterator[psutil.Process]:
    command = [sys.executable, "-m", "app", verb]
    with (room.folder / f"{verb}.log").open("ab") as log:
        process = spawn(command, env=env, cwd=ROOT, output=log)
    try:
        yield psutil.Process(process.pid)
    finally:
        end(process, signal.SIGTERM, 30.0)


def _wait_until(ready: Callable[[], bool], process: psutil.Process, name: str) -> None:
    until = time.monotonic() + READY
    while not ready():
        if time.monotonic() > until or process.status() == psutil.STATUS_ZOMBIE:
            raise RuntimeError(f"{name} did not come up")
        time.sleep(0.05)


def _ready(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/readyz", timeout=2).status_code == 200
    except requests.RequestException:
        return False
