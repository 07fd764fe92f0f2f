"""When a delivery is tried again, and when it is given up."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.retry import BASE, CAP, DAY, GIVE_UP, SLOW, delay, gives_up_at

# A slow machine is no failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

Jitter = Callable[[float, float], float]


def least(low: float, _high: float) -> float:
    return low


def most(_low: float, high: float) -> float:
    return high


@pytest.mark.parametrize(
    ("attempt", "longest"),
    [(1, 5.0), (2, 10.0), (3, 20.0), (4, 40.0), (10, 2560.0), (11, 3600.0), (10_000, 3600.0)],
)
def test_each_try_may_wait_twice_as_long_up_to_an_hour(attempt: int, longest: float) -> None:
    assert delay(attempt, 0.0, most) == longest


def test_the_wait_is_drawn_from_one_second_up_so_that_what_failed_together_parts() -> None:
    assert [delay(attempt, 0.0, least) for attempt in (1, 5, 50)] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(("age", "longest"), [(DAY - 1, CAP), (DAY, SLOW), (GIVE_UP - 1, SLOW)])
def test_hourly_for_a_day_then_six_hourly_for_two_weeks(age: float, longest: float) -> None:
    assert delay(30, age, most) == longest


def test_after_a_day_even_a_first_try_waits_long() -> None:
    assert delay(1, DAY, most) == 21_600.0


@pytest.mark.parametrize(
    ("asked", "jitter", "expected"),
    [(120.0, most, 120.0), (2.0, most, 5.0), (2.0, least, 2.0), (0.0, least, 1.0)],
)
def test_who_asks_for_more_time_gets_it(asked: float, jitter: Jitter, expected: float) -> None:
    assert delay(1, 0.0, jitter, asked) == expected


@pytest.mark.parametrize(
    ("window", "limit"), [(None, GIVE_UP), (7 * DAY, 7 * DAY), (90 * DAY, GIVE_UP)]
)
def test_nothing_is_tried_past_two_weeks_or_the_dedupe_window(
    window: float | None, limit: float
) -> None:
    assert gives_up_at(window) == limit


@unhurried
@given(st.integers(1, 10**6), st.floats(0, GIVE_UP - 1), st.floats(0, 1))
def test_every_wait_is_within_its_bounds(attempt: int, age: float, luck: float) -> None:
    seconds = delay(attempt, age, lambda low, high: low + luck * (high - low))

    assert 1.0 <= seconds <= (SLOW if age >= DAY else min(CAP, BASE * 2 ** min(attempt - 1, 20)))
