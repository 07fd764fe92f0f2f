"""What a visitor agreed to, by purpose, in every form that a checkout may write."""

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from app.core.consent import Consent, last_word, read

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "analytics", "ads"),
    [
        (None, None, None),
        ("", None, None),
        ("granted", True, True),
        ("GRANTED", True, True),
        ("denied", False, False),
        ("analytics=granted,ads=denied", True, False),
        ("ads=granted, analytics=denied", False, True),
        ("analytics=granted", True, None),
        ("ads=denied", None, False),
        ("a1d0", True, False),
        ("a0d1", False, True),
        ("A1D1", True, True),
        ("a0d0", False, False),
        ("a1d2", None, None),
        ("yes", None, None),
        ("analytics=maybe", None, None),
        ("analytics", None, None),
        ("ads_storage=granted", None, None),
        ("granted,ads=denied", True, False),
        ("ads=denied,granted", True, False),
        ("analytics=granted,analytics=denied", False, None),
        ("a1d1,ads=denied", True, False),
        ("analytics_storage=granted,ad_user_data=granted,ad_personalization=denied", True, False),
        ("ad_storage=granted,ad_user_data=granted", None, True),
        ("granted=granted", None, None),
    ],
)
def test_what_the_visitor_agreed_to(said: str | None, analytics: bool, ads: bool) -> None:
    consent = read(said)

    assert consent == Consent(analytics=analytics, ads=ads)
    assert read(str(consent)) == consent


@pytest.mark.parametrize("said", [None, "denied", "a0d0", "own=denied"])
def test_our_own_data_needs_no_consent(said: str | None) -> None:
    assert read(said).to("own") is True


@pytest.mark.parametrize(
    ("said", "at", "region"),
    [
        ("granted,at=1740830400,region=de", NOON, "DE"),
        ("granted,at=2025-03-01T13:00:00+01:00,region=US-CA", NOON, "US-CA"),
        ("granted,at=2025-03-01T12:00:00Z", NOON, ""),
        ("granted,at=2025-03-01T12:00:00", NOON, ""),
        ("granted,at=soon,region=Europe", None, ""),
        ("granted,at=99999999999,region=", datetime(5138, 11, 16, 9, 46, 39, tzinfo=UTC), ""),
        ("granted,at=2025-99-01", None, ""),
        ("granted,at=0001-01-01T00:00:00+14:00", None, ""),  # in UTC before all time
        ("granted,at=9999-12-31T23:59:59-14:00", None, ""),
    ],
)
def test_when_and_where_it_was_given(said: str, at: datetime | None, region: str) -> None:
    assert read(said) == Consent(analytics=True, ads=True, at=at, region=region)


def test_for_each_purpose_the_last_that_speaks_of_it_stands_in_any_order() -> None:
    said = [
        (NOON, "granted"),
        (NOON + timedelta(hours=1), "ads=denied,region=DE"),
        (NOON + timedelta(hours=2), "region=AT"),
    ]

    for order in permutations(said):
        assert last_word(order) == Consent(analytics=True, ads=False, region="AT")


def test_at_one_moment_a_refusal_stands_and_its_own_time_goes_before_when_it_was_heard() -> None:
    again = "ads=granted,at=1740830400"
    later = NOON + timedelta(days=1)

    for order in permutations([(later, again), (NOON + timedelta(hours=1), "ads=denied")]):
        assert last_word(order).ads is False
    for order in permutations([(NOON, "ads=granted"), (NOON, "ads=denied")]):
        assert last_word(order).ads is False
    assert last_word([(NOON, "granted,at=4070908800")]).at == NOON  # not of the future
    assert last_word([]) == Consent()
