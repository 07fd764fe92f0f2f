"""Stripe's webhook signature, over the raw bytes: https://docs.stripe.com/webhooks#verify-manually

Our own and not `stripe.Webhook.construct_event`: that one builds objects (1 ms a body), accepts
any future timestamp, and raises TypeError or UnicodeDecodeError on hostile input.
"""

import hashlib
import hmac
from collections.abc import Iterable

TOLERANCE = 300  # seconds, both ways; Stripe signs anew on each retry
MAX_HEADER = 4096
MAX_SIGNATURES = 16


class BadSignature(Exception):
    """No configured secret signed these bytes, or the header is not Stripe's form."""


class StaleSignature(Exception):
    """Well signed, but outside the tolerance: a replayed request, or our clock drifts."""


def verify(body: bytes, header: str, secrets: Iterable[tuple[str, str]], now: float) -> str:
    """The label of the secret that signed `body`.

    `secrets` are (label, secret) pairs, all of which are tried; `now` is unix seconds.
    Raises BadSignature or StaleSignature, and nothing else whatever the header holds.
    """
    timestamp, signatures = _parse(header)
    signed = f"{timestamp}.".encode() + body
    matched = None
    for label, secret in secrets:
        expected = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
        if any(hmac.compare_digest(expected, given) for given in signatures):
            matched = label
    if matched is None:
        raise BadSignature("no configured secret matches")
    if abs(now - timestamp) > TOLERANCE:
        raise StaleSignature(f"signed {now - timestamp:.0f} s ago")
    return matched


def sign(body: bytes, secret: str, timestamp: int) -> str:
    """The `Stripe-Signature` header that Stripe would send for these bytes."""
    signed = f"{timestamp}.".encode() + body
    return f"t={timestamp},v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def _parse(header: str) -> tuple[int, list[bytes]]:
    if not header or len(header) > MAX_HEADER or not header.isascii():
        raise BadSignature("the Stripe-Signature header is missing or malformed")
    timestamp = None
    signatures: list[bytes] = []
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name == "t" and value.isdigit() and len(value) <= 12:
            timestamp = int(value)
        elif name == "v1" and len(signatures) < MAX_SIGNATURES:
            signatures.append(_unhex(value))
    if timestamp is None or not signatures:
        raise BadSignature("the Stripe-Signature header has no timestamp or no v1 signature")
    return timestamp, signatures


def _unhex(value: str) -> bytes:
    try:
        return bytes.fromhex(value)
    except ValueError:
        return b""  # equal to no digest
