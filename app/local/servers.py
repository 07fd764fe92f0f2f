"""One real Postgres and one real Valkey on unix sockets: start, stop, kill, start again."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.local.leftovers import end_postgres_in
from app.local.programs import StoresUnavailable, postgres_program, valkey_program
from app.local.spawn import NOBODY, User, end, kill, spawn

RECOVERY = 120.0  # seconds that a server may take to come up: it replays its log after a crash
STOP = 30.0  # seconds for an orderly end before SIGKILL
_CHECK_EVERY = 0.03


class Postgres:
    """A Postgres 18 whose data is `<data_dir>/pg`, listening in `run_dir` alone."""

    def __init__(self, data_dir: Path, run_dir: Path) -> None:
        self.folder, self.log, self.run_dir = data_dir / "pg", data_dir / "postgres.log", run_dir
        self.process: subprocess.Popen[bytes] | None = None
        self.user = _postgres_user(data_dir)

    @property
    def pid(self) -> int:
        """Of the running server, or of the last one that ran; 0 before the first."""
        return self.process.pid if self.process is not None else 0

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://postgres@/bridge?host={self.run_dir}"

    def start(self) -> int:
        """Starts, recovers if need be, and returns the pid once database `bridge` answers."""
        end_postgres_in(self.folder)
        if not self.folder.exists():
            self._init()
        _give(self.folder, self.user)
        _give(self.run_dir, self.user)
        settings = ["shared_buffers=128MB", "max_connections=100", "fsync=on"]
        settings += ["synchronous_commit=on", "unix_socket_permissions=0700"]
        command: list[str | Path] = [postgres_program("postgres"), "-D", self.folder]
        command += ["-k", self.run_dir, "-h", ""]
        command += [f"--{setting}" for setting in settings]
        self.process = _start(command, self.log, signal.SIGINT, self.user)
        _await("Postgres", self.process, self.log, self._make_database)
        return self.process.pid

    def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back, what is committed is kept."""
        if self.process is not None and self.process.poll() is None:
            end(self.process, signal.SIGINT, STOP)

    def kill(self) -> None:
        """SIGKILL, as a power cut would; `start` recovers."""
        if self.process is not None and self.process.poll() is None:
            kill(self.process)

    def _init(self) -> None:
        """Makes the data folder aside and renames it, so that a killed run leaves no half one."""
        fresh = self.folder.with_suffix(".tmp")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        _give(fresh, self.user)
        command: list[str | Path] = [postgres_program("initdb"), "-D", fresh, "-U", "postgres"]
        command += ["--encoding=UTF8", "--locale=C", "--auth=trust", "--no-instructions"]
        initdb = _start(command, self.log, signal.SIGKILL, self.user)
        if initdb.wait() != 0:
            raise StoresUnavailable(f"initdb failed; {_last_words(self.log)}")
        fresh.rename(self.folder)
        parent = os.open(self.folder.parent, os.O_RDONLY)
        os.fsync(parent)  # else a power cut may undo the rename under a full database
        os.close(parent)

    def _make_database(self) -> Exception | None:
        try:
            with psycopg.connect(
                host=str(self.run_dir),
                user="postgres",
                dbname="postgres",
                connect_timeout=5,
                autocommit=True,
            ) as connection:
                query = "SELECT 1 FROM pg_database WHERE datname = 'bridge'"
                if connection.execute(query).fetchone() is None:
                    connection.execute("CREATE DATABASE bridge")
        except psycopg.OperationalError as error:
            return error
        return None


class Valkey:
    """A Valkey with an append-only file in `<data_dir>/valkey`, listening in `run_dir` alone."""

    def __init__(self, data_dir: Path, run_dir: Path) -> None:
        self.folder, self.log = data_dir / "valkey", data_dir / "valkey.log"
        self.socket = run_dir / "r"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running server, or of the last one that ran; 0 before the first."""
        return self.process.pid if self.process is not None else 0

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> int:
        """Starts and returns the pid once PING is answered, its file read again."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        command: list[str | Path] = [valkey_program(), "--port", "0", "--unixsocket", self.socket]
        command += ["--dir", self.folder, "--unixsocketperm", "700", "--save", ""]
        command += ["--appendonly", "yes", "--maxmemory-policy", "noeviction"]
        self.process = _start(command, self.log, signal.SIGTERM, "same")
        _await("Valkey", self.process, self.log, self._ping)
        return self.process.pid

    def stop(self) -> None:
        """Orderly end: the append-only file is written out first."""
        if self.process is not None and self.process.poll() is None:
            end(self.process, signal.SIGTERM, STOP)

    def kill(self) -> None:
        """SIGKILL; `start` reads back what the append-only file has."""
        if self.process is not None and self.process.poll() is None:
            kill(self.process)

    def _ping(self) -> Exception | None:
        try:
            with redis.Redis(
                unix_socket_path=str(self.socket), socket_timeout=5, retry=Retry(NoBackoff(), 0)
            ) as client:
                client.ping()
        except (redis.ConnectionError, redis.TimeoutError) as error:  # loading is a ConnectionError
            return error
        return None


def _start(
    command: Sequence[str | Path], log: Path, death_signal: signal.Signals, user: User
) -> subprocess.Popen[bytes]:
    # No secret of ours goes to a server. PGPORT does: clients that inherit it look for its socket.
    env = {name: os.environ[name] for name in ("PATH", "PGPORT") if name in os.environ}
    env["LC_ALL"] = "C"
    with log.open("ab") as output:
        return spawn(
            command,
            env=env,
            cwd=Path("/"),  # a folder that any user may be in
            output=output,
            death_signal=death_signal,
            user=user,
        )


def _await(
    name: str, process: subprocess.Popen[bytes], log: Path, attempt: Callable[[], Exception | None]
) -> None:
    deadline = time.monotonic() + RECOVERY
    while (problem := attempt()) is not None:
        if process.poll() is not None:
            raise StoresUnavailable(f"{name} ended while starting; {_last_words(log)}")
        if time.monotonic() > deadline:
            raise StoresUnavailable(f"{name} is not up after {RECOVERY:.0f} s: {problem}")
        time.sleep(_CHECK_EVERY)


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-8:]
    return f"the end of {log}:\n" + "\n".join(f"    {line}" for line in lines)


def _postgres_user(data_dir: Path) -> User:
    """As whom Postgres can run: it refuses uid 0, so root tries a user namespace, then nobody."""
    if os.geteuid() != 0:
        return "same"
    users: tuple[User, ...] = ("namespace", "nobody")
    for user in users:
        script = ["/bin/sh", "-c", 'cd "$1" && "$2" --version', "sh"]
        probe = spawn(
            [*script, data_dir, postgres_program("postgres")],
            env={"PATH": os.environ.get("PATH", os.defpath)},
            output=subprocess.DEVNULL,
            user=user,
        )
        if probe.wait() == 0:
            return user
    raise StoresUnavailable(
        "Postgres refuses to run as root, user namespaces are not permitted here, and the user"
        f" nobody cannot enter {data_dir} or run {postgres_program('postgres')}. One of three: run"
        " as an ordinary user; put the project and BRIDGE_DATA_DIR where others may enter"
        " (/opt, /var/lib); or set DATABASE_URL and REDIS_URL to servers of your own."
    )


def _give(folder: Path, user: User) -> None:
    """As root, makes the whole folder belong to whom Postgres runs as."""
    owner = NOBODY if user == "nobody" else os.geteuid()
    if folder.stat().st_uid == owner:
        return
    for path in [*folder.rglob("*"), folder]:  # the folder last: it tells that all is done
        os.chown(path, owner, -1, follow_symlinks=False)
