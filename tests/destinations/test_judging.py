"""`Retry-After`, and words that are safe to store and show."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.destinations.judging import DAY, excerpt, json_object, retry_after

NOON = 1740830400.0  # Sat, 01 Mar 2025 12:00:00 GMT


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 1.5 ", 1.5),
        ("9" * 300, DAY),
        ("Sat, 01 Mar 2025 12:01:00 GMT", 60.0),
        ("Sat, 01 Mar 2025 12:01:00 -0000", 60.0),
        ("Mon, 01 Mar 2027 12:00:00 GMT", DAY),
        ("Sat, 01 Mar 2025 11:59:00 GMT", None),
        ("-5", None),
        ("inf", None),
        ("1e999", None),
        ("nan", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_or_nothing(header: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": header}, NOON) == seconds


def test_a_date_is_read_on_the_destinations_own_clock() -> None:
    """Theirs may be ten minutes ahead of ours, or behind."""
    until = "Sat, 01 Mar 2025 12:11:00 GMT"

    assert retry_after({"retry-after": until}, NOON) == 660.0
    for date in ("Sat, 01 Mar 2025 12:10:00 GMT", "garbage"):
        wait = retry_after({"retry-after": until, "date": date}, NOON)
        assert wait == (60.0 if date != "garbage" else 660.0)


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ [\d:]* [-+\w]*"))
def test_no_retry_after_breaks_us(header: str) -> None:
    wait = retry_after({"retry-after": header}, NOON)

    assert wait is None or 0 <= wait <= DAY


def test_a_secret_is_masked_as_it_is_and_as_json_and_urls_have_it() -> None:
    secret = 'a"b\\c/d%e'
    in_json, in_urls = 'a\\"b\\\\c/d%e', "a%22b%5Cc%2Fd%25e a%22b%5Cc/d%25e"
    said = f'raw {secret} json {{"key":"{in_json}"}} url ?key={in_urls}'

    assert excerpt(said, [secret], 500) == 'raw *** json {"key":"***"} url ?key=*** ***'


def test_an_excerpt_is_one_printable_line_of_bounded_length() -> None:
    assert excerpt("a\n\t b\x1b[31m\ud800") == "a b\ufffd[31m\ufffd"
    assert excerpt("é" * 300) == "é" * 199 + "…"
    assert excerpt("key=longer, long", hide=("long", "longer", "")) == "key=***, ***"


@pytest.mark.parametrize("text", ["", "[1]", "null", "{", '{"a":NaN}', "{" * 9999, "\ud800"])
def test_what_is_no_json_object_is_an_empty_one(text: str) -> None:
    assert json_object(text) == {}
