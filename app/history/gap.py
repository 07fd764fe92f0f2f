"""Stripe's event list against what is kept: what never arrived is kept through the same door.

https://docs.stripe.com/webhooks/process-undelivered-events
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Engine

from app.core.envelope import NotAnEvent, open_envelope
from app.core.reading.readers import READERS
from app.core.uncovered import Uncovered, uncovered
from app.history.listing import Pace, pages
from app.store import gaps, identities, webhook_events
from app.store.webhook_events import Arrived
from app.stripe_api import (
    StripeApi,
    StripeMissing,
    StripeRefused,
    StripeUnavailable,
)

RETENTION = timedelta(days=30)  # of Stripe's list
OVERLAP = timedelta(hours=1)  # events become listable late
UNDER_WAY = timedelta(minutes=5)  # what is younger may still be on its way to us
STEP = timedelta(days=1)  # after which the cursor moves on
TYPES = 20  # that one request may name
LOOK = 30.0  # seconds between two looks at whether a run is due
NO_ANSWER = (StripeMissing, StripeRefused, StripeUnavailable)

log = structlog.get_logger()
Key = tuple[str, bool, str]


@dataclass
class Absent:
    """How many webhook events of a type were missing, and when the oldest was created."""

    count: int
    oldest: datetime


@dataclass
class Mended:
    """What a run found. `known` were kept already; `compared` are the accounts that were compared
    to the end, `failures` says of the others why not. `uncovered` is what Stripe's list had no
    more, now or in an earlier run, and no backfill has read yet. `found` are the missing ones."""

    since: datetime
    until: datetime
    missing: dict[str, Absent] = field(default_factory=dict)
    known: int = 0
    unreadable: int = 0
    uncovered: list[Uncovered] = field(default_factory=list)
    compared: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    out_of_reach: bool = False
    found: set[Key] = field(default_factory=set)

    @property
    def absent(self) -> int:
        return sum(one.count for one in self.missing.values())

    def count(self, arrived: Sequence[Arrived], new: Sequence[bool]) -> None:
        """Each missing one once, though it may be listed twice."""
        for one, is_new in zip(arrived, new, strict=True):
            if one.key in self.found or not is_new:
                continue
            self.found.add(one.key)
            created, name = one.envelope.created, one.envelope.type
            absent = self.missing.setdefault(name, Absent(0, created))
            absent.count, absent.oldest = absent.count + 1, min(absent.oldest, created)


@dataclass(frozen=True)
class Run:
    """One comparison of one mode. `told` hears the number of events after each page."""

    engine: Engine
    api: StripeApi
    livemode: bool
    pace: Pace = field(default_factory=Pace)
    dry_run: bool = False
    told: Callable[[int], object] = lambda _: None


def mend(run: Run, since: datetime | None = None) -> Mended:
    """Compare every account, from its cursor or from `since`, and keep what is missing.

    Each page is kept as it comes, and the cursor moves day by day: an interrupted run goes on
    where it was. Raises Stopped. An account that Stripe does not answer for is left for later.
    """
    with run.engine.connect() as connection:
        now = identities.now(connection).replace(microsecond=0)
        accounts = gaps.accounts(connection, run.livemode)
        covered = gaps.covered_until(connection, run.livemode)
    earliest = now - RETENTION
    mended = Mended(since=max(since or earliest, earliest), until=now - UNDER_WAY)
    late = [
        uncovered(one, run.livemode, cursor, earliest + OVERLAP)  # a long run loses some of it
        for one in accounts
        if since is None and (cursor := covered.get(one)) and cursor < earliest
    ]
    mended.uncovered = _uncovered(run, late)
    starts = [_start(mended, covered.get(one), since) for one in accounts]
    mended.since = min(starts)
    for account, start in zip(accounts, starts, strict=True):
        # A later `since` looks at a part, and says nothing of what lies before it.
        reaches = since is None or start <= covered.get(account, earliest)
        try:
            _compare(run, mended, account, start, moves=reaches and not run.dry_run)
            mended.compared.append(account)
        except NO_ANSWER as error:
            mended.failures[account] = str(error)
            log.warning("gap.not_compared", account=account, reason=str(error))
            if isinstance(error, StripeUnavailable):
                mended.out_of_reach = True
                break  # so are the others
    tried = {*mended.compared, *mended.failures}
    mended.failures |= {one: "not asked any more." for one in accounts if one not in tried}
    return mended


def _uncovered(run: Run, late: Sequence[Uncovered]) -> list[Uncovered]:
    """All that is uncovered in this mode. What is so from now on is written down before any cursor
    moves: only the run that finds it can know."""
    with run.engine.begin() as connection:
        if not run.dry_run:
            for one in late:
                gaps.miss(connection, one)
        kept = gaps.uncovered(connection)
    found = {(one.account, one.since): one for one in kept if one.livemode == run.livemode}
    return list(({(one.account, one.since): one for one in late} | found).values())


def _start(mended: Mended, cursor: datetime | None, since: datetime | None) -> datetime:
    """Stripe lists 30 days: what was missed before has to come from its objects."""
    earliest = mended.until + UNDER_WAY - RETENTION
    wanted = since or (cursor - OVERLAP if cursor else earliest)
    return min(max(wanted, earliest), mended.until)


def _compare(run: Run, mended: Mended, account: str, start: datetime, *, moves: bool) -> None:
    """What Stripe could not deliver first: that is most likely missing. Then everything, and each
    day that is done `moves` the cursor."""
    for types in _types():
        for page in _listed(run, account, start, mended.until, types, delivery_success="false"):
            _look_at(run, mended, account, page)
    for begin, end in _steps(start, mended.until):
        for types in _types():
            for page in _listed(run, account, begin, end, types):
                arrived = _look_at(run, mended, account, page)
                mended.known += sum(one.key not in mended.found for one in arrived)
                mended.unreadable += len(page) - len(arrived)
                run.told(len(page))
        if moves:
            with run.engine.begin() as connection:
                gaps.cover(connection, (account, run.livemode), end)


def _types() -> Iterator[list[str]]:
    names = sorted(READERS)
    for at in range(0, len(names), TYPES):
        yield names[at : at + TYPES]


def _steps(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    while start < end:
        yield start, min(start + STEP, end)
        start += STEP


def _listed(
    run: Run, account: str, begin: datetime, end: datetime, types: list[str], **more: Any
) -> Iterator[list[dict[str, Any]]]:
    created = {"gte": int(begin.timestamp()), "lt": int(end.timestamp())}
    asked = {"account": account, "created": created, "types": types, **more}
    return pages(run.api, "/v1/events", run.pace, **asked)


def _look_at(
    run: Run, mended: Mended, account: str, page: Sequence[Mapping[str, Any]]
) -> list[Arrived]:
    """Keep what is missing of a page; its webhook events, without what is none."""
    arrived = [one for event in page if (one := _arrived(event, account))]
    mended.count(arrived, _keep(run, arrived))
    return arrived


def _arrived(event: Mapping[str, Any], account: str) -> Arrived | None:
    """As the webhook would have brought it: a connected account's says whose it is."""
    raw = json.dumps({**event, "account": account} if account else event).encode()
    try:
        return Arrived(open_envelope(raw), raw, "gap")
    except NotAnEvent as error:
        log.warning("gap.not_an_event", reason=str(error))
        return None


def _keep(run: Run, arrived: Sequence[Arrived]) -> list[bool]:
    """Whether each was missing; it is kept now, unless that is only to be said."""
    if run.dry_run:
        with run.engine.connect() as connection:
            kept = webhook_events.kept_of(connection, {one.key for one in arrived})
        return [one.key not in kept for one in arrived]
    with run.engine.begin() as connection:
        return webhook_events.keep_all(connection, arrived)


def recorded(run: Run, since: datetime | None = None) -> Mended:
    """`mend`, written down with its outcome; also that it failed."""
    with run.engine.begin() as connection:
        number = gaps.begin_run(connection)
    mended: Mended | None = None
    try:
        mended = mend(run, since)
        return mended
    finally:
        failure = "; ".join(mended.failures.values()) if mended else "did not end"
        with run.engine.begin() as connection:
            found = (mended.absent, mended.known) if mended else (0, 0)
            gaps.end_run(connection, number, *found, failure[:500] or None)
