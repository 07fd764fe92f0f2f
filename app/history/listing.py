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

log = structlog.get_logger()


class Stopped(Exception):
    """We were asked to end; what was kept until now stays."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a run waits. `sleep` takes seconds; once `stopping`, nothing more is asked."""

    sleep: Callable[[float], object] = time.sleep
    stopping: Callable[[], bool] = lambda: False


def pages(
    api: StripeApi, path: str, pace: Pace, *, account: str, after: str | None = None, **params: Any
) -> Iterator[list[dict[str, Any]]]:
    """The pages of a list after the object with the id `after`, newest first.

    While Stripe is out of reach or limits us, each page is asked for again after as long as its
    Retry-After says. Raises StripeUnavailable when that was too often or too long, and Stopped.
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
    for wait in range(1, WAITS + 2):
        if pace.stopping():
            raise Stopped
        try:
            return api.page(path, **params)
        except StripeUnavailable as error:
            if wait > WAITS or (error.retry_after or 0.0) > LONGEST:
                raise
            seconds = retry.delay(wait, 0.0, random.uniform, error.retry_after)
            log.warning("listing.waits", path=path, seconds=round(seconds), reason=str(error))
            pace.sleep(seconds)
    raise AssertionError("unreachable")
