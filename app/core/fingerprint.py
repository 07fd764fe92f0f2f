"""Errors that differ in a number, an id or an address only: one text for all of them."""

import re

# In this order: what a later pattern would take apart comes first.
KINDS = (
    (re.compile(r"[^\s@\"'<>(){}\[\],;:=/]+@[^\s@\"'<>(){}\[\],;:=/]+"), "<email>"),
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.I), "<uuid>"),
    (
        re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?"),
        "<time>",
    ),
    # Stripe's ids, and any other word of twelve or more that has a digit in it.
    (re.compile(r"\b[a-z]{2,8}_(?:(?:test|live)_)?(?=\w*[0-9A-Z])[A-Za-z0-9]{6,}\b"), "<id>"),
    (re.compile(r"\b(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{12,}\b"), "<id>"),
    # Not the digit of an HTML heading, as <h1>: proxies answer in HTML.
    (re.compile(r"(?<!<h)(?<!</h)\d+(?:[.,:]\d+)*"), "<n>"),
)
STATUS = re.compile(r"[1-5]\d\d")


def fingerprint(error: str) -> str:
    """The text with a placeholder for each address, id and number; white space counts as one."""
    for pattern, placeholder in KINDS:
        error = pattern.sub(placeholder, error)
    return " ".join(error.split())


def cause(reason: str) -> str:
    """A destination's reason for all whom it is one: the HTTP status that it may begin with, and
    the fingerprint of its words."""
    status, _, words = reason.partition(" ")
    return (
        f"{status} {fingerprint(words)}".rstrip()
        if STATUS.fullmatch(status)
        else fingerprint(reason)
    )
