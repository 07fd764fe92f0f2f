"""Time that nobody compared: Stripe lists events of 30 days only, and what happened before that is
told by its objects, which `bridge backfill` reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from shlex import quote

# An object may be older than what happened to it: an invoice that is due in 30 days was made as
# long before it was paid.
EARLIER = timedelta(days=35)


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncovered:
    """Of one account and mode: webhook events from `compared` to `until` were never compared with
    Stripe's list. Objects made in [since, until) are still to be read for them."""

    account: str
    livemode: bool
    compared: datetime
    since: datetime
    until: datetime


def uncovered(account: str, livemode: bool, compared: datetime, listed: datetime) -> Uncovered:
    """Between the end of the last comparison and the first moment that Stripe still lists."""
    return Uncovered(
        account=account,
        livemode=livemode,
        compared=compared,
        since=compared - EARLIER,
        until=listed,
    )


def backfill_command(of: Sequence[Uncovered], zone: tzinfo) -> str:
    """The backfill that covers all of these: whole days of `zone`, the last one excluded, so it
    begins with the day of the first moment and ends with the day after that of the last."""
    first = min(one.since for one in of).astimezone(zone).date()
    end = max(one.until for one in of).astimezone(zone).date() + timedelta(days=1)
    [*accounts] = {one.account for one in of}
    whose = f" --account {quote(accounts[0])}" if len(accounts) == 1 and accounts[0] else ""
    return f"bridge backfill --from {first} --to {end}{whose}"


def in_words(of: Sequence[Uncovered], zone: tzinfo) -> list[tuple[str, str]]:
    """(what was not compared, the command that reads it), one for each mode and run of days: many
    accounts that share them are one line."""
    groups: dict[tuple[object, ...], list[Uncovered]] = {}
    for one in of:
        days = tuple(at.astimezone(zone).date() for at in (one.compared, one.since, one.until))
        groups.setdefault((one.livemode, *days), []).append(one)
    return [(_what(group), backfill_command(group, zone)) for group in groups.values()]


def _what(group: Sequence[Uncovered]) -> str:
    """Of the first, which the others differ from by less than a day."""
    first = group[0]
    whose = first.account or "the own account"
    more = f" and {len(group) - 1} more" if len(group) > 1 else ""
    mode = "live" if first.livemode else "test"
    time = f"{_utc(first.compared)} and {_utc(first.until)} UTC"
    return f"Webhook events of {whose}{more} ({mode}) between {time} were never compared"


def _utc(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"
