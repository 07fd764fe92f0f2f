"""Children that are kept alive, ended together, and never left behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from app.local import spawn as spawn_module
from app.local.supervise import Child, children, stop_signals

ENV = {"PATH": os.environ["PATH"]}
# A child with a child of its own, as web servers have.
FAMILY = ("/bin/sh", "-c", "sleep 60 & echo $! >> family; wait")
SUPERVISOR = """
import json, os, sys
from app.local.supervise import Child, children, stop_signals
sleep, env = ("sleep", "60"), dict(os.environ)
specs = [Child(name=name, command=sleep, env=env) for name in ("web", "worker")]
with stop_signals() as stop, children(specs, None) as running:
    print(json.dumps(list(running.pids.values())), flush=True)
    running.wait(stop)
"""


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def supervisor() -> tuple[subprocess.Popen[str], list[int]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        pids = json.loads(process.stdout.readline())
    assert until(lambda: all(psutil.Process(pid).name() == "sleep" for pid in pids))
    return process, pids


def sleeper(name: str = "web") -> Child:
    return Child(name=name, command=("sleep", "60"), env=ENV)


def test_leaving_the_block_ends_every_child() -> None:
    with children([sleeper("web"), sleeper("worker")], None) as running:
        pids = running.pids
        assert list(pids) == ["web", "worker"]
        assert until(lambda: all(psutil.Process(pid).name() == "sleep" for pid in pids.values()))
    assert [name for name, pid in pids.items() if alive(pid)] == []
    assert running.pids == {}


def test_a_dead_child_is_started_again_after_a_growing_pause(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stop = threading.Event()
    threading.Timer(1.6, stop.set).start()
    dying = Child(name="web", command=("/bin/sh", "-c", "exit 3"), env=ENV)
    with children([dying], None) as running:
        running.wait(stop)
    assert capsys.readouterr().err.splitlines() == [
        "web ended (exit code 3); starting it again in 0.5 s",
        "web ended (exit code 3); starting it again in 1 s",
    ]


def test_a_killed_child_takes_its_own_children_along_before_the_next_starts(tmp_path: Path) -> None:
    family = tmp_path / "family"
    script = f"cd '{tmp_path}'; {FAMILY[2]}"
    with children([Child(name="web", command=(*FAMILY[:2], script), env=ENV)], None) as running:
        assert until(lambda: family.exists() and family.read_text() != "")
        first, grandchild = running.pids["web"], int(family.read_text())
        os.kill(first, signal.SIGKILL)
        stop = threading.Event()
        threading.Timer(1.2, stop.set).start()
        running.wait(stop)
        assert alive(running.pids["web"])
        assert running.pids["web"] != first
        assert not alive(grandchild)


def test_output_goes_to_a_file_for_each_child(tmp_path: Path) -> None:
    talking = Child(name="web", command=("/bin/sh", "-c", "echo said >&2; sleep 60"), env=ENV)
    log = tmp_path / "logs" / "web.log"
    with children([talking], log.parent):
        assert until(lambda: log.read_text() == "said\n")


def test_a_child_gets_its_own_environment_and_nothing_of_ours(tmp_path: Path) -> None:
    # LC_CTYPE is left out: the interpreter that starts the child sets it where it is not.
    env = {"ONLY": "this", "LC_CTYPE": "C"}
    spec = Child(name="web", command=("/usr/bin/env",), env=env)
    said = tmp_path / "web.log"
    with children([spec], tmp_path):
        assert until(lambda: "ONLY" in said.read_text())
    lines = {line for line in said.read_text().splitlines() if not line.startswith("LC_CTYPE=")}
    assert lines == {"ONLY=this"}
    assert "this" not in repr(spec)


def test_a_child_deaf_to_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("app.local.supervise.GRACE", 0.3)
    deaf = ("/bin/sh", "-c", 'trap "" TERM; echo ready; while :; do sleep 60; done')
    with children([Child(name="worker", command=deaf, env=ENV)], tmp_path) as running:
        pid = running.pids["worker"]
        assert until(lambda: (tmp_path / "worker.log").read_text() == "ready\n")
    assert not alive(pid)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_a_supervisor_with_all_its_children(name: str) -> None:
    process, pids = supervisor()
    process.send_signal(signal.Signals[name])
    assert process.wait(10) == 0
    assert [pid for pid in pids if alive(pid)] == []


def test_a_killed_supervisor_leaves_no_orphan() -> None:
    process, pids = supervisor()
    process.kill()
    process.wait()
    assert until(lambda: not any(map(alive, pids)))


def test_every_stop_signal_sets_the_event_and_none_raises() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stop_signals() as stop:
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
        assert stop.wait(5)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_child_whose_parent_is_already_gone_does_not_start(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    stranger = "1" if os.getpid() != 1 else "2"
    plan = [stranger, str(int(signal.SIGTERM)), "same", "-1", "touch", str(touched)]
    done = subprocess.run(
        [sys.executable, "-I", "-S", spawn_module.__file__, *plan], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (1, "the parent process is gone\n")
    assert not touched.exists()


def test_where_the_kernel_does_not_tell_a_closing_pipe_ends_the_child() -> None:
    line, held = os.pipe()
    plan = [str(os.getpid()), str(int(signal.SIGTERM)), "same", str(line), "sleep", "60"]
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", spawn_module.__file__, *plan], pass_fds=[line]
    )
    os.close(line)
    assert until(lambda: bool(psutil.Process(child.pid).name() == "sleep"))
    os.close(held)
    assert child.wait(10) == -signal.SIGTERM
