"""Ends what an earlier, killed run of the embedded stores has left alive.

A pid proves nothing: it may belong to someone else by now (a container that was started again).
So a process is ours only if its start time and program are the ones written down, or, for
Postgres, if it works inside our data folder. Whoever calls this holds the lock of that folder.
"""

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil

_PATIENCE = 10.0  # seconds for an orderly end before SIGKILL
RUN_FOLDERS = Path("/tmp")
RUN_PREFIX = "bridge-"


def remember_folder(file: Path, run_dir: Path) -> None:
    """Begins a new record with the folder of the sockets, before anything is in it."""
    _write(file, {"run_dir": str(run_dir), "children": {}})


def remember(file: Path, name: str, pid: int) -> None:
    """Adds to the record that `name` (postgres or valkey) runs as `pid`."""
    record = _read(file)
    child = psutil.Process(pid)
    record["children"][name] = {
        "pid": pid,
        "create_time": child.create_time(),
        "exe": _ask(child.exe),
    }
    _write(file, record)


def end_remembered(file: Path) -> None:
    """Ends the processes of the record `file`, removes their socket folder and the record."""
    record = _read(file)
    found = {name: _ours(child) for name, child in record["children"].items()}
    for name, process in found.items():
        if process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)
    _wait_or_kill(process for process in found.values() if process is not None)
    run_dir = Path(record["run_dir"])
    if run_dir.parent == RUN_FOLDERS and run_dir.name.startswith(RUN_PREFIX):
        shutil.rmtree(run_dir, ignore_errors=True)
    file.unlink(missing_ok=True)


def end_postgres_in(folder: Path) -> None:
    """Waits for every Postgres process of a data folder to end, then kills; defuses the stale pid.

    Backends outlive a killed postmaster for a moment; a second postmaster beside them would
    corrupt the data. Postgres refuses to start if whoever has the pid of its `postmaster.pid`
    lives, whatever it is, except its own parent: so that file gets our pid. Its other lines stay,
    by which Postgres itself finds backends that we may not look at.
    """
    stale = folder / "postmaster.pid"
    if not stale.exists():
        return
    _wait_or_kill(
        process
        for process in psutil.process_iter()
        if _ask(process.name) == "postgres" and _ask(process.cwd) == str(folder.resolve())
    )
    _, _, rest = stale.read_text().partition("\n") if stale.exists() else ("", "", "")
    if rest:
        stale.write_text(f"{os.getpid()}\n{rest}")
    else:
        stale.unlink(missing_ok=True)  # empty: killed while it was written


def _read(file: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(file.read_text())
    except (FileNotFoundError, json.JSONDecodeError):  # a power cut may leave it empty
        return {"run_dir": "", "children": {}}
    return record


def _write(file: Path, record: dict[str, Any]) -> None:
    fresh = file.with_suffix(".tmp")
    fresh.write_text(json.dumps(record, indent=1))
    fresh.replace(file)  # whole or not at all


def _ours(child: dict[str, Any]) -> psutil.Process | None:
    try:
        process = psutil.Process(child["pid"])
        created = process.create_time()
    except psutil.NoSuchProcess:
        return None
    same = (created, _ask(process.exe)) == (child["create_time"], child["exe"])
    return process if same else None


def _ask(question: Callable[[], str]) -> str:
    """What a process says of itself; "" if it is gone or is not ours to ask."""
    try:
        return question()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""


def _wait_or_kill(processes: Iterable[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(list(processes), timeout=_PATIENCE)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=_PATIENCE)
