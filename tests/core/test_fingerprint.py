"""Errors that are one but for what they quote."""

import pytest

from app.core.fingerprint import cause, fingerprint


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("row 17 of 200", "row 3 of 1,000", "row <n> of <n>"),
        ("no user ann@example.com", "no user bob+1@mail.test", "no user <email>"),
        ("unknown sub_1Nv0FGQ9RKHgCVdK", "unknown sub_A9RKHgCVdK1Nv0FG", "unknown <id>"),
        (
            "seen cfc8360f-90f7-5809-9bcb-1441bcfbd035\n",
            "seen 00000000-90F7-5809-9bcb-1441bcfbd035",
            "seen <uuid>",
        ),
        ("device 8f14e45fceea167a", "device c9f0f895fb98ab91", "device <id>"),
        ("at 2026-11-21T02:10:00.123Z", "at 2026-11-22T03:11:09.000Z", "at <time>"),
    ],
)
def test_errors_that_differ_in_what_they_quote_are_one(one: str, other: str, both: str) -> None:
    assert fingerprint(one) == fingerprint(other) == both


@pytest.mark.parametrize(
    "words",
    [
        "missing_required_field",
        "no such event: subscription_cancelled",
        "poison",
        "<h1>Bad Gateway</h1>",
    ],
)
def test_words_stay_as_they_are(words: str) -> None:
    assert fingerprint(words) == words


@pytest.mark.parametrize(
    ("reason", "plain"),
    [
        ("503 <h1>503 busy</h1>", "503 <h1><n> busy</h1>"),
        ("401", "401"),
        ("2,000 rows", "<n> rows"),
        ("ReadTimeout", "ReadTimeout"),
        ("", ""),
    ],
)
def test_a_cause_keeps_the_status(reason: str, plain: str) -> None:
    assert cause(reason) == plain
