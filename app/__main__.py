"""`python3 -m app ...`: makes the project's `.venv` when needed, then runs the command inside it.

Until then there is only the standard library, and perhaps an old Python: this file must parse
under Python 3.8. A second run compares one stamp and is gone, by exec, in a few milliseconds.
BRIDGE_NO_BOOTSTRAP=1 runs with the Python as it is.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Iterator, NoReturn

OLDEST = (3, 11)
USAGE, OUT_OF_REACH, INTERRUPTED = 2, 3, 130
HALF_MADE = "being made"


def main() -> None:
    """Runs the command line, in the project's `.venv` unless told or found to be elsewhere."""
    _refuse_old_python()
    root = Path(__file__).resolve().parent.parent
    extra = "test" if sys.argv[1:2] == ["test"] else "embedded"
    if _runs_here(root, extra):
        bridge()
        return
    _refuse_platform()
    try:
        if not _is_ready(root, extra):
            with _only_one(root) as lock:
                if not _is_ready(root, extra):  # the run that we waited for may have made it
                    _make(root, extra, lock)
    except KeyboardInterrupt:
        _leave(INTERRUPTED, "Interrupted.")
    python = str(_python(root))
    sys.stderr.flush()
    os.execv(python, [python, "-m", "app", *sys.argv[1:]])


def bridge() -> None:
    """The command line in the Python that we are in; an interruption while it is being imported is
    as quiet as one later."""
    try:
        from app.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _runs_here(root: Path, extra: str) -> bool:
    if os.environ.get("BRIDGE_NO_BOOTSTRAP") == "1" or not (root / "pyproject.toml").exists():
        return True
    if Path(sys.prefix).resolve() != (root / ".venv").resolve():
        return False
    return not _stamp_file(root).exists() or _is_ready(root, extra)  # made by hand: leave it be


def _refuse_old_python() -> None:
    if sys.version_info < OLDEST:
        found = "%d.%d" % sys.version_info[:2]
        _leave(USAGE, f"Python 3.11 or newer is needed; {sys.executable} is Python {found}.")


def _refuse_platform() -> None:
    if os.name == "nt":
        _leave(USAGE, "Windows itself is not supported: run this inside WSL2.")
    if sys.platform == "linux" and not _has_glibc():
        _leave(
            USAGE,
            "This Linux (musl, as in Alpine) has no packaged Postgres and Valkey: use one with"
            " glibc, such as Debian. With servers of your own, `pip install -e .` here,"
            " set DATABASE_URL and REDIS_URL, and set BRIDGE_NO_BOOTSTRAP=1.",
        )


def _has_glibc() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (OSError, ValueError):  # musl knows the name but has no answer
        return False


@contextmanager
def _only_one(root: Path) -> Iterator[int]:
    """Holds a lock against other runs; the installer inherits it, should we be killed."""
    import fcntl  # Windows has none

    lock = os.open(root / "pyproject.toml", os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("Waiting for another run that makes .venv ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)


def _is_ready(root: Path, extra: str) -> bool:
    try:
        stamp = _stamp_file(root).read_text()
    except FileNotFoundError:
        return False
    # What tests need includes all the rest.
    return _python(root).exists() and stamp in (_stamp(root, extra), _stamp(root, "test"))


def _make(root: Path, extra: str, lock: int) -> None:
    venv, stamp = root / ".venv", _stamp_file(root)
    fresh = not _can_stay(root)
    if fresh:
        _say("Making .venv (once; about a minute) ...")
        if venv.is_symlink():
            venv.unlink()
        elif venv.exists():
            shutil.rmtree(venv)
        venv.mkdir()
    else:
        _say("Bringing .venv up to date ...")
    stamp.write_text(HALF_MADE)
    if fresh:
        _make_venv(root, lock)
    command = [*_installer(root), "-e", f".[{extra}]"]
    if (root / "requirements.lock").exists():
        command += ["-c", "requirements.lock"]
    _run(command, root, lock)
    stamp.write_text(_stamp(root, extra))


def _can_stay(root: Path) -> bool:
    """Whether packages can be added to what is there: same place, same Python, not half made."""
    if not _python(root).exists():
        return False
    if _stamp_file(root).exists():
        return _stamp_file(root).read_text().splitlines()[1:] == _identity(root)
    ask = "import sys; print('%d.%d' % sys.version_info[:2], sys.prefix, sep='\\n')"
    answer = subprocess.run([str(_python(root)), "-c", ask], stdout=subprocess.PIPE, check=False)
    version, _, prefix = answer.stdout.decode().strip().partition("\n")
    return [version, str(Path(prefix).parent)] == _identity(root)


def _make_venv(root: Path, lock: int) -> None:
    command = [_outer_python(root), "-m", "venv", ".venv"]
    if find_spec("ensurepip") is not None:
        _run(command, root, lock)
        return
    if _outer_pip(root) is None and shutil.which("uv") is None:
        _leave(
            OUT_OF_REACH,
            "This Python can install nothing: it has neither ensurepip nor pip, and there is no"
            " uv. On Debian and Ubuntu: apt install python3-venv. Then run this again.",
        )
    _run([*command, "--without-pip"], root, lock)


def _installer(root: Path) -> list[str]:
    python = str(_python(root))
    has_pip = subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False)
    if has_pip.returncode == 0:
        return [python, "-m", "pip", "install", "--no-input"]
    outer = _outer_pip(root)
    if outer is not None:
        return [*outer, "--python", python, "install", "--no-input"]
    return ["uv", "pip", "install", "--python", python]


def _outer_python(root: Path) -> str:
    """The Python that we were called with, but never the one inside a .venv that may be gone."""
    if Path(sys.prefix).resolve() == (root / ".venv").resolve():
        return str(getattr(sys, "_base_executable", sys.executable))
    return sys.executable


def _outer_pip(root: Path) -> list[str] | None:
    """The pip outside .venv, if it can install into another Python (22.3 on)."""
    pip = [_outer_python(root), "-m", "pip"]
    answer = subprocess.run([*pip, "--version"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    words = answer.stdout.decode().split()
    if answer.returncode != 0 or len(words) < 2:
        return None
    version = tuple(int(part) for part in words[1].split(".")[:2] if part.isdigit())
    return pip if version >= (22, 3) else None


def _run(command: list[str], root: Path, lock: int) -> None:
    """Runs quietly; on failure shows the last lines and leaves."""
    elsewhere = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PYTHONHOME", "__PYVENV_LAUNCHER__")
    env = {name: value for name, value in os.environ.items() if name not in elsewhere}
    done = subprocess.run(
        command,
        cwd=root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
        pass_fds=[lock],
        check=False,
    )
    if done.returncode != 0:
        lines = done.stdout.decode(errors="replace").splitlines()[-20:]
        _leave(OUT_OF_REACH, "\n".join([*lines, f"This failed: {' '.join(command)}"]))


def _stamp_file(root: Path) -> Path:
    return root / ".venv" / "bridge-stamp"


def _stamp(root: Path, extra: str) -> str:
    """What .venv was made from; its first line changes with the packages wanted."""
    digest = hashlib.sha256(extra.encode())
    for name in ("pyproject.toml", "requirements.lock"):
        file = root / name
        digest.update(file.read_bytes() if file.exists() else b"")
    return "\n".join([digest.hexdigest(), *_identity(root)])


def _identity(root: Path) -> list[str]:
    """The Python and the place: with another one, .venv is made anew."""
    return ["%d.%d" % sys.version_info[:2], str(root)]


def _python(root: Path) -> Path:
    return root / ".venv" / "bin" / "python"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _leave(code: int, line: str) -> NoReturn:
    _say(line)
    sys.exit(code)


if __name__ == "__main__":
    main()
