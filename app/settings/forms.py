"""The forms a setting's text can have: in words, as a parser, and masked for the eyes of people."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit
from zoneinfo import available_timezones

PREFIX = re.compile(r"(whsec_|[sr]k_(?:test|live)_)?(.*)", re.DOTALL)
YES, NO = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


class Wrong(Exception):
    """A text is not of its form. The message says how, and never repeats the text."""


@dataclass(frozen=True, slots=True)
class Form:
    """What a text must be, in words and as a parser that raises Wrong."""

    words: str
    parse: Callable[[str], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSecret:
    """One signing secret of Stripe's; while secrets rotate there are several."""

    label: str
    value: str = field(repr=False)


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise Wrong("is no IP address") from error


def whole(low: int, high: int, of: str = "") -> Form:
    """A whole number within these two."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", text):
            raise Wrong("is not a whole number")
        if not low <= int(text) <= high:
            raise Wrong("is out of range")
        return int(text)

    return Form(f"a whole number{of and f' of {of}'} from {low} to {high}", parse)


def choice(*words: str) -> Form:
    """One of these words, in any case of letters."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise Wrong("is none of the choices")
        return text.lower()

    return Form(" or ".join(words), parse)


def _yes_or_no(text: str) -> bool:
    if text.lower() not in YES | NO:
        raise Wrong("is neither yes nor no")
    return text.lower() in YES


def _time_zone(text: str) -> str:
    if text == "localtime" or text not in available_timezones():  # localtime: each machine's own
        raise Wrong("is no time zone known here")
    return text


def _postgres(text: str) -> str:
    parts = _split(text)
    if parts.scheme not in {"postgres", "postgresql", "postgresql+psycopg"}:
        raise Wrong("does not begin with postgresql://")
    return f"postgresql+psycopg:{text.partition(':')[2]}"


def _redis(text: str) -> str:
    parts = _split(text)
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise Wrong("does not begin with redis://, rediss:// or unix://")
    if not (parts.path if parts.scheme == "unix" else parts.hostname):
        raise Wrong("names no server")
    return text


def _api_base(text: str) -> str:
    parts = _split(text)
    host = parts.hostname or ""
    if not host or parts.username is not None or parts.query:
        raise Wrong("is not a plain URL with a host")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise Wrong("is not https, and the key would travel in the clear")
    return text.rstrip("/")


def _split(text: str) -> SplitResult:
    """The parts of a URL; refuses those whose password would be taken for a path."""
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - raises if it is none
    except ValueError:
        # From None: Python's own words hold the text.
        raise Wrong("is not a readable URL (percent-encode a password's / ? # @)") from None
    if "://" not in text or not re.fullmatch(r"[!-~]+", text):
        raise Wrong("is not a URL of printable characters without spaces")
    if parts.fragment or "@" in parts.path + parts.query:
        raise Wrong("has a / ? # or @ that must be percent-encoded, as in a password")
    return parts


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _stripe_key(text: str) -> str:
    if text.startswith(("pk_", "whsec_")):
        kind = "publishable key" if text.startswith("pk_") else "webhook signing secret"
        raise Wrong(f"is a {kind}, not a secret or restricted one")
    if not re.fullmatch(r"[sr]k_(test|live)_[A-Za-z0-9_]{16,}", text):
        raise Wrong("is not a Stripe API key, or not all of it")
    return text


def _webhook_secrets(text: str) -> tuple[WebhookSecret, ...]:
    entries = [part.strip() for part in text.split(",") if part.strip()]
    secrets, wrong = [], [] if entries else ["has no entry"]
    for number, entry in enumerate(entries, start=1):
        # By number only: a label that is none may be a secret that was pasted wrongly.
        labelled = "=" in entry and not entry.startswith("whsec_")
        label, value = entry.split("=", 1) if labelled else ("", entry)
        if label and not re.fullmatch(r"[\w.-]{1,40}", label, re.ASCII):
            wrong.append(f"the label of entry {number} is not 1 to 40 letters, digits, _ . -")
        elif not value.startswith("whsec_"):
            wrong.append(f"entry {number} does not begin with whsec_")
        elif not re.fullmatch(r"whsec_[!-~]{16,}", value):
            wrong.append(f"entry {number} has spaces or is not all there")
        secrets.append(WebhookSecret(label=label or str(number), value=value))
    times = Counter(secret.label for secret in secrets)
    if any(count > 1 for count in times.values()):
        wrong.append("two entries have the same label")
    if wrong:
        raise Wrong(", ".join(wrong))
    return tuple(secrets)


YES_OR_NO = Form("true or false", _yes_or_no)
FOLDER = Form("a folder's path", Path)
ADDRESS = Form("an IP address, such as 0.0.0.0", _address)
TIME_ZONE = Form("an IANA name, such as Europe/Berlin", _time_zone)
POSTGRES = Form("postgresql://user:password@host:5432/name", _postgres)
REDIS = Form("redis://:password@host:6379/0, rediss://... or unix:///path", _redis)
API_BASE = Form("an https URL (http on this machine only)", _api_base)
STRIPE_KEY = Form("sk_live_..., rk_live_..., sk_test_... or rk_test_...", _stripe_key)
WEBHOOK_SECRETS = Form(
    "whsec_... or label=whsec_..., several separated by commas", _webhook_secrets
)


def masked(text: str) -> str:
    """A secret's kind and length, a secret URL's host. Commas separate several secrets."""
    if "://" in text:
        parts = urlsplit(text)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/…"
    return ",".join(_masked(part.strip()) for part in text.split(",")) if text else ""


def _masked(text: str) -> str:
    prefix = PREFIX.fullmatch(text)
    return f"{prefix[1] or '' if prefix else ''}…({len(text)} characters)"


def without_password(url: str) -> str:
    """A store's URL without password and options, which may hold one too."""
    scheme, _, rest = url.partition("://")
    rest, question, _ = rest.partition("?")
    login, at, place = rest.rpartition("@")
    user, colon, _ = login.partition(":")
    # A login without a colon can be a password where its colon was forgotten.
    return f"{scheme}://{f'{user}:***@' if colon else at and '***@'}{place}{question and '?…'}"
