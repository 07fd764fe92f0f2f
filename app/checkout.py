"""What a shop adds to a new Checkout Session, so that its revenue is told of the right visitor.

    found = checkout_metadata(ids_of_the_browser, user_id=user.id, mode="subscription")
    stripe.checkout.Session.create(mode="subscription", line_items=[...], **found.arguments)

Standard library only, and nothing of this project: a shop may copy this file. docs/checkout.md
has the whole way.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

# https://docs.stripe.com/api/metadata and, for the reference, /api/checkout/sessions/create
MAX_KEYS = 50
MAX_VALUE = 500
REFERENCE = re.compile("[A-Za-z0-9_-]{1,200}")
PREFIX = "br_"
MAX_NUMBER = 10**20  # more is no id of anybody's
MAX_IDS = 64 << 10  # characters of the browser's JSON; all names at their longest are half of it
MAX_REPORTED = 20  # names that are none of ours

Mode = Literal["subscription", "payment", "setup"]
# What Checkout makes in each mode, and where that takes its own metadata from.
MADE = {
    "subscription": "subscription_data",
    "payment": "payment_intent_data",
    "setup": "setup_intent_data",
}
# In this order, if there is no room for all: without consent, nobody may be told the rest.
NAMES = (
    "consent",
    "user_id",
    "event_id",
    "amplitude_device_id",
    "amplitude_session_id",
    "segment_anonymous_id",
    "mixpanel_device_id",
    "posthog_distinct_id",
    "posthog_session_id",
    "ga_client_id",
    "ga_session_id",
    "device_id",
    "session_id",
    "fbp",
    "fbc",
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_term",
    "utm_content",
    "referrer",
    "landing_page",
    "email_sha256",
)
# These name a person or a device; and what programs write for somebody they do not know. As an id
# it would make one person of many.
IDENTIFYING = frozenset(
    {
        *("user_id", "device_id", "amplitude_device_id", "amplitude_user_id", "ga_client_id"),
        *("segment_anonymous_id", "mixpanel_device_id", "posthog_distinct_id"),
    }
)
PLACEHOLDERS = frozenset(
    {
        *("0", "-1", "[]", "{}", "[object object]", "00000000-0000-0000-0000-000000000000"),
        *("lmy47d", "anon", "anonymous", "guest", "n/a", "na", "nan", "nil", "none", "null"),
        *("unknown", "distinct_id", "distinctid", "email", "id", "not_authenticated"),
        *("true", "false", "undefined"),
    }
)
# Who is logged in: the server's own session says so, never the browser.
SERVER = ("user_id", "amplitude_user_id", "email_sha256")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutMetadata:
    """`arguments` are for `stripe.checkout.Session.create`; `dropped` has the reason by name."""

    arguments: dict[str, Any]
    dropped: dict[str, str]


def checkout_metadata(
    ids: Mapping[str, object] | str | None,
    *,
    user_id: str | int | None = None,
    mode: Mode,
    consent: str | None = None,
    existing: Mapping[str, Any] | None = None,
    client_reference_id: str | None = None,
    email: str | None = None,
) -> CheckoutMetadata:
    """The arguments of a Checkout Session in which these ids travel.

    `ids`: what `BridgeIds.collect` gave, as a dict or as its JSON; it comes from a browser and is
    believed nothing. `user_id`: who your own login says it is. `consent`: what your server knows
    of it, in place of the browser's. `existing`: the arguments that you pass anyway (`metadata`,
    `subscription_data`, ...), which are kept. `email` leaves as its SHA-256, trimmed and in lower
    case. Nothing is cut: what does not fit is left out. Raises ValueError for another `mode`.
    """
    if mode not in MADE:
        raise ValueError(f"mode must be one of {', '.join(MADE)}")
    dropped: dict[str, str] = {}
    said = _said_by_browser(ids, dropped)
    said["user_id"] = user_id
    if consent is not None:
        said["consent"] = consent
    if email is not None:
        said["email_sha256"] = _hashed(email, dropped)
    ours = _checked(said, dropped)
    arguments = dict(existing or {})
    made = arguments[MADE[mode]] = dict(arguments.get(MADE[mode]) or {})
    for where, block in (("metadata", arguments), (f"{MADE[mode]}.metadata", made)):
        block["metadata"] = _joined(block.get("metadata") or {}, ours, where, dropped)
    if client_reference_id is not None:
        if REFERENCE.fullmatch(str(client_reference_id)):
            arguments["client_reference_id"] = client_reference_id
        else:
            dropped["client_reference_id"] = "not 1 to 200 of A-Z a-z 0-9 _ -"
    return CheckoutMetadata(arguments=arguments, dropped=dropped)


def _said_by_browser(ids: object, dropped: dict[str, str]) -> dict[str, object]:
    """Of what came from the browser, the names that it may say."""
    found = _opened(ids)
    if found is None:
        dropped["ids"] = "not a JSON object"
        return {}
    may = set(NAMES).difference(SERVER)
    others = [name for name in found if name not in may]
    for name in others[:MAX_REPORTED]:
        reason = "only the server says who is logged in" if name in SERVER else "not a name of ours"
        dropped[_shown(name)] = reason
    if len(others) > MAX_REPORTED:
        dropped["..."] = f"{len(others) - MAX_REPORTED} more names"
    return {name: found[name] for name in found if name in may}


def _opened(ids: object) -> Mapping[Any, object] | None:
    if ids is None or ids == "":
        return {}
    if isinstance(ids, str):
        try:
            ids = json.loads(ids) if len(ids) <= MAX_IDS else None
        except (ValueError, RecursionError):
            return None
    return ids if isinstance(ids, Mapping) else None


def _shown(name: object) -> str:
    """A hostile name, fit for a log."""
    return ascii(name)[1:-1][:40] if isinstance(name, str) else f"a {type(name).__name__}"


def _hashed(email: str, dropped: dict[str, str]) -> str | None:
    """As Meta and Google take it: trimmed, lower case, SHA-256 in hex."""
    address = email.strip().lower()
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", address):
        dropped["email"] = "not an e-mail address"
        return None
    return sha256(address.encode()).hexdigest()


def _checked(said: Mapping[str, object], dropped: dict[str, str]) -> dict[str, str]:
    """What can stand in metadata, by its full name, the most needed first. What is empty was not
    said."""
    ours: dict[str, str] = {}
    for name in NAMES:
        value = said.get(name)
        if value is None or value == "":
            continue
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < MAX_NUMBER:
            value = str(value)
        if not isinstance(value, str):
            dropped[name] = "not text"
        elif len(value) > MAX_VALUE:
            dropped[name] = f"longer than {MAX_VALUE} characters"
        elif not value.isprintable():
            dropped[name] = "not printable"
        elif name in IDENTIFYING and value.strip().lower() in PLACEHOLDERS:
            dropped[name] = "stands for nobody"
        else:
            ours[PREFIX + name] = value
    return ours


def _joined(
    own: Mapping[str, str], ours: Mapping[str, str], where: str, dropped: dict[str, str]
) -> dict[str, str]:
    """The shop's own metadata with ours, as far as there is room; a name of the shop's stays."""
    block = dict(own)
    for name, value in ours.items():
        if name in block:
            dropped[name.removeprefix(PREFIX)] = f"{name} was there already"
        elif len(block) >= MAX_KEYS:
            dropped[name.removeprefix(PREFIX)] = f"{where} is full: {MAX_KEYS} keys"
        else:
            block[name] = value
    return block
