"""What destinations share in reading an answer: the rule by status, `Retry-After`, safe words.

A page overrides the rules where its vendor's answers mean something else.
"""

import math
import re
import time
from collections.abc import Collection, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import orjson

from app.core.outcome import Delivered, Outcome, Retry, Split, Suspended
from app.destinations.base import Response

DAY = 86_400.0
REASON_LENGTH = 200
THROTTLE_WAIT = 30.0  # seconds to wait where a destination throttles without saying how long
PROBE_AFTER = 3_600.0  # refused credentials may be mended at the vendor's side: ask hourly


def by_status(
    response: Response,
    *,
    hide: Collection[str] = (),
    throttles: Collection[int] = (429,),
) -> Outcome:
    """The general rule. `throttles`: codes that ask the whole lane to wait, as `Retry-After` does.

    Split is right for a refusal of unknown cause: a batch is halved, a single row is dead.
    """
    said = reason(response, hide)
    match response.status:
        case int(status) if 200 <= status < 300:
            return Delivered()
        case int(status) if 300 <= status < 400:
            return Retry(cut(f"redirect not followed: {said}"))
        case 400 | 413 | 422:
            return Split(said)
        case 401 | 403:
            return Suspended(said, after=PROBE_AFTER)
        case 410:
            return Suspended(said)
        case status if status in throttles or "retry-after" in response.headers:
            return Retry(said, after=throttle_wait(response), lane=True)
        case _:
            return Retry(said)


def throttle_wait(response: Response) -> float:
    """How long a destination that throttles asks us to wait, or what we wait unasked."""
    asked = retry_after(response.headers, time.time())
    return THROTTLE_WAIT if asked is None else asked


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that `Retry-After` asks for, at most a day. None: it is absent, past or garbage.

    https://www.rfc-editor.org/rfc/rfc9110#field.retry-after: seconds, or an HTTP date, which is
    one of the destination's own clock, as its `Date` is. `now`: our clock's, where it says none.
    """
    asked = headers.get("retry-after", "").strip()
    if re.match(r"[\d.+-]", asked):
        seconds = _seconds(asked)
    else:
        theirs = _until(headers.get("date", ""), 0.0)
        seconds = _until(asked, now if theirs is None else theirs)
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return None
    return min(seconds, DAY)


def _seconds(asked: str) -> float | None:
    try:
        return float(asked)
    except ValueError:
        return None


def _until(asked: str, now: float) -> float | None:
    try:
        date = parsedate_to_datetime(asked)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _forms(secret: str) -> set[str]:
    """The ways in which an answer may repeat a secret: as it is, inside JSON, inside a URL."""
    return {secret, orjson.dumps(secret).decode()[1:-1], quote(secret), quote(secret, safe="")}


def is_page(text: str) -> bool:
    """Whether an answer is a web page: a 200 of whatever else is at that address, as many a site
    answers for a path that it does not know."""
    return text.lstrip().startswith("<")


def reason(response: Response, hide: Collection[str] = ()) -> str:
    """What a person reads beside the row: the status and the beginning of the answer."""
    text = excerpt(response.text, hide)
    return text if response.status is None else cut(f"{response.status} {text}".rstrip())


def excerpt(text: str, hide: Collection[str] = (), length: int = REASON_LENGTH) -> str:
    """The beginning of an answer, on one line, printable, and without the secrets it may echo.

    Secrets go before the cut, which could leave half of one.
    """
    forms = {form for secret in filter(None, hide) for form in _forms(secret)}
    for secret in sorted(forms, key=len, reverse=True):
        text = text.replace(secret, "***")
    words = text[: 20 * length].split()
    return cut("".join(c if c.isprintable() else "\ufffd" for c in " ".join(words)), length)


def cut(text: str, length: int = REASON_LENGTH) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def json_object(text: str) -> Mapping[str, Any]:
    """The answer's JSON object, or an empty one if it is anything else."""
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
