"""A real Postgres and Valkey for a checkout without servers, gone when we are gone.

`stores()` is all that a command needs. Tests of crashes use `EmbeddedStores`, whose two servers
can be stopped, killed and started again on the same sockets. Nothing else in the project knows
that these stores are embedded: it gets two URLs.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.local.programs import StoresUnavailable, require_process_library

if TYPE_CHECKING:
    from app.local.servers import Postgres, Valkey

__all__ = ["AlreadyRunning", "EmbeddedStores", "Stores", "StoresUnavailable", "in_use", "stores"]


class AlreadyRunning(Exception):
    """Another living process holds the data folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Where the started stores are. One that was not started has url "" and pid 0."""

    database_url: str
    redis_url: str
    run_dir: Path
    postgres_pid: int
    valkey_pid: int


@contextlib.contextmanager
def stores(data_dir: Path, *, postgres: bool = True, valkey: bool = True) -> Iterator[Stores]:
    """The embedded stores for the length of a block; what they keep stays in `data_dir`.

    Call it from the main thread (see `app.local.spawn`). Raises AlreadyRunning if another process
    has the folder, StoresUnavailable if they cannot run here. May take two minutes after a crash.
    """
    embedded = EmbeddedStores(data_dir, postgres=postgres, valkey=valkey)
    try:
        yield embedded.start()
    finally:
        embedded.stop()


def in_use(data_dir: Path) -> bool:
    """Whether a living process has this data folder. What a killed one left does not count."""
    try:
        lock = os.open(data_dir / "lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


class EmbeddedStores:
    """The stores of one data folder; `start` and `stop` bracket everything else."""

    def __init__(self, data_dir: Path, *, postgres: bool = True, valkey: bool = True) -> None:
        self.data_dir = data_dir.resolve()
        self._wanted = (postgres, valkey)
        self._postgres: Postgres | None = None
        self._valkey: Valkey | None = None
        self._lock = -1
        self._run_dir: Path | None = None

    def start(self) -> Stores:
        """Takes the folder, ends what a killed run left, and starts; raises as `stores` does."""
        require_process_library()
        self._take()
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self.stop)
            self._start_all()
            on_failure.pop_all()
        return self.current

    def _start_all(self) -> None:
        from app.local.leftovers import RUN_FOLDERS, RUN_PREFIX, end_remembered, remember_folder
        from app.local.servers import Postgres, Valkey  # they need psutil

        end_remembered(self._children)
        # Short, and without a space: a socket's path may have 103 bytes.
        run_dir = Path(tempfile.mkdtemp(prefix=RUN_PREFIX, dir=RUN_FOLDERS))
        self._run_dir = run_dir
        remember_folder(self._children, run_dir)
        postgres, valkey = self._wanted
        if postgres:
            self._postgres = Postgres(self.data_dir, run_dir)
            self.start_postgres()
        if valkey:
            self._valkey = Valkey(self.data_dir, run_dir)
            self.start_valkey()

    @property
    def current(self) -> Stores:
        """Where the stores are now; the pids change with every restart."""
        assert self._run_dir is not None, "not started"
        return Stores(
            database_url=self._postgres.url if self._postgres else "",
            redis_url=self._valkey.url if self._valkey else "",
            run_dir=self._run_dir,
            postgres_pid=self._postgres.pid if self._postgres else 0,
            valkey_pid=self._valkey.pid if self._valkey else 0,
        )

    def stop(self) -> None:
        """Valkey first, then Postgres, then the sockets and the lock. Harmless when repeated."""
        for server in (self._valkey, self._postgres):
            if server is not None:
                server.stop()
        if self._run_dir is not None:
            shutil.rmtree(self._run_dir, ignore_errors=True)
            self._children.unlink(missing_ok=True)
        if self._lock >= 0:
            os.close(self._lock)
        self._postgres, self._valkey, self._run_dir, self._lock = None, None, None, -1

    def start_postgres(self) -> None:
        """Starts Postgres on its socket, again after a stop or a kill."""
        self._start(self._postgres)

    def stop_postgres(self) -> None:
        """Fast shutdown; `start_postgres` brings it back."""
        if self._postgres is not None:
            self._postgres.stop()

    def kill_postgres(self) -> None:
        """SIGKILL; `start_postgres` brings it back after recovery."""
        if self._postgres is not None:
            self._postgres.kill()

    def start_valkey(self) -> None:
        """Starts Valkey on its socket, again after a stop or a kill."""
        self._start(self._valkey)

    def stop_valkey(self) -> None:
        """Orderly end; `start_valkey` brings it back."""
        if self._valkey is not None:
            self._valkey.stop()

    def kill_valkey(self) -> None:
        """SIGKILL; `start_valkey` brings back what the append-only file has."""
        if self._valkey is not None:
            self._valkey.kill()

    @property
    def _children(self) -> Path:
        return self.data_dir / "children.json"

    def _start(self, server: "Postgres | Valkey | None") -> None:
        from app.local.leftovers import remember

        assert server is not None, "not started"
        pid = server.start()
        remember(self._children, type(server).__name__.lower(), pid)

    def _take(self) -> None:
        """Locks the data folder; the kernel lets go of it however this process ends."""
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoresUnavailable(
                f"{self.data_dir} cannot be written: {error.strerror}. Set BRIDGE_DATA_DIR to a"
                " folder of your own, or set DATABASE_URL and REDIS_URL."
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise AlreadyRunning(
                f"Another bridge is running on {self.data_dir}. Stop it, or set BRIDGE_DATA_DIR."
            ) from error
        self._lock = lock
