"""When to try again: full jitter, so that what failed together does not come back together."""

from collections.abc import Callable

BASE, CAP = 5.0, 3600.0  # seconds
DAY = 86_400.0
SLOW = 6 * 3600.0  # after the first day
GIVE_UP = 14 * DAY
REFUSED_AGAIN = 300.0  # seconds until a key may have been given the permission that it lacks


def gives_up_at(dedupe_window: float | None) -> float:
    """Seconds of age at which a delivery is given up: 14 days, or where the destination stops
    deduping, since a try that did arrive unseen would count twice after that."""
    return GIVE_UP if dedupe_window is None else min(GIVE_UP, dedupe_window)


def delay(
    attempt: int, age: float, jitter: Callable[[float, float], float], asked: float | None = None
) -> float:
    """Seconds until the next try.

    `attempt` counts from 1; `age` is seconds since the delivery was owed; `asked` is what the
    destination's Retry-After said; `jitter(low, high)` draws, `random.uniform` outside tests.
    """
    ceiling = SLOW if age >= DAY else min(CAP, BASE * 2 ** min(attempt - 1, 20))
    return max(asked or 0.0, jitter(1.0, ceiling))
