"""Times as people write them: a date, a time, or how long ago."""

import re
from datetime import UTC, date, datetime, timedelta

import typer

AGO = re.compile(r"([0-9]{1,6}) *([smhdw])(?: ago)?")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
HELP = "UTC (2026-11-21, 2026-11-21T02:10) or ago (2h, 3d)"


def span(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """Both ends of a time, as `moment` reads them. Raises typer.BadParameter, also where nothing
    can be between them."""
    now = datetime.now(UTC)
    begin, end = moment(since, now), moment(until, now)
    if begin and end and begin >= end:
        raise typer.BadParameter(f"nothing is between --since {since} and --until {until}")
    return begin, end


def day(text: str) -> date:
    """A day, as finance's verbs take it. Raises typer.BadParameter, which names the option."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no day: write it as 2026-10-01") from None


def moment(text: str | None, now: datetime | None = None) -> datetime | None:
    """A time of ISO 8601, in UTC unless it says its zone, or so long before now: 90s, 15m, 2h, 3d,
    1w; None for none. Raises typer.BadParameter."""
    if text is None:
        return None
    try:
        if ago := AGO.fullmatch(text.strip()):
            length = timedelta(**{UNITS[ago[2]]: int(ago[1])})
            return (now or datetime.now(UTC)) - length
        found = datetime.fromisoformat(text.strip())
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (OverflowError, ValueError):
        words = f"{text!r} is no time: say 2h, 3d, 2026-11-21 or 2026-11-21T02:10"
        raise typer.BadParameter(words) from None
