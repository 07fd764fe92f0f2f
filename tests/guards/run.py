"""A copy of the project, with one guard taken out, and what the guard's own tests say of it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = [
    *("app", "workers", "tests", "alembic", "docs"),
    *("pyproject.toml", "README.md", "CHANGELOG.md", ".env.example", "Procfile"),
]
STORELESS = ("tests/core/", "tests/destinations/", "tests/test_log.py", "tests/test_together.py")
SOME_FAILED = 1  # pytest's exit code


@dataclass(frozen=True, slots=True)
class Guard:
    """`here` stands once in the file, and `without` takes its place; `held_by` are pytest ids."""

    name: str
    file: str
    here: str
    without: str
    held_by: tuple[str, ...]

    @property
    def is_quick(self) -> bool:
        """Whether its tests need no stores, and are a few by name."""
        return all(one.startswith(STORELESS) and "::" in one for one in self.held_by)


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    output: str


@contextmanager
def copy() -> Iterator[Path]:
    """The project as it stands, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="guards-") as folder:
        for name in COPIED:
            source, target = ROOT / name, Path(folder) / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy(source, target)
        yield Path(folder)


@contextmanager
def without(guard: Guard, project: Path) -> Iterator[None]:
    """The copy with this guard taken out. Raises LookupError where its text is not found once."""
    file = project / guard.file
    text = file.read_text()
    if text.count(guard.here) != 1:
        found = text.count(guard.here)
        raise LookupError(f"{guard.name}: its text stands {found} times in {guard.file}")
    file.write_text(text.replace(guard.here, guard.without))
    try:
        yield
    finally:
        file.write_text(text)


def outcome(project: Path, held_by: Sequence[str]) -> Ran:
    """What pytest says of these tests in the copy."""
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *held_by],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project), "BRIDGE_NO_BOOTSTRAP": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return Ran(done.returncode, done.stdout + done.stderr)
