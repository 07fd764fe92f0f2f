"""The backfill that is named for what Stripe lists no more covers every instant of it."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from app.core.uncovered import EARLIER, Uncovered, backfill_command, in_words, uncovered

ZONES = [ZoneInfo(name) for name in ("Pacific/Kiritimati", "America/Los_Angeles", "Asia/Beirut")]
COMPARED = datetime(2026, 10, 12, 7, 5, tzinfo=UTC)
LISTED = datetime(2026, 10, 22, 22, 9, tzinfo=UTC)


def moments(command: str, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """From when to when a backfill of these days reads."""
    words = command.split()
    days = (date.fromisoformat(words[words.index(name) + 1]) for name in ("--from", "--to"))
    first, end = (datetime.combine(day, time(), zone) for day in days)
    return first, end


@given(
    zone=st.sampled_from(ZONES),
    compared=st.integers(1_700_000_000, 1_900_000_000).map(
        lambda second: datetime.fromtimestamp(second, UTC)
    ),
    length=st.timedeltas(timedelta(seconds=1), timedelta(days=400)),
)
def test_it_reads_from_weeks_before_until_after_the_lists_first_moment(
    zone: ZoneInfo, compared: datetime, length: timedelta
) -> None:
    one = uncovered("", False, compared, compared + length)
    first, end = moments(backfill_command([one], zone), zone)

    assert first <= compared - EARLIER
    assert end > compared + length


def test_days_are_of_the_reporting_zone() -> None:
    one = uncovered("acct_1", False, COMPARED, LISTED)
    commands = [backfill_command([one], zone) for zone in ZONES]

    assert commands == [
        "bridge backfill --from 2026-09-07 --to 2026-10-24 --account acct_1",
        "bridge backfill --from 2026-09-07 --to 2026-10-23 --account acct_1",
        "bridge backfill --from 2026-09-07 --to 2026-10-24 --account acct_1",
    ]


def test_accounts_with_the_same_days_are_one_line_and_modes_are_not() -> None:
    def one(account: str, livemode: bool, **later: float) -> Uncovered:
        return uncovered(account, livemode, COMPARED + timedelta(**later), LISTED)

    found = in_words(
        [
            one("", True),
            one("acct_1", True, minutes=3),
            one("", False),
            one("acct_2", True, days=3),
        ],
        ZoneInfo("UTC"),
    )

    until = "2026-10-22 22:09 UTC were never compared"
    assert found == [
        (
            f"Webhook events of the own account and 1 more (live) between 2026-10-12 07:05 and"
            f" {until}",
            "bridge backfill --from 2026-09-07 --to 2026-10-23",
        ),
        (
            f"Webhook events of the own account (test) between 2026-10-12 07:05 and {until}",
            "bridge backfill --from 2026-09-07 --to 2026-10-23",
        ),
        (
            f"Webhook events of acct_2 (live) between 2026-10-15 07:05 and {until}",
            "bridge backfill --from 2026-09-10 --to 2026-10-23 --account acct_2",
        ),
    ]
