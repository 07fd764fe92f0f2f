"""Write what follows from app/core/taxonomy.py (the sections of docs/events.md between its two
marks, and docs/schemas) and from app/destinations (those of docs/destinations.md). Run it after a
change there: python3 docs/generate.py
"""

import json
import sys
import textwrap
from dataclasses import MISSING, Field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, get_type_hints

sys.path.insert(0, str(Path(__file__).parents[1]))

from app.core.analytics import SCHEMA_VERSION
from app.core.identity import CAMPAIGN, IDS
from app.core.taxonomy import (
    EVENTS,
    LINE,
    PROPERTIES,
    Definition,
    Family,
    Property,
    carried,
    example,
    example_of,
)
from app.destinations import KINDS
from app.destinations.base import Destination, variable
from app.destinations.settings import form

DOCS = Path(__file__).parent
BEGIN = "<!-- from app/core/taxonomy.py, by: python3 docs/generate.py -->\n"
BEGIN_EXAMPLE = "# from app/destinations, by: python3 docs/generate.py\n"
END_EXAMPLE = "# end\n"
AS_COMMENT: dict[str, Any] = {"initial_indent": "# ", "subsequent_indent": "# "}
BEGIN_DESTINATIONS = "<!-- from app/destinations, by: python3 docs/generate.py -->\n"
END = "<!-- end -->\n"
DECLARED = (
    *("purpose", "needs", "refunds", "dedupes by, for", "takes what happened"),
    *("a request", "deletes a person"),
)
HEADINGS: dict[Family, str] = {
    "checkout": "Checkout",
    "trial": "Trials",
    "subscription": "Subscriptions",
    "money": "Money",
    "payment": "Payments, disputes and invoices",
}
REVENUE = {
    -1: "Carries **revenue**, negative.",
    0: "",
    1: "Carries **revenue**, positive.",
    None: "Carries **revenue**, negative or positive.",
}
DRAFT = "https://json-schema.org/draft/2020-12/schema"
TIME = {"type": "string", "format": "date-time"}

Json = dict[str, Any]


# --- docs/events.md


def page(text: str) -> str:
    """The page with its sections as the taxonomy has them now; the rest stays as it is."""
    head, rest = text.split(BEGIN)
    _, foot = rest.split(END)
    sections = [_index()]
    for family, heading in HEADINGS.items():
        sections.append(f"## {heading}\n")
        sections += [_section(*one) for one in EVENTS.items() if one[1].family == family]
    return "\n".join([head + BEGIN, *sections, END + foot])


def _index() -> str:
    lines = []
    for family, heading in HEADINGS.items():
        links = (f"[{name}](#{name})" for name, one in EVENTS.items() if one.family == family)
        lines.append(f"- {heading}: {', '.join(links)}")
    return "\n".join([*lines, ""])


def _section(name: str, event: Definition) -> str:
    announced = ", ".join(f"`{one}`" for one in event.announced_by)
    keys = " or ".join(f"`{one}`" for one in event.key.split(" or "))
    rows = [
        _row(one, always, example_of(one, event))
        for one, always in carried(event.properties).items()
    ]
    return "\n".join(
        [
            f"### {name}",
            "",
            f"{event.when} {REVENUE[event.sign]}".rstrip(),
            "",
            f"- Key: {keys}",
            f"- Time: {event.time}",
            f"- Announced by: {announced}",
            f"- Schema: [{name}.json](schemas/{name}.json)",
            "",
            "| property | type | meaning | example |",
            "|---|---|---|---|",
            *rows,
            "",
            "```json",
            json.dumps(example(event), indent=2),
            "```",
            "",
        ]
    )


def _row(name: str, always: bool, value: Any) -> str:
    one = PROPERTIES[name]
    kind = "time" if one.format else one.type
    choice = ", ".join(f"`{each}`" for each in one.enum if isinstance(each, str))
    meaning = (
        f"{one.meaning} One of {choice}." if choice and "`" not in one.meaning else one.meaning
    )
    if one.items:
        parts = (f"`{name}` ({LINE[name].meaning})" for name in carried(one.items))
        meaning = f"{meaning} Each has {', '.join(parts)}."
    shown = "see below" if one.type == "array" else f"`{json.dumps(value)}`"
    return f"| `{name}`{' *' if always else ''} | {kind} | {meaning} | {shown} |"


# --- docs/schemas


def schemas() -> dict[str, str]:
    """The JSON Schemas by file name: one of the properties of each event, and that of the whole as
    the `webhook` destination sends it."""
    found = {f"{name}.json": schema(name) for name in EVENTS}
    found["analytics_event.json"] = _whole()
    return {file: json.dumps(one, indent=2) + "\n" for file, one in found.items()}


def schema(name: str) -> Json:
    """Of the properties of one analytics event."""
    event = EVENTS[name]
    properties = carried(event.properties)
    form: Json = {
        "$schema": DRAFT,
        "title": name,
        "description": f"The properties of {name}. {event.when}",
        "type": "object",
        "properties": {
            one: _form(PROPERTIES[one]) | (_sign(event.sign) if one == "amount" else {})
            for one in (*properties, *sorted(CAMPAIGN))
        },
        "required": [one for one, always in properties.items() if always],
        "additionalProperties": False,
    }
    if event.either:
        form["anyOf"] = [{"required": [one]} for one in event.either]
    return form


def _form(one: Property) -> Json:
    form: Json = {"type": one.type, "description": one.meaning}
    if one.format:
        form["format"] = one.format
    if one.pattern:
        form["pattern"] = one.pattern
    if one.enum:
        form["enum"] = list(one.enum)
    if one.minimum is not None:
        form["minimum"] = one.minimum
    if one.items:
        parts = carried(one.items)
        form["items"] = {
            "type": "object",
            "properties": {name: _form(LINE[name]) for name in parts},
            "required": [name for name, always in parts.items() if always],
            "additionalProperties": False,
        }
    return form


def _sign(sign: int | None) -> Json:
    if sign is None:
        return {}
    return {"exclusiveMinimum": 0} if sign > 0 else {"exclusiveMaximum": 0}


def _whole() -> Json:
    id_or_none = {"type": ["string", "null"]}
    data: Json = {
        "id": {"type": "string", "format": "uuid"},
        "key": {"type": "string"},
        "account": {"type": "string", "description": "Empty for your own account."},
        "livemode": {"type": "boolean"},
        "user_id": id_or_none,
        "device_id": id_or_none,
        "session_id": id_or_none,
        "ids": {
            "type": "object",
            "properties": {name: {"type": "string"} for name in sorted(IDS)},
            "additionalProperties": False,
        },
        "identity_fallback": {"type": "boolean"},
        "consent": {
            "type": ["string", "null"],
            "description": "analytics=granted,ads=denied,at=1740830400,region=DE, or parts of it.",
        },
        "conversion_id": {
            "type": ["string", "null"],
            "description": "The browser's own id of this conversion, where it tells of it too.",
        },
        "properties": {"type": "object"},
        "revenue": {"type": ["object", "null"]},
        "schema_version": {"const": SCHEMA_VERSION},
    }
    return {
        "$schema": DRAFT,
        "title": "analytics_event",
        "description": "An analytics event as the webhook destination sends it.",
        "type": "object",
        "properties": {
            "type": {"enum": list(EVENTS)},
            "timestamp": TIME,
            "data": _closed(data),
        },
        "required": ["type", "timestamp", "data"],
        "additionalProperties": False,
        "allOf": [_of_type(name, event) for name, event in EVENTS.items()],
        "$defs": {"revenue": _revenue()},
    }


def _closed(properties: Json) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _revenue() -> Json:
    return _closed(
        {
            "minor": {"type": "integer", "description": "Signed, in the currency's minor unit."},
            "currency": {"type": "string", "pattern": "^[a-z]{3}$"},
            "major": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"},
        }
    )


def _of_type(name: str, event: Definition) -> Json:
    """What is true of the events of this name alone."""
    # A payment that is all tax has no revenue net of tax, hence not exclusive.
    limit = {} if event.sign is None else {"minimum" if event.sign > 0 else "maximum": 0}
    money = {"$ref": "#/$defs/revenue", "properties": {"minor": limit}}
    heads = "|".join(dict.fromkeys(one.partition("<")[0] for one in event.key.split(" or ")))
    data = {
        "key": {"pattern": f"^({heads})"},
        "properties": {"$ref": f"{name}.json"},
        "revenue": money if event.carries_revenue else {"type": "null"},
    }
    return {
        "if": {"properties": {"type": {"const": name}}},
        "then": {"properties": {"data": {"properties": data}}},
    }


# --- docs/destinations.md


def destinations_page(text: str) -> str:
    """The page with its tables as the destinations declare themselves now."""
    head, rest = text.split(BEGIN_DESTINATIONS)
    _, foot = rest.split(END)
    kinds = sorted(KINDS.items())
    declared = ["| | " + " | ".join(DECLARED) + " |", "|---" * (len(DECLARED) + 1) + "|"]
    declared += [f"| {_link(kind, one)} | {' | '.join(_declared(one))} |" for kind, one in kinds]
    settings = ["| setting | form | without it |", "|---|---|---|"]
    settings += [row for kind, one in kinds for row in _settings(kind, one)]
    return "\n".join([head + BEGIN_DESTINATIONS, *declared, "", *settings, "", END + foot])


def _link(kind: str, one: type[Destination]) -> str:
    return f"[{one.TITLE}](destinations/{kind}.md) `{kind}`"


def _declared(one: type[Destination]) -> list[str]:
    window = _days(one.DEDUPE_WINDOW) or "as long as it remembers"
    batch = "1 event" if one.MAX_BATCH == 1 else f"up to {one.MAX_BATCH:,} events"
    return [
        f"`{one.purpose}`",
        one.NEEDS,
        one.REFUNDS,
        f"{one.DEDUPED_BY}, {window}",
        _days(one.LATENESS) or "any time ago",
        batch,
        one.ERASURE,
    ]


def _days(given: timedelta | None) -> str:
    if given is None:
        return ""
    hours = given.total_seconds() / 3600
    return f"{hours / 24:g} days" if hours >= 96 else f"{hours:g} hours"


def _settings(kind: str, one: type[Destination]) -> list[str]:
    common = {each.name for each in fields(Destination)}
    hints = get_type_hints(one, include_extras=True)
    return [
        f"| `{variable(kind, each.name)}` | {form(hints[each.name]).words} | {_otherwise(each)} |"
        for each in fields(one)
        if each.name not in common
    ]


def _otherwise(setting: Field[Any]) -> str:
    if setting.default is MISSING:
        return "**needed**"
    given = setting.default
    text = ",".join(given) if isinstance(given, tuple) else "" if given is None else str(given)
    return f"`{text}`" if text else "not used"


# --- .env.example


def environment(text: str) -> str:
    """The example with the settings that each destination has of its own."""
    head, rest = text.split(BEGIN_EXAMPLE)
    _, foot = rest.split(END_EXAMPLE)
    kinds = [_of_kind(kind, one) for kind, one in sorted(KINDS.items())]
    return head + BEGIN_EXAMPLE + "\n".join(kinds) + END_EXAMPLE + foot


def _of_kind(kind: str, one: type[Destination]) -> str:
    common = {each.name for each in fields(Destination)}
    hints = get_type_hints(one, include_extras=True)
    lines = [f"# {one.TITLE}: docs/destinations/{kind}.md"]
    for each in fields(one):
        if each.name in common:
            continue
        given = "" if each.default is MISSING or each.default is None else each.default
        text = ",".join(given) if isinstance(given, tuple) else str(given)
        need = "needed: " if each.default is MISSING else ""
        lines += textwrap.wrap(f"{need}{form(hints[each.name]).words}", 98, **AS_COMMENT)
        lines.append(f"#{variable(kind, each.name)}={text}")
    return "\n".join([*lines, ""])


def write() -> None:
    settings = DOCS.parent / ".env.example"
    settings.write_text(environment(settings.read_text()))
    events, folder = DOCS / "events.md", DOCS / "schemas"
    events.write_text(page(events.read_text()))
    destinations = DOCS / "destinations.md"
    destinations.write_text(destinations_page(destinations.read_text()))
    written = schemas()
    for old in folder.glob("*.json"):
        if old.name not in written:
            old.unlink()
    for name, text in written.items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    write()
