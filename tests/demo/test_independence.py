"""The demo's sums are an oracle only as long as they share no code with what they check."""

import ast
from pathlib import Path

import pytest

import app.demo

FILES = sorted(Path(app.demo.__file__).parent.glob("*.py"))
OF_THE_STORY = (
    "balance",
    "books",
    "catalogue",
    "checkout",
    "envelopes",
    "invoices",
    "ledger",
    "life",
    "market",
    "objects",
    "payloads",
    "payments",
    "receiver",
    "saas",
    "sessions",
    "stories",
    "strict",
    "tally",
    "telling",
)


def imports(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("name", OF_THE_STORY)
def test_the_story_borrows_nothing_from_the_product(name: str) -> None:
    [file] = [each for each in FILES if each.stem == name]
    ours = {each for each in imports(file) if each.split(".")[0] in ("app", "workers")}

    assert ours <= {f"app.demo.{each}" for each in OF_THE_STORY}
