"""Starts a child process that cannot outlive us: own session, and a signal when we die.

Run as a script, this file is what the child executes first: it arranges its own end, may give up
root, and then becomes the wanted program, under the same pid. That keeps Python code out of the
moment between fork and exec. Standard library only: the script runs without site-packages.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Literal

User = Literal["same", "namespace", "nobody"]
NOBODY = 65534
_ORDINARY = 1000  # any uid but 0 does: it is only what the program believes itself to be
_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1


def spawn(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    output: IO[bytes] | int | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
    user: User = "same",
) -> subprocess.Popen[bytes]:
    """Starts `command` in a session of its own; its pid is the pid of the returned process.

    `output` receives stdout and stderr (None: ours). When this process dies, however it dies, the
    child gets `death_signal`. On Linux that is tied to the thread that calls: spawn from the main
    thread, or from one that lives as long as the child should. `user`, for root alone: "namespace"
    runs the child unprivileged in a user namespace, its files stay ours outside; "nobody" drops
    to uid 65534. A child that could not do so, or not find its program, ends with a non-zero code.
    """
    with _life_line() as line:
        plan = [str(os.getpid()), str(int(death_signal)), user, str(line)]
        return subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, *plan, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output is not None else None,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
            pass_fds=[line] if line >= 0 else [],
        )


def end(process: subprocess.Popen[bytes], how: signal.Signals, seconds: float) -> None:
    """Signals a child and waits for its end as `finish` does."""
    process.send_signal(how)
    finish(process, seconds)


def finish(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Waits up to `seconds` for a child's end, kills what is left of its group, and reaps it."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kills a child and whoever is left in its process group, at once, and reaps it.

    Call it soon after the child ended or not at all: its pid is free for others then.
    """
    # macOS answers PermissionError for a group of which only a zombie is left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def _life_line() -> Iterator[int]:
    """The read end of a pipe that closes when we die; -1 on Linux, where the kernel signals."""
    if sys.platform == "linux":
        yield -1
        return
    # The write end is never closed, nor inherited: the kernel closes it when this process ends.
    read_end, _ = os.pipe()
    try:
        yield read_end
    finally:
        os.close(read_end)


def _become(user: str) -> None:
    if user == "nobody":
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    elif user == "namespace":
        uid, gid = os.geteuid(), os.getegid()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWUSER) != 0:
            raise OSError(ctypes.get_errno(), "no user namespace for us")
        Path("/proc/self/uid_map").write_text(f"{_ORDINARY} {uid} 1")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/gid_map").write_text(f"{_ORDINARY} {gid} 1")


def _die_with(parent: int, death_signal: int, line: int) -> None:
    if line >= 0:
        _watch(line, death_signal)
    elif ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, death_signal) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:  # it died before we asked to be told
        raise SystemExit("the parent process is gone")


def _watch(line: int, death_signal: int) -> None:
    """Leaves a process behind that signals us when the other end of `line` closes."""
    watched = os.getpid()
    if os.fork() != 0:
        os.close(line)
        return
    os.setsid()
    ours = False
    while os.getppid() == watched and not ours:
        ours = bool(select.select([line], [], [], 0.5)[0])
    if os.getppid() == watched:
        os.kill(watched, death_signal)
    os._exit(0)


def _launch(parent: int, death_signal: int, user: str, line: int, command: list[str]) -> None:
    # A shell's `&` leaves SIGINT ignored and Python ignores SIGPIPE; neither is for the program.
    for name in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(name, signal.SIG_DFL)
    _become(user)
    _die_with(parent, death_signal, line)  # last: the kernel forgets it when the user changes
    os.execvp(command[0], command)


if __name__ == "__main__":
    _launch(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5:])
