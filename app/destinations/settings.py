"""Reading one destination's settings: all problems at once, each by its variable's name and the
form expected, never the value. The settings are the fields that the destination's page declares."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from app.destinations.addresses import is_literal, is_public
from app.destinations.base import LIST, Destination, Form, variable

PRINTABLE = re.compile(r"[!-~]+")


def _fits_key(text: str, allow_local: bool) -> bool:
    return PRINTABLE.fullmatch(text) is not None and len(text) <= 100


def _fits_url(text: str, allow_local: bool) -> bool:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    plain = PRINTABLE.fullmatch(text) and "\\" not in text and "@" not in parts.netloc
    if not host or port == 0 or not plain or parts.fragment:
        return False
    # The other well-known ports are those of other services: SSH, mail and the like.
    open_port = port is None or port == 443 or port > 1023
    if allow_local:
        return parts.scheme in {"http", "https"}
    named_local = host == "localhost" or host.endswith(".localhost")
    public = not named_local and (is_public(host) or not is_literal(host))
    return parts.scheme == "https" and open_port and public


Key = Annotated[str, Form("1 to 100 printable ASCII characters without spaces", _fits_key)]
Url = Annotated[
    str,
    Form(
        "an https URL on port 443 or above 1023, path included, without user or fragment"
        " (http and private hosts need BRIDGE_ALLOW_LOCAL_URLS)",
        _fits_url,
    ),
]
ProjectId = Annotated[
    str,
    Form(
        "a project's number, such as 2195345",
        lambda t, _: re.fullmatch("[0-9]{1,20}", t) is not None,
    ),
]
SECONDS = Form(
    "a whole number of seconds, such as 259200",
    lambda text, _: re.fullmatch(r"[1-9][0-9]{0,8}", text) is not None,
    int,
)
TEXT = Form("printable text", lambda text, _: text.isprintable())


def read(
    kind: type[Destination], name: str, options: Mapping[str, str], *, allow_local_urls: bool
) -> Destination | list[str]:
    """The destination that these options describe, or everything that is wrong with them."""
    hints = get_type_hints(kind, include_extras=True)
    declared = {each.name: each for each in fields(kind) if each.name != "name"}
    problems = _unknown(kind.KIND, name, options, declared)
    values: dict[str, Any] = {}
    for setting, declaration in declared.items():
        text, wanted = options.get(setting, "").strip(), form(hints[setting])
        if not text and declaration.default is MISSING:
            problems.append(f"{variable(name, setting)}: is missing; it must be {wanted.words}")
        elif text and not wanted.fits(text, allow_local_urls):
            problems.append(f"{variable(name, setting)}: must be {wanted.words}")
        elif text:
            values[setting] = wanted.value(text)
    return problems or kind(name=name, **values)


def form(hint: Any) -> Form:
    """What the text of a setting of this type must be."""
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        return Form(f"one of {', '.join(choices)}", lambda text, _: text in choices)
    if get_origin(hint) is tuple:
        return LIST
    if int in get_args(hint):
        return SECONDS
    return next((each for each in get_args(hint) if isinstance(each, Form)), TEXT)


def _unknown(
    kind: str, name: str, options: Mapping[str, str], declared: Iterable[str]
) -> list[str]:
    valid = {"kind", *declared}
    return [
        f"{variable(name, setting)}: {kind} has no such setting; {_nearest(name, setting, valid)}"
        for setting in options
        if setting not in valid
    ]


def _nearest(name: str, setting: str, valid: Iterable[str]) -> str:
    near = get_close_matches(setting, list(valid), n=1)
    if near:
        return f"did you mean {variable(name, near[0])}?"
    return f"it has {', '.join(sorted(each.upper() for each in valid))}"
