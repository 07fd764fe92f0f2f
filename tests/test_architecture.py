"""The floors: an import only goes down, and every library has its rooms.

doors      webhook, web, cli, doctor
actions    process, release, deliver, measure, hydrate, ...    workers/ (rung by name)
places     store, destinations, stripe_api, queue, settings
values     core
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted([*(ROOT / "app").rglob("*.py"), *(ROOT / "workers").rglob("*.py")])

SETTINGS = {"app.settings", "app.settings.environment", "app.settings.forms"}
ACTIONS = {"app.process", "app.consequences", "app.release", "app.owe"}
ACTIONS |= {"app.deliver", "app.lane", "app.finish", "app.drain", "app.link", "app.slots"}
ACTIONS |= {"app.measure", "app.hydrate", "app.ask"}
ACTIONS |= {"app.finance", "app.history", "app.privacy"}  # families of them
PLACES = {"app.core", "app.store", "app.destinations", *SETTINGS}
# The embedded stores and the processes beside us: a ground floor of their own.
MACHINE = {"app.local"}
LOW = {*PLACES, "app.queue", "app.stripe_api", "app.log", "app.finance.sheets"}
# What each place may import of ours. Places are the longest of these that begin a module's name.
MAY_IMPORT: dict[str, set[str]] = {
    "app": {"app.web"},  # inside create_app, so that app.core stays light
    "app.__main__": {"app.cli"},
    "app.core": {"app.core"},
    "app.store": {"app.core", "app.store"},
    "app.destinations": {"app.core", "app.destinations"},
    "app.stripe_api": set(),
    "app.queue": set(),
    "app.log": set(),
    "app.failpoint": set(),
    "app.checkout": set(),  # a shop may copy that file
    **{name: {"app.destinations", *SETTINGS} for name in SETTINGS},
    **dict.fromkeys(MACHINE, MACHINE),
    **{
        name: {*PLACES, *ACTIONS, "app.stripe_api", "app.failpoint", "app.finance.sheets"}
        for name in ACTIONS
    },
    "app.finance.sheets": set(),
    "app.demo": {"app.demo"},  # sums that share no code with what they check
    "app.doctor": {*LOW, "app.doctor"},
    "app.together": set(),
    "app.strangers": set(),
    "app.last_use": {"app.store"},
    "app.webhook": {
        "app.core",
        "app.store",
        "app.last_use",
        "app.strangers",
        "app.together",
        *SETTINGS,
    },
    "app.web": {*LOW, "app.together", "app.webhook"},
    "app.cli": {*LOW, *ACTIONS, *MACHINE, "app.cli", "app.demo", "app.doctor"},
    "workers": {*PLACES, *ACTIONS, "app.doctor", "app.queue", "workers"},
}
# Where each library may be imported: modules, or places with all that is in them.
ROOMS: dict[str, set[str]] = {
    "orjson": {
        "app.core.envelope",
        "app.store.bulk",
        "app.store.db",
        "app.destinations",
        "app.demo.envelopes",
        "app.cli.room",
    },
    "sqlalchemy": {
        "app.store",
        *ACTIONS,
        "app.last_use",
        "app.webhook",
        "app.web",
        "app.doctor",
        "app.cli",
    }
    | {"workers.serve"},
    "alembic": {"app.store.migrate"},
    "psycopg": {"app.local.servers", "app.store.db", "app.destinations.tables"},
    "requests": {"app.destinations.http", "app.destinations.sockets", "app.cli"},
    "urllib3": {"app.destinations.http", "app.destinations.sockets"},
    "standardwebhooks": {"app.destinations.webhook", "app.demo.strict"},
    "stripe": {"app.stripe_api"},
    "rq": {"app.queue", "workers"},
    "redis": {"app.queue", "app.local.servers", "workers"},
    "structlog": {
        "app.log",
        "app.queue",
        *ACTIONS,
        "app.doctor",
        "app.last_use",
        "app.webhook",
        "workers",
    },
    "flask": {"app.web", "app.webhook"},
    "werkzeug": {"app.web"},
    "granian": {"app.cli.run"},
    "xlsxwriter": {"app.finance.sheets"},
    "typer": {"app.cli"},
    "rich": {"app.cli"},
    "dotenv": {"app.cli"},
    "psutil": {"app.local.leftovers", "app.local.servers"},
}


def module(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(file) for file in FILES}


def imports(file: Path) -> Iterator[str]:
    """The modules that a file imports, at the top, in functions and by name."""
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(level=level, module=str(name), names=names) if level == 0:
                found = [f"{name}.{alias.name}" for alias in names]
                inside = [one for one in found if one in MODULES]
                yield from inside if len(inside) == len(found) else [name, *inside]
            case ast.ImportFrom():
                raise AssertionError(f"{module(file)}: a relative import")
            case _:
                pass


def place(name: str) -> str:
    """The longest place that this module is in."""
    while name not in MAY_IMPORT:
        name, dot, _ = name.rpartition(".")
        assert dot, "a new module: say on which floor it is, in MAY_IMPORT"
    return name


def is_in(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


@pytest.mark.parametrize("file", FILES, ids=module)
def test_imports_go_down_and_libraries_stay_in_their_rooms(file: Path) -> None:
    here = module(file)
    for name in imports(file):
        library = name.partition(".")[0]
        if library in ("app", "workers"):
            assert place(name) in MAY_IMPORT[place(here)], f"{here} may not import {name}"
        elif library not in sys.stdlib_module_names:
            rooms = ROOMS.get(library, set())
            assert any(is_in(here, room) for room in rooms), f"{here} may not import {library}"


@pytest.mark.parametrize("file", FILES, ids=module)
def test_every_module_has_a_floor_of_its_own(file: Path) -> None:
    """A new module in app/ itself says where it stands, and is not taken for app/__init__.py."""
    here = module(file)

    assert here == "app" or place(here) != "app", f"{here} is on no floor"


def test_destinations_do_not_know_each_other() -> None:
    from app.destinations import KINDS

    pages = {f"app.destinations.{kind}" for kind in KINDS}
    for page in pages:
        file = ROOT / f"{page.replace('.', '/')}.py"
        assert not pages & set(imports(file)), page


def test_the_places_are_all_there() -> None:
    """A floor that was renamed away would let everything through."""
    assert {name for name in MAY_IMPORT if name not in MODULES} == set()
    rooms = set().union(*ROOMS.values())
    assert {name for name in rooms if name not in MODULES} == set()


def test_core_brings_nothing_along() -> None:
    """Importing the readers runs app/__init__.py as well, so that file must stay light."""
    code = "import sys, app.core.reading.readers, app.core.settle; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = {name for name in ROOMS if name in done.stdout.split()}

    assert loaded <= {"orjson"}


def test_no_two_advisory_locks_have_one_number() -> None:
    """A backfill once held, for hours, the lock that all processing shares."""
    found = [
        number for file in FILES for number in re.findall(r"\b7_203_514_\d{3}\b", file.read_text())
    ]

    assert len(found) > 7
    assert sorted(found) == sorted(set(found))
