"""Our verifier against Stripe's own, and where it is meant to differ."""

import hashlib
import hmac
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stripe import SignatureVerificationError, WebhookSignature

from app.core.signature import (
    MAX_HEADER,
    MAX_SIGNATURES,
    TOLERANCE,
    BadSignature,
    StaleSignature,
    sign,
    verify,
)

# A slow machine is no failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

SECRET = "whsec_b3VyLW93bi1zaWduaW5nLXNlY3JldA"
OTHER = "whsec_c29tZWJvZHktZWxzZXMtc2VjcmV0"
NOW = 1_790_000_000
BODY = b'{"id": "evt_1"}'


def digest(body: bytes, secret: str = SECRET, at: int = NOW) -> str:
    return hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()


def we_accept(body: bytes, header: str, now: float = NOW) -> bool:
    try:
        return verify(body, header, [("live", SECRET)], now) == "live"
    except (BadSignature, StaleSignature):
        return False


def stripe_accepts(body: bytes, header: str, now: float = NOW) -> bool:
    with patch("stripe._webhook.time", SimpleNamespace(time=lambda: now)):
        try:
            return bool(WebhookSignature.verify_header(body, header, SECRET, 300))
        except SignatureVerificationError:
            return False


@st.composite
def signed(draw: st.DrawFn) -> tuple[bytes, str]:
    """A body and a header of Stripe's form: one time not in the future, whatever signatures."""
    body = draw(st.text().map(lambda text: text.encode("utf-8", "replace")))
    at = NOW - draw(st.integers(0, 700) | st.sampled_from([299, 300, 301]))
    right, scrap = digest(body, at=at), st.text("0123456789abcdef", max_size=70)
    values = st.sampled_from(
        [right, digest(body, OTHER, at), digest(body + b" ", at=at), right[:-1], right[2:]]
    )
    parts = draw(st.lists(st.tuples(st.sampled_from(["v1", "v0", "v2"]), values | scrap)))
    return body, ",".join(f"{name}={value}" for name, value in draw(order([("t", at), *parts])))


def order(parts: list[tuple[str, object]]) -> st.SearchStrategy[list[tuple[str, object]]]:
    return st.permutations(parts)


@unhurried
@given(signed())
def test_what_stripes_verifier_accepts_we_accept_and_nothing_else(case: tuple[bytes, str]) -> None:
    body, header = case

    assert we_accept(body, header) == stripe_accepts(body, header)


@unhurried
@given(st.binary(), st.text())
def test_a_header_of_any_text_is_refused_and_raises_nothing_else(body: bytes, header: str) -> None:
    with pytest.raises(BadSignature):
        verify(body, header, [("live", SECRET)], NOW)


@unhurried
@given(st.integers(0, 80), st.characters(max_codepoint=0x2FF), st.booleans())
def test_a_header_with_one_character_changed_is_accepted_only_where_it_means_the_same(
    place: int, letter: str, replace: bool
) -> None:
    good = sign(BODY, SECRET, NOW)
    header = good[:place] + letter + good[place + replace :]
    try:
        theirs = stripe_accepts(BODY, header)
    except TypeError:
        theirs = False  # theirs, on a signature that is not ASCII
    # Whitespace, the case of hex digits and a part without a value change nothing signed.
    same = "".join(header.lower().split()) == good or letter in ",="

    assert theirs or same or not we_accept(BODY, header)


DIFFERENCES = {
    "a time in the future": (sign(BODY, SECRET, NOW + 301), False, True),
    "a space after the comma": (sign(BODY, SECRET, NOW).replace(",", ", "), True, False),
    "signatures in capitals": (f"t={NOW},v1={digest(BODY).upper()}", True, False),
    "an equals sign after the signature": (f"{sign(BODY, SECRET, NOW)}=x", False, True),
    "a sign before the time": (f"t=+{NOW},v1={digest(BODY)}", False, True),
    "a time twice, first the signed": (f"t={NOW},t=1,v1={digest(BODY)}", False, True),
    "a time twice, last the signed": (f"t=1,t={NOW},v1={digest(BODY)}", True, False),
    "a v1 without a value": (f"{sign(BODY, SECRET, NOW)},v1", True, False),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_where_we_differ_from_stripes_verifier(name: str) -> None:
    header, ours, theirs = DIFFERENCES[name]

    assert (we_accept(BODY, header), stripe_accepts(BODY, header)) == (ours, theirs)


def test_a_signature_that_is_not_ascii_is_a_bad_one_where_stripes_verifier_breaks() -> None:
    header = f"t={NOW},v1=é{digest(BODY)}"

    with pytest.raises(BadSignature):
        verify(BODY, header, [("live", SECRET)], NOW)
    with pytest.raises(TypeError):
        stripe_accepts(BODY, header)


def test_a_body_that_is_not_utf8_is_verified_as_bytes_where_stripes_verifier_breaks() -> None:
    body = b"\xff\xfe{}"

    assert we_accept(body, sign(body, SECRET, NOW))
    with pytest.raises(BadSignature):
        verify(body, sign(BODY, SECRET, NOW), [("live", SECRET)], NOW)
    with pytest.raises(UnicodeDecodeError):
        stripe_accepts(body, sign(body, SECRET, NOW))


def test_our_header_is_the_one_that_stripe_makes() -> None:
    theirs = WebhookSignature.generate_signature_header(BODY.decode(), SECRET, NOW)

    assert sign(BODY, SECRET, NOW) == theirs


@pytest.mark.parametrize(("secret", "label"), [(SECRET, "new"), (OTHER, "old")])
def test_while_secrets_rotate_either_signs_and_its_label_says_which(
    secret: str, label: str
) -> None:
    secrets = [("new", SECRET), ("old", OTHER)]

    assert verify(BODY, sign(BODY, secret, NOW), secrets, NOW) == label


def test_stripe_sends_a_signature_per_active_secret_and_any_of_them_will_do() -> None:
    header = f"t={NOW},v1={digest(BODY, OTHER)},v1={digest(BODY)},v0={digest(BODY, 'decoy')}"

    assert verify(BODY, header, [("live", SECRET)], NOW) == "live"


def test_a_v0_signature_counts_for_nothing() -> None:
    with pytest.raises(BadSignature):
        verify(BODY, f"t={NOW},v0={digest(BODY)}", [("live", SECRET)], NOW)


def test_without_secrets_nothing_is_accepted() -> None:
    with pytest.raises(BadSignature):
        verify(BODY, sign(BODY, SECRET, NOW), [], NOW)


@pytest.mark.parametrize("seconds", [-TOLERANCE, 0, TOLERANCE])
def test_up_to_300_seconds_either_way_is_fresh(seconds: int) -> None:
    assert we_accept(BODY, sign(BODY, SECRET, NOW), NOW + seconds)


@pytest.mark.parametrize("seconds", [-TOLERANCE - 0.01, TOLERANCE + 0.01, -86_400, 86_400])
def test_beyond_300_seconds_either_way_is_stale_and_not_bad(seconds: float) -> None:
    with pytest.raises(StaleSignature):
        verify(BODY, sign(BODY, SECRET, NOW), [("live", SECRET)], NOW + seconds)


def test_what_is_stale_and_badly_signed_is_bad() -> None:
    with pytest.raises(BadSignature):
        verify(BODY, sign(BODY, OTHER, NOW - 9_999), [("live", SECRET)], NOW)


def test_a_header_may_be_4096_characters_long_and_no_more() -> None:
    header = sign(BODY, SECRET, NOW)
    fill = f"{header},v0={'0' * (MAX_HEADER - len(header) - 4)}"

    assert (len(fill), we_accept(BODY, fill)) == (MAX_HEADER, True)
    assert not we_accept(BODY, fill + "0")


def test_the_sixteenth_signature_is_read_and_the_next_is_not() -> None:
    wrong = f"v1={digest(BODY, OTHER)}"
    before = ",".join([f"t={NOW}", *[wrong] * (MAX_SIGNATURES - 1)])

    assert we_accept(BODY, f"{before},v1={digest(BODY)}")
    assert not we_accept(BODY, f"{before},{wrong},v1={digest(BODY)}")


def test_a_time_too_long_to_be_one_is_refused() -> None:
    at = 10**12
    with pytest.raises(BadSignature):
        verify(BODY, sign(BODY, SECRET, at), [("live", SECRET)], at)
