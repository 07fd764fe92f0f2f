"""The documents against the code: all that can be set, run, sent and told is in them, and they
name nothing that is not there."""

import json
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy import text as sql
from typer.main import get_command

from app.cli import cli
from app.core import consent, identity, taxonomy
from app.core.analytics import AnalyticsEvent, Identity
from app.core.money import Money
from app.core.reading.readers import READERS
from app.destinations import KINDS
from app.destinations.base import Destination
from app.destinations.webhook import translate
from app.settings import VARIABLES
from app.settings.environment import INTERNAL

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
EVENTS = (ROOT / "docs" / "events.md").read_text()
CHECKOUT = (ROOT / "docs" / "checkout.md").read_text()
DESTINATIONS = (ROOT / "docs" / "destinations.md").read_text()
PAGES = {
    str(file.relative_to(ROOT)): file.read_text()
    for file in [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
COMMON = {each.name for each in fields(Destination)} - {"name"} | {"kind"}
OF_A_KIND = {
    kind: {each.name for each in fields(page)} - COMMON - {"name"} for kind, page in KINDS.items()
}
UNFIT = re.compile(
    r"/(?:work|tmp|root)/|reference/|design\.md|index-url|TODO|FIXME|XXX|\bissue #?\d|\bAI\b", re.I
)


# --- settings


@pytest.mark.parametrize("name", [each.name for each in VARIABLES])
def test_every_setting_has_its_row(name: str) -> None:
    assert re.search(rf"^\| `{name}` \|", README, re.M), f"{name} has no row in README's settings"


def test_every_default_is_the_codes_own() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (\S+) \|", README, re.M))
    told = {each.name: rows[each.name].strip("`") for each in VARIABLES}
    ours = {each.name: each.default for each in VARIABLES}

    for name, text in told.items():
        default = ours[name]
        shown = str(default).lower() if isinstance(default, bool) else str(default)
        assert text in ("none", "embedded") if default in (None, ()) else text == shown, name


def test_every_secret_can_come_from_a_file() -> None:
    missing = [one.name for one in VARIABLES if one.secret and f"`{one.name}_FILE`" not in README]

    assert not missing


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_destination_and_its_settings_are_there(kind: str) -> None:
    [row] = re.findall(rf"^\| \[.*\]\(docs/destinations/{kind}\.md\) \|.*$", README, re.M)
    page = (ROOT / "docs" / "destinations" / f"{kind}.md").read_text()

    for setting in fields(KINDS[kind]):
        if setting.default is MISSING and setting.name != "name":
            assert f"`BRIDGE_DEST_{kind}_{setting.name}`".upper() in row.upper(), setting.name
        if setting.name in OF_A_KIND[kind]:
            assert setting.name.upper() in page, setting.name
    for common in COMMON:
        assert f"`_{common.upper()}`" in DESTINATIONS, common


@pytest.mark.parametrize("page", sorted(PAGES))
def test_no_setting_is_invented(page: str) -> None:
    secret = {f"{each.name}_FILE" for each in VARIABLES if each.secret}
    known = {each.name for each in VARIABLES} | secret | INTERNAL
    written = set(re.findall(r"\b(?:BRIDGE|STRIPE)_[A-Z0-9_]*[A-Z0-9]\b", PAGES[page]))

    assert {name for name in written - known if not _of_a_destination(name)} == {
        name
        for name in written
        if name == "BRIDGE_DEST"  # of BRIDGE_DEST_<NAME>_<SETTING>
    }


def _of_a_destination(name: str) -> bool:
    found = re.fullmatch(r"BRIDGE_DEST_([A-Z0-9]+)_([A-Z0-9_]+)", name.removesuffix("_FILE"))
    if not found:
        return False
    own = OF_A_KIND.get(found[1].lower(), set().union(*OF_A_KIND.values()))
    return found[2].lower() in COMMON | own


# --- commands


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in getattr(group, "commands", {}).items():
        yield (*path, name), command
        yield from commands(command, (*path, name))


COMMANDS = {
    path: command
    for path, command in commands(get_command(cli))
    if not getattr(command, "commands", None) or command.invoke_without_command
}


@pytest.mark.parametrize("path", sorted(COMMANDS), ids=" ".join)
def test_every_command_has_help_its_row_and_its_options(path: tuple[str, ...]) -> None:
    # Verbs of one family may share a row.
    [row] = re.findall(rf"^\| (?:`bridge [^|]*, )?`bridge {' '.join(path)}`[,| ].*$", README, re.M)
    # --json is said above the table, once for all reading verbs.
    options = _options(path) - {"--json", "--help"}

    assert COMMANDS[path].help
    assert {one for one in options if f"`{one}`" not in row} == set()


def _options(path: tuple[str, ...]) -> set[str]:
    declared = {name for each in COMMANDS[path].params for name in each.opts}
    return {name for name in declared if name.startswith("--")} | {"--help"}


@pytest.mark.parametrize("page", sorted(PAGES))
def test_no_command_and_no_option_is_invented(page: str) -> None:
    unknown = []
    for line in _code(PAGES[page]):
        for written in re.findall(r"(?:\bbridge|-m app)((?: [^\s`#|]+)*)", line):
            words = written.split()
            if words and not re.fullmatch(r"[a-z]+", words[0]):
                continue  # a sentence's end, or an option of `python -m app` itself
            path = tuple(words[:2]) if tuple(words[:2]) in COMMANDS else tuple(words[:1])
            if words and path not in COMMANDS:
                unknown.append(line)
            elif words:
                given = {word.partition("=")[0] for word in words if word.startswith("--")}
                unknown += [f"{line}: {each}" for each in given - _options(path)]

    assert not unknown


def _code(page: str) -> list[str]:
    """Code spans, and the lines of indented and fenced blocks."""
    fenced = re.findall(r"^```\w*\n(.*?)^```", page, re.M | re.S)
    blocks = [line for block in fenced for line in block.splitlines()]
    return [*re.findall(r"`([^`\n]+)`", page), *re.findall(r"^    (.*)$", page, re.M), *blocks]


# --- analytics events


def test_the_example_has_the_form_of_what_is_sent() -> None:
    example, *_ = re.findall(r"^```json\n(.*?)^```", EVENTS, re.M | re.S)
    told = json.loads(example)
    sent = translate(
        AnalyticsEvent(
            key=told["data"]["key"],
            account=told["data"]["account"],
            livemode=told["data"]["livemode"],
            name=told["type"],
            occurred_at=datetime.fromisoformat(told["timestamp"]),
            identity=Identity(ids=told["data"]["ids"], source="subscription.metadata"),
            properties=told["data"]["properties"],
            revenue=Money(told["data"]["revenue"]["minor"], told["data"]["revenue"]["currency"]),
            consent=consent.read(told["data"]["consent"]),
            conversion_id=told["data"]["conversion_id"],
        ),
        told["type"],
    )

    assert sent == told


def test_every_analytics_event_has_its_row_and_no_other() -> None:
    [table] = re.findall(r"^## Analytics events$(.*?)^## ", README, re.M | re.S)
    cells = re.findall(r"^\| (`.*?) \|", table, re.M)

    assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} == set(taxonomy.EVENTS)


def test_a_row_names_properties_of_its_events() -> None:
    """As far as words with an underscore go: the others are plain English as well."""
    [table] = re.findall(r"^## Analytics events$(.*?)^## ", README, re.M | re.S)
    for cell, told in re.findall(r"^\| (`.*?) \|.*\| (.*?) \|$", table, re.M):
        names = re.findall(r"`(\w+)`", cell)
        known = frozenset[str]().union(*map(taxonomy.allowed, names))
        assert set(re.findall(r"\b[a-z]+_\w+", told)) - known == set(), cell


def test_every_webhook_event_that_is_read_is_to_be_enabled_and_no_other() -> None:
    block = README.partition("**Events to enable**")[2].partition("## ")[0]
    listed = {word for line in re.findall(r"^    (.*)$", block, re.M) for word in line.split()}

    assert listed == set(READERS)


def test_the_names_of_the_checkouts_metadata_are_all_and_no_other() -> None:
    known = identity.IDS | identity.CAMPAIGN | {"consent"}

    assert set(re.findall(r"\bbr_(\w+)", CHECKOUT)) == known


# --- and the pages themselves


@pytest.mark.parametrize("page", sorted(PAGES))
def test_a_page_speaks_of_this_project_alone(page: str) -> None:
    assert UNFIT.findall(PAGES[page]) == []


def test_links_and_paths_lead_somewhere() -> None:
    for page, text in PAGES.items():
        here = (ROOT / page).parent
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert (here / link).exists(), f"{page}: {link}"
        for path in re.findall(r"`((?:app|workers|tests|docs|alembic)/[\w./]*)`", text):
            assert (ROOT / path).exists(), f"{page}: {path}"


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 250


def test_every_log_line_is_in_the_runbook() -> None:
    table = PAGES["docs/operations.md"].partition("## Log lines")[2]
    files = [*(ROOT / "app").rglob("*.py"), *(ROOT / "workers").rglob("*.py")]
    logged = {
        name
        for file in files
        for name in re.findall(r'\b(?:log\.\w+|say)\(\s*"(\w+\.\w+)"', file.read_text())
    }

    assert set(re.findall(r"`([a-z]+\.[a-z_]+)`", table)) == logged


def test_the_runbooks_queries_run(engine: Engine) -> None:
    blocks = re.findall(r"(?:^    .*\n)+", PAGES["docs/operations.md"], re.M)
    queries = [block for block in blocks if block.lstrip().startswith("SELECT")]

    assert queries
    with engine.connect() as connection:
        for query in queries:
            connection.execute(sql(query.replace(":", r"\:")))
