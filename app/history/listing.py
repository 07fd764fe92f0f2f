"""Stripe's lists, page by page: paced by what Stripe asks for, and never without an end."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import structlog

from app.core import retry
from app.stripe_api import StripeApi, StripeUnavailable

WAITS = 6  # in a row, for one page
LONGEST = 120.0  # seconds that one wait may last; who is asked to wait longer comes another time
FIRST = 30.0  # seconds of asking and waiting for a first page, unless Stripe says how long

log = structlog.get_logger()


class Stopped(Exception):
    """We were asked to end; what was kept until now stays."""


def to_the_log(path: str, seconds: float, error: StripeUnavailable) -> None:
    log.warning("listing.waits", path=path, seconds=round(seconds), reason=str(error))


@dataclass(slots=True)
class Pace:
    """How a run waits. `sleep` takes seconds; once `stopping`, nothing more is asked; `told` hears
    of each wait before it. `answered`: Stripe gave this run a page, so waiting is worth while."""

    sleep: Callable[[float], object] = time.sleep
    stopping: Callable[[], bool] = lambda: False
    told: Callable[[str, float, StripeUnavailable], object] = to_the_log
    answered: bool = False


def pages(
    api: StripeApi, path: str, pace: Pace, *, account: str, after: str | None = None, **params: Any
) -> Iterator[list[dict[str, Any]]]:
    """The pages of a list after the object with the id `after`, newest first.

    While Stripe is out of reach or limits us, each page is asked for again after as long as its
    Retry-After says. Raises StripeUnavailable when that was too often or too long, or half a minute
    without the run's first page; and Stopped.
    """
    more = True
    while more:
        rows, more = _page(api, path, pace, account=account, after=after, **params)
        if rows:
            after = rows[-1]["id"]
            yield rows


def _page(
    api: StripeApi, path: str, pace: Pace, **params: Any
) -> tuple[list[dict[str, Any]], bool]:
    spent = 0.0
    for wait in range(1, WAITS + 2):
        if pace.stopping():
            raise Stopped
        begun = time.monotonic()
        try:
            page = api.page(path, **params)
        except StripeUnavailable as error:
            spent += time.monotonic() - begun
            seconds = retry.delay(wait, 0.0, random.uniform, error.retry_after)
            if not pace.answered and error.retry_after is None:
                seconds = min(seconds, FIRST - spent)
            if wait > WAITS or seconds <= 0 or (error.retry_after or 0.0) > LONGEST:
                raise
            pace.told(path, seconds, error)
            pace.sleep(seconds)
            spent += seconds
        else:
            pace.answered = True
            return page
    raise AssertionError("unreachable")
