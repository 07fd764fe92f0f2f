"""The texts of the settings: from the environment, or from the files it names (Docker secrets)."""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from app.settings.forms import Wrong

Origin = Literal["set", "default", "file"]

DESTINATION = re.compile(r"BRIDGE_DEST_([A-Z0-9]+)_([A-Z0-9_]+)")
DESTINATION_FORM = "BRIDGE_DEST_<NAME>_<SETTING>, in capitals, <NAME> without underscore"
INTERNAL = frozenset({"BRIDGE_NO_BOOTSTRAP", "BRIDGE_NO_DOTENV", "BRIDGE_FAILPOINTS"})


@dataclass(frozen=True, slots=True)
class Given:
    """What the environment gives. A name with an origin and no text is one of the problems."""

    texts: dict[str, str] = field(default_factory=dict, repr=False)
    origins: dict[str, Origin] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def unread(self) -> Collection[str]:
        return self.origins.keys() - self.texts.keys()

    def destinations(self) -> Mapping[str, dict[str, str]]:
        """The settings of each destination by its name, both in lower case."""
        grouped: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for name in self.origins:
            if found := DESTINATION.fullmatch(name):
                grouped[found[1].lower()][found[2].lower()] = self.texts.get(name, "")
        return grouped


def read(environ: Mapping[str, str], *, names: Collection[str], secret: Collection[str]) -> Given:
    """The texts under these names and of all destinations. Empty ones count as unset."""
    set_texts = {name: text.strip() for name, text in environ.items() if text.strip()}
    problems = [_misspelt(name, names) for name in sorted(set_texts)]
    given = Given(problems=[line for line in problems if line])
    named = {name.removesuffix("_FILE") for name in set_texts if DESTINATION.fullmatch(name)}
    for name in [*names, *sorted(filter(DESTINATION.fullmatch, named))]:
        file = set_texts.get(f"{name}_FILE") if name in secret or name in named else None
        if file is not None:
            given.origins[name] = "file"
            _take_file(given, name, file, also_set=name in set_texts)
        elif name in set_texts:
            given.origins[name], given.texts[name] = "set", set_texts[name]
    return given


def _take_file(given: Given, name: str, file: str, *, also_set: bool) -> None:
    if also_set:
        given.problems.append(f"{name}: is set twice; expected either it or {name}_FILE")
        return
    try:
        given.texts[name] = _content(file)
    except Wrong as wrong:
        given.problems.append(f"{name}_FILE: {wrong}; expected a file that holds {name}")


def _content(file: str) -> str:
    # What does not begin like a path may be the secret itself, put into the wrong variable.
    told = file if file.startswith(("/", "./", "../")) else "the file"
    try:
        text = Path(file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise Wrong(f"{told} cannot be read ({error.strerror})") from None
    except ValueError:
        raise Wrong(f"{told} holds no text") from None
    if not text:
        raise Wrong(f"{told} is empty")
    return text


def _misspelt(name: str, names: Collection[str]) -> str | None:
    """What is wrong with a name of ours; None with a known one and with those of others."""
    if not name.upper().startswith("BRIDGE_") or name in names or name in INTERNAL:
        return None
    if name.upper().startswith("BRIDGE_DEST_"):
        fits = DESTINATION.fullmatch(name.removesuffix("_FILE"))
        return None if fits else f"{name}: is no destination's setting; expected {DESTINATION_FORM}"
    # Compared without the prefix, which would make all of them look alike.
    tails = {known.removeprefix("BRIDGE_"): known for known in names}
    near = get_close_matches(name.upper().removeprefix("BRIDGE_"), tails, n=1, cutoff=0.5)
    hint = f"did you mean {tails[near[0]]}?" if near else "expected one of .env.example"
    return f"{name}: is no setting; {hint}"
