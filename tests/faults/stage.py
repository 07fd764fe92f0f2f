"""What a fault run happens on: stores, the web server, workers, receivers, and proxies between."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from urllib.request import Request, urlopen

import psutil
import psycopg

from app.demo.receiver import AMPLITUDE_KEY, WEBHOOK_SECRET
from app.failpoint import NAMES
from app.local.spawn import kill, spawn
from app.local.stores import EmbeddedStores
from app.store.migrate import migrate
from tests.faults.bridge import ROOT, SECRET, Process, wait
from tests.faults.checker import DESTINATIONS
from tests.faults.proxy import Proxy, proxy

STOPS = "deliver.after_post=stop:0.05"  # between the POST and its finish
EXIT = 0.4  # of the times that a worker comes by the failpoint at which it is to die
BETWEEN = 0.3  # seconds from a worker's end to the start of the next one in its place


@dataclass(slots=True)
class Place:
    """Where one worker after the other works. `mortal` ones are killed, the others are stopped
    past their lease; `proxied` ones reach Postgres through the proxy. `failpoint`: where the
    present worker may end by itself; `stopped`: a fault has it in hand."""

    name: str
    mortal: bool
    proxied: bool = False
    process: Process | None = None
    failpoint: str = ""
    stopped: bool = False
    leaving: bool = False  # it was told to stop
    gone_at: float = 0.0  # monotonic
    began_at: int = 0  # bytes of the log that are of earlier workers
    ready: bool = False

    @property
    def works(self) -> bool:
        """Whether a worker is up here and serves."""
        alive = self.process is not None and self.process.alive
        return alive and self._is_ready() and not self.stopped and not self.leaving

    def _is_ready(self) -> bool:
        if not self.ready and self.process is not None:
            with self.process.log.open("rb") as log:
                log.seek(self.began_at)
                self.ready = b'"worker.ready"' in log.read()
        return self.ready


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`mortal` and `stopping` are numbers of workers; `share` of the receivers' answers are not
    honest; `hold`: seconds for which an analytics event waits for the webhook that names it."""

    seed: int
    mortal: int = 3
    stopping: int = 3
    exits: bool = True  # mortal ones die at failpoints too
    share: float = 0.05
    hold: int = 120
    lane_workers: int = 8


class Stage:
    """All of it, running. Every process is started by the main thread and dies with it."""

    def __init__(self, plan: Plan, folder: Path, stores: EmbeddedStores, inside: ExitStack) -> None:
        self.plan = plan
        self.folder = folder
        self.stores = stores
        self.rng = Random(f"stage:{plan.seed}")
        self.receivers_log = folder / "receivers.jsonl"
        self.calm = False  # whether the workers that start are to live
        self.port = _free_port()
        run_dir = stores.current.run_dir
        self.postgres_wire = inside.enter_context(proxy(f"{run_dir}/.s.PGSQL.5432"))
        self.redis_wire = inside.enter_context(proxy(f"{run_dir}/r"))
        self._tools, self._tools_port = self._start_tools()
        inside.callback(kill, self._tools)
        self.wires: dict[str, Proxy] = {
            to: inside.enter_context(proxy(("127.0.0.1", self._tools_port))) for to in DESTINATIONS
        }
        self.web = Process("web", self._env(proxied=True), folder / "web.log")
        inside.callback(lambda: self.web.kill())
        self.places = [Place(f"worker-{number}", True) for number in range(plan.mortal)]
        self.places += [Place(f"stopper-{number}", False) for number in range(plan.stopping)]
        self.places[0].proxied = True
        inside.callback(self._kill_workers)

    @property
    def database(self) -> str:
        """A libpq address, past the proxy."""
        return self.stores.current.database_url.replace("+psycopg", "")

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database, connect_timeout=5, autocommit=True) as connection:
            done = connection.execute(query)
            return done.fetchall() if done.description else []

    def postgres_processes(self) -> list[psutil.Process]:
        """The server first, then its children."""
        server = psutil.Process(self.stores.current.postgres_pid)
        return [server, *server.children(recursive=True)]

    def hang(self, *destinations: str) -> None:
        """These receivers answer nobody from now on; none: all do."""
        self._tell_receivers({"hanging": destinations})

    def quiet(self) -> None:
        """Every receiver is honest, and every worker that starts from here on lives."""
        self.calm = True
        self._tell_receivers({"hanging": (), "honest": True})

    def _tell_receivers(self, what: dict[str, Any]) -> None:
        body = json.dumps(what).encode()
        url = f"http://127.0.0.1:{self._tools_port}/control"
        with urlopen(Request(url, body), timeout=10) as answer:  # a loopback address of our own
            answer.read()

    def start_web(self) -> None:
        """Start the web server anew, in place of one that ended."""
        self.web = Process("web", self._env(proxied=True), self.folder / "web.log")

    def start_worker(self, place: Place) -> None:
        """A worker in this place. A mortal one is to die at one failpoint, drawn anew each time."""
        dies = self.plan.exits and place.mortal and not self.calm
        place.failpoint = self.rng.choice(sorted(NAMES)) if dies else ""
        stops = not place.mortal and not self.calm
        points = f"{place.failpoint}=exit:{EXIT}" if dies else STOPS if stops else ""
        env = self._env(proxied=place.proxied) | {"BRIDGE_FAILPOINTS": points}
        log = self.folder / f"{place.name}.log"
        place.began_at = log.stat().st_size if log.exists() else 0
        place.ready = False
        place.process = Process("worker", env, log)
        place.stopped = place.leaving = False

    def await_web(self) -> None:
        wait(self._is_ready, "the web server answers")

    def command(self, *arguments: str) -> subprocess.Popen[bytes]:
        """`bridge ...`, begun."""
        with (self.folder / "commands.log").open("ab") as output:
            return spawn(
                [sys.executable, "-m", "app", *arguments],
                env=self._env(proxied=False),
                cwd=self.folder,
                output=output,
                death_signal=signal.SIGKILL,
            )

    def _is_ready(self) -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _start_tools(self) -> tuple[subprocess.Popen[bytes], int]:
        said = self.folder / "receivers.out"
        arguments = (str(self.receivers_log), str(self.plan.share), str(self.plan.seed))
        with said.open("wb") as output:
            process = spawn(
                [sys.executable, "-m", "tests.faults.tools", *arguments],
                env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(ROOT)},
                cwd=self.folder,
                output=output,
                death_signal=signal.SIGKILL,
            )
        wait(lambda: said.read_text().endswith("\n"), "the receivers listen")
        return process, int(said.read_text().split()[0])

    def _env(self, *, proxied: bool) -> dict[str, str]:
        database = self.stores.current.database_url
        if proxied:
            address = f"127.0.0.1:{self.postgres_wire.port}"
            database = f"postgresql+psycopg://postgres@{address}/bridge?sslmode=disable"
        receivers = {
            "AMPLITUDE_API_KEY": AMPLITUDE_KEY,
            "AMPLITUDE_URL": f"http://127.0.0.1:{self.wires['amplitude'].port}/2/httpapi",
            "AMPLITUDE_LIVEMODE": "both",
            "WEBHOOK_SECRET": WEBHOOK_SECRET,
            "WEBHOOK_URL": f"http://127.0.0.1:{self.wires['webhook'].port}/webhook",
            "WEBHOOK_LIVEMODE": "both",
        }
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": str(ROOT),
            "BRIDGE_NO_BOOTSTRAP": "1",
            "DATABASE_URL": database,
            "REDIS_URL": f"redis://127.0.0.1:{self.redis_wire.port}/0",
            "PORT": str(self.port),
            "STRIPE_WEBHOOK_SECRET": SECRET,
            "BRIDGE_ALLOW_LOCAL_URLS": "true",
            "BRIDGE_IDENTITY_HOLD": str(self.plan.hold),
            "BRIDGE_LANE_WORKERS": str(self.plan.lane_workers),
            **{f"BRIDGE_DEST_{name}": text for name, text in receivers.items()},
        }

    def _kill_workers(self) -> None:
        for place in self.places:
            if place.process is not None:
                place.process.kill()


@contextmanager
def stage(plan: Plan, folder: Path) -> Iterator[Stage]:
    """The stage for the length of the block, web server up, no worker yet. Whatever the block
    left frozen goes on first: else nothing could end in order."""
    folder.mkdir(parents=True, exist_ok=True)
    stores = EmbeddedStores(folder / "data")
    migrate(stores.start().database_url)
    try:
        with ExitStack() as inside:
            built = Stage(plan, folder, stores, inside)
            built.await_web()
            yield built
    finally:
        _thaw(stores)
        stores.stop()


def _thaw(stores: EmbeddedStores) -> None:
    for pid in (stores.current.postgres_pid, stores.current.valkey_pid):
        if psutil.pid_exists(pid):
            server = psutil.Process(pid)
            for each in [server, *server.children(recursive=True)]:
                each.resume()


def is_stopped(process: Process) -> bool:
    """Whether it was stopped by SIGSTOP."""
    try:
        return bool(psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
