"""What went wrong in a month, and what must be said of it.

A finding is (subject, class, reason, currency, Stripe's minor units, the ledger's). Four kinds:
`mendable` ones are repaired by the next steps that the report itself names, and so are
`correctable` ones, whose entry is wrong; `explained` ones are no error; `lasting` ones need a
person, and what is said `once` the very run puts right that says it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pytest

from app.core.facts import Entry, Fact, Reading
from app.core.reading import readers
from app.core.reading.shapes import Missing
from app.demo.books import VERSIONS, Payment
from app.demo.life import Life
from app.demo.receiver import Misbehaviour, Post
from tests.month.bench import Bench, Finding
from tests.month.books import Books, Json

BEFORE_BASIL, NEWEST = VERSIONS[1], VERSIONS[-1]
CHARGEABLE = ("payment_intent.succeeded", "invoice_payment.paid", "checkout.session.completed")
Corrupt = Callable[[Bench], None]


@dataclass
class Planted:
    """`withheld` webhooks never come, `next_day` ones when all others are done, and `late` ones
    after the month's close. Of `broken` invoices the reader makes nothing, and of `misread`
    entries, by key, something wrong; `refused` are keys whose delivery a destination does not
    take. `corrupt` is what happens last.
    `to_a_file` is the class and reason of what looks otherwise by the month's file alone."""

    withheld: set[str] = field(default_factory=set)
    next_day: set[str] = field(default_factory=set)
    late: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    misread: dict[str, Callable[[Entry], Entry]] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    fees: dict[str, Json] = field(default_factory=dict)  # of an earlier report, by transaction
    to_a_file: dict[str, tuple[str, str]] = field(default_factory=dict)
    corrupt: list[Corrupt] = field(default_factory=list)
    mendable: list[Finding] = field(default_factory=list)
    correctable: list[Finding] = field(default_factory=list)
    explained: list[Finding] = field(default_factory=list)
    lasting: list[Finding] = field(default_factory=list)
    once: list[Finding] = field(default_factory=list)

    @property
    def everything(self) -> list[Finding]:
        """But for what only `once` is said."""
        return [*self.mendable, *self.correctable, *self.explained, *self.lasting]


def as_a_file_alone_says(planted: Planted) -> list[Finding]:
    """By the month's report alone, without an API key."""
    found: list[Finding] = []
    for subject, kind, reason, currency, theirs, ours in (*planted.everything, *planted.once):
        kind, reason = planted.to_a_file.get(subject, (kind, reason))
        if kind != "matched":
            found.append((subject, kind, reason, currency, theirs, ours))
    return found


def only_one_side_has(planted: Planted) -> dict[str, int]:
    """Minor units by currency that the ledger has for the month and Stripe has not, of what is
    explained; less what only Stripe has."""
    found: dict[str, int] = {}
    for _, kind, reason, currency, theirs, ours in planted.explained:
        if kind != "out_of_scope" and reason != "not_event_driven":
            found[currency] = found.get(currency, 0) + (ours or 0) - (theirs or 0)
    return found


def since(books: Books, act: Callable[[], Any], *kinds: str) -> set[str]:
    """The webhooks of these kinds that an act made."""
    before = len(books.emissions)
    act()
    found = {one.id for one in books.emissions[before:] if one.type in kinds}
    assert found, kinds
    return found


def paid_by(life: Life) -> Payment:
    return life.ledger.payments[-1]


def key_of(payment: Payment) -> str:
    return f"payment:{payment.invoice or payment.intent}"


def last_told(books: Books) -> set[str]:
    """The webhooks of the payment that was made last."""
    moment = books.emissions[-1].created
    kinds = (*CHARGEABLE, "invoice.paid", "invoice.payment_succeeded")
    last = books.emissions[-5:]
    found = {one.id for one in last if one.created == moment and one.type in kinds}
    assert len(found) > 1
    return found


def no_event(subject: str, currency: str, minor: int) -> Finding:
    return subject, "missing_in_ledger", "no_event", currency, minor, None


@contextmanager
def readers_that_fail(planted: Planted) -> Iterator[None]:
    """A release of the bridge that cannot read some invoices, and misreads some money."""
    with pytest.MonkeyPatch.context() as patch:
        for name, sound in list(readers.READERS.items()):
            patch.setitem(readers.READERS, name, _unsound(planted, name, sound))
        yield


def _unsound(planted: Planted, type_: str, sound: readers.Reader) -> readers.Reader:
    paid = type_ in ("invoice.paid", "invoice.payment_succeeded")

    def read(obj: Mapping[str, Any], at: datetime, previous: Mapping[str, Any] | None) -> Reading:
        if paid and obj.get("id") in planted.broken:
            raise Missing("invoice.lines: expected rows")
        reading = sound(obj, at, previous)
        return replace(reading, facts=tuple(_misread(planted, fact) for fact in reading.facts))

    return read


def _misread(planted: Planted, fact: Fact) -> Fact:
    wrong = planted.misread.get(fact.key)
    return replace(fact, money=wrong(fact.money)) if wrong and fact.money else fact


def refusing(keys: set[str]) -> Callable[[Post], Misbehaviour | None]:
    """A destination that takes no delivery of these entries."""

    def script(post: Post) -> Misbehaviour | None:
        if post.destination == "webhook" and any(f'"{key}"'.encode() in post.body for key in keys):
            return Misbehaviour(status=400, body=b"no such plan", effect=False)
        return None

    return script
