"""Keeps the web and worker processes of `bridge dev` and `bridge demo` alive until told to stop.

A child that dies is started again, ever more slowly while it keeps dying. Nothing stays behind:
not after Ctrl-C, not after SIGTERM, and not when this process is killed (see `app.local.spawn`).
"""

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.local.spawn import finish, kill, spawn

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # seconds before a dead child is started again
STEADY = 30.0  # seconds of life after which an end counts as the first one again
GRACE = 25.0  # seconds that all children together have after SIGTERM
_CHECK_EVERY = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A program to keep running: `env` is its whole environment, `name` what people see."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)  # it holds secrets


class Running:
    """The started children of `children()`."""

    def __init__(self, specs: Sequence[Child], log_dir: Path | None) -> None:
        self._kept = [_Kept(spec, log_dir) for spec in specs]

    @property
    def pids(self) -> dict[str, int]:
        """The pid of each child that is alive, by name."""
        return {kept.spec.name: kept.process.pid for kept in self._kept if kept.process is not None}

    def poll(self) -> None:
        """Notices dead children, says so on stderr, starts those again whose pause is over."""
        now = time.monotonic()
        for kept in self._kept:
            kept.poll(now)

    def wait(self, stop: threading.Event) -> None:
        """Keeps the children alive until `stop` is set. Call it from the main thread."""
        while not stop.wait(_CHECK_EVERY):
            self.poll()

    def end(self) -> None:
        """SIGTERM to all, then up to 25 s for all together, then SIGKILL to their groups."""
        deadline = time.monotonic() + GRACE
        alive = [kept.process for kept in self._kept if kept.process is not None]
        for process in alive:
            process.terminate()
        for process in alive:
            finish(process, max(0.0, deadline - time.monotonic()))
        for kept in self._kept:
            kept.process = None


class _Kept:
    def __init__(self, spec: Child, log_dir: Path | None) -> None:
        self.spec = spec
        self._log = log_dir / f"{spec.name}.log" if log_dir is not None else None
        self._pause, self._due, self._started = FIRST_PAUSE, 0.0, 0.0
        self.process: subprocess.Popen[bytes] | None = None

    def poll(self, now: float) -> None:
        if self.process is not None and self.process.poll() is not None:
            self._bury(self.process, now)
        elif self.process is None and now >= self._due:
            self.start(now)

    def start(self, now: float) -> None:
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(self._log.open("ab")) if self._log is not None else None
            self.process = spawn(self.spec.command, env=self.spec.env, output=log)
        self._started = now

    def _bury(self, process: subprocess.Popen[bytes], now: float) -> None:
        kill(process)  # what it had started may hold its port
        if now - self._started >= STEADY:
            self._pause = FIRST_PAUSE
        where = f", see {self._log}" if self._log is not None else ""
        sys.stderr.write(
            f"{self.spec.name} ended ({_how(process.returncode)}{where});"
            f" starting it again in {self._pause:g} s\n"
        )
        self.process, self._due = None, now + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)


@contextlib.contextmanager
def children(specs: Sequence[Child], log_dir: Path | None) -> Iterator[Running]:
    """Starts `specs` from the main thread; ends them all when the block is left.

    Their output goes to `<log_dir>/<name>.log`, or to ours when `log_dir` is None.
    """
    if log_dir is not None:
        log_dir.mkdir(parents=True, exist_ok=True)
    running = Running(specs, log_dir)
    try:
        running.poll()
        yield running
    finally:
        running.end()


@contextlib.contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGINT, SIGTERM and a closed terminal set; further ones change nothing.

    Main thread only. Wrap everything that must be undone in it: inside there is no
    KeyboardInterrupt, so a second Ctrl-C cannot tear an orderly stop. The handlers are installed
    even where a shell's `&` left SIGINT ignored; SIGHUP stays ignored under nohup.
    """
    stop = threading.Event()
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    # Event.set() inside a handler can deadlock with a wait() in the same thread: another one sets.
    listener = threading.Thread(target=_listen, args=(ours, set(signals), stop), daemon=True)
    listener.start()
    wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    before = {name: signal.signal(name, _heard) for name in signals}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
        signal.set_wakeup_fd(wakeup)
        theirs.close()
        listener.join()
        ours.close()


def _listen(ours: socket.socket, signals: set[signal.Signals], stop: threading.Event) -> None:
    while received := ours.recv(64):
        if signals.intersection(received):
            stop.set()


def _heard(signum: int, frame: object) -> None:
    """Takes the place of the default action; the listener is told by the interpreter itself."""


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
