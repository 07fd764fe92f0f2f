"""Which ids are a person's, and where they stand in what Stripe sent."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.core.identity import IDENTIFYING, PREFIX, REFERENCE, read_metadata
from app.core.reading.shapes import Json, id_of, mapping

# Known of a person beyond one visit. Session ids are not: some are mere times, shared by chance.
PERSONAL = IDENTIFYING | {"fbp", "fbc", "email_sha256"}
# These name one person on whatever device; the others name a device, which several may share.
OWNERS = frozenset({"user_id", "amplitude_user_id", "email_sha256"})
ERASED = "erased"
# Where an object of Stripe's names others that may be a person's.
CUSTOMER = ("customer", "customer_account", "related_customer")
NAMED = ("id", "subscription", "invoice", "payment_intent", "charge")
# Of subscriptions, what worth is worked out from: see app/core/worth/last_stated.py.
WORTH = frozenset(
    {"status", "pause_collection", "trial_end", "items", "plan", "quantity", "discounts"}
) | {"discount"}
FREE_TEXT = frozenset({"metadata", "description"})

STRINGS = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
PAIRS = re.compile(
    rb'"(?:%b)?(%b)"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)"'
    % (
        PREFIX.encode(),
        "|".join(sorted({*PERSONAL, REFERENCE, *CUSTOMER})).encode(),
    ),
    re.DOTALL,
)
STRIPES = re.compile("[a-z]{2,}_[A-Za-z0-9_]+")  # unless the shop named its customers itself


@dataclass(frozen=True)
class Mentioned:
    """What a webhook event's object names: customers anywhere in it, other Stripe ids and ids in
    metadata at its top."""

    objects: frozenset[str] = frozenset()
    ids: Mapping[str, str] = field(default_factory=dict)


def mentioned(event: Mapping[str, Any]) -> Mentioned:
    """Whoever this webhook event may be about, whether we read its type or not."""
    data = mapping(event.get("data"))
    obj, previous = mapping(data.get("object")), mapping(data.get("previous_attributes"))
    found = [id_of(part.get(name)) for part in (obj, previous) for name in NAMED]
    found += [*_customers(obj), *_customers(previous)]
    ids, _, _ = read_metadata(mapping(obj.get("metadata")))
    reference = obj.get(REFERENCE)
    if isinstance(reference, str) and reference.isprintable():
        ids = {**ids, REFERENCE: reference}
    # What is not printable is no id of anybody, and Postgres may not be able to hold it.
    return Mentioned(frozenset(one for one in found if one and one.isprintable()), ids)


def _customers(within: Any) -> Iterator[str | None]:
    """The customers that this names, however deep: an account's holder, an owner. Not those of
    metadata: who brought somebody along is not who this is about."""
    parts = [within]
    for part in parts:  # grows while it is walked; JSON may be deeper than a recursion
        if isinstance(part, Mapping):
            yield from (id_of(part[name]) for name in CUSTOMER if name in part)
        if isinstance(part, Mapping | list):
            named = part.items() if isinstance(part, Mapping) else enumerate(part)
            parts += [
                one for name, one in named if name != "metadata" and isinstance(one, Mapping | list)
            ]


def personal(ids: Mapping[str, str], reference: str | None) -> dict[str, str]:
    """Of what a link says, the ids of a person. `reference`: what a client_reference_id is, by the
    setting; None: a number of the shop's, nobody's."""
    found = {name: value for name, value in ids.items() if name in PERSONAL and value}
    if reference and ids.get(REFERENCE):
        found.setdefault(reference, ids[REFERENCE])
    return found


def theirs(ids: Mapping[str, str], known: Collection[str], reference: str | None) -> bool:
    """Whether these ids are of the person whose ids are `known`. A device that another user was
    on is that user's, too: who is named decides."""
    own = personal(ids, reference)
    owners = [value for name, value in own.items() if name in OWNERS]
    return any(value in known for value in owners or own.values())


@dataclass(frozen=True)
class Sought:
    """A person as bytes may speak of them: their Stripe ids, and `known`, the ids of a person.

    Ids are whole texts, so that cus_1 is not found in cus_12. A connected account's id is in all
    of its webhook events, and a shop may have named its customers "42": such count only where a
    customer is named.
    """

    objects: Collection[str]
    known: Collection[str]
    reference: str | None
    _texts: frozenset[bytes] = field(init=False)

    def __post_init__(self) -> None:
        plain = {one for one in self.objects if STRIPES.fullmatch(one) and one[:5] != "acct_"}
        object.__setattr__(self, "_texts", frozenset(one.encode() for one in plain))

    def is_in(self, raw: bytes) -> bool:
        """Whether these bytes of JSON speak of them."""
        if not self._texts.isdisjoint(STRINGS.findall(raw)):
            return True
        ids: dict[str, str] = {}
        for name, value in _pairs(raw):
            if name in CUSTOMER and value in self.objects:
                return True
            if name in OWNERS and value in self.known:
                return True  # of several owners in one object, one is enough
            ids[name] = value
        return theirs(ids, self.known, self.reference)


def _pairs(raw: bytes) -> Iterator[tuple[str, str]]:
    for name, value in PAIRS.findall(raw):
        try:
            yield name.decode(), json.loads(b'"%b"' % value)
        except ValueError:  # no JSON text, so no id that we could have read
            continue


def without_words(value: Any) -> Any:
    """JSON of Stripe's without what people or the shop may have written into it."""
    if isinstance(value, Mapping):
        return {name: without_words(part) for name, part in value.items() if name not in FREE_TEXT}
    if isinstance(value, list):
        return [without_words(part) for part in value]
    return value


def only_worth(previous: Json | None) -> dict[str, Any] | None:
    """What a subscription was before, as far as its worth goes."""
    if previous is None:
        return None
    return {name: without_words(part) for name, part in previous.items() if name in WORTH}
