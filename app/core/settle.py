"""When an analytics event may leave, under which name, and whose it is.

It leaves at once where nothing that may still arrive could change the answer, else when its hold
ends: so every order of the same webhook events ends in the same words.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any, Literal

from app.core.analytics import Identity
from app.core.consent import Consent, last_word
from app.core.facts import Fact, Link, PlanChange
from app.core.identity import (
    CHECKOUT,
    MANUAL,
    fallback,
    identifies,
    identity_of,
    nearest,
    of_customer,
    speaking,
    with_reference,
)
from app.core.joins import cycle_name
from app.core.money import Money, share
from app.core.worth.mrr import monthly, price_ids

PAYMENTS = ("payment_intent.", "charge.")
# What the checkout itself brings about, of which a browser may tell too.
CONVERSIONS = frozenset({"payment_succeeded", "subscription_started", "trial_started"})
LATER_INVOICES = frozenset(  # why an invoice was made that is no checkout's
    {
        "subscription",
        "subscription_cycle",
        "subscription_threshold",
        "subscription_update",
    }
)
NOBODY = "no identity before the hold ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The settings that decide. `fallback`: `customer` sends under Stripe's id, `none` does not.
    `reference`: the id that a Checkout Session's client_reference_id is, if any."""

    session_window: timedelta
    fallback: Literal["customer", "none"]
    reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """`withheld` is why it is told to nobody; None: it is released. `properties` are those that
    only its surroundings know; `tax_minor` is the tax in its money, signed as that is.
    `conversion_id` is the browser's own id of this conversion, as the Checkout Session has it."""

    name: str
    identity: Identity
    campaign: Mapping[str, str] = field(default_factory=dict)
    consent: Consent = Consent()  # noqa: RUF009 - frozen
    withheld: str | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    tax_minor: int | None = None
    conversion_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Paid:
    """The payment that a refund or dispute is of."""

    money: Money
    tax_minor: int
    invoice: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What we know around one fact: its ids from the nearest up, customers, links, trials, the
    payments on its way, and prices by id as the catalogue has them."""

    way: Sequence[str]
    customers: Sequence[str]
    links: Callable[[str], Sequence[Link]]
    trial_ends: Collection[tuple[datetime, datetime | None]] = ()
    paid: Sequence[Paid] = ()
    prices: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Told:
    """A name with what belongs to it; or, withheld, why it is told to nobody."""

    name: str
    properties: Mapping[str, Any] = field(default_factory=dict)
    tax_minor: int | None = None
    withheld: str | None = None


def settle(fact: Fact, known: Known, rules: Rules, *, final: bool) -> Settled | None:
    """None while it must wait; with `final`, the hold has ended and it is told as it stands."""
    told = _told(fact, known, final=final)
    if told is None:
        return None
    if told.withheld:
        return Settled(name=told.name, identity=Identity(), withheld=told.withheld)
    link = _link(fact, known, rules, final=final)
    if not final and (link is None or _awaits_session(fact, told.name, known)):
        return None
    if link is None and rules.fallback == "none":
        return Settled(
            name=told.name,
            identity=Identity(),
            withheld=NOBODY,
            properties=told.properties,
            tax_minor=told.tax_minor,
        )
    customer = next(iter(known.customers), None)
    return Settled(
        name=told.name,
        identity=identity_of(link, fact.at, rules.session_window)
        if link
        else fallback(customer, known.way),
        campaign=link.campaign if link else {},
        consent=_consent(known, link),
        properties=told.properties,
        tax_minor=told.tax_minor,
        conversion_id=_conversion_id(fact, told.name, known, rules),
    )


# --- what it is called, and what only its surroundings know


def _told(fact: Fact, known: Known, *, final: bool) -> _Told | None:
    if fact.cycle_start is not None:
        name = cycle_name(fact.cycle_start, known.trial_ends, final=final)
        if name == "subscription_renewed" != fact.name:
            return _Told(fact.name, withheld="begins no paid period")
        return _Told(name) if name else None
    if fact.change is not None:
        return _change(fact.change, fact.name, known, final=final)
    if fact.of_payment:
        return _of_payment(fact, known, final=final)
    return _Told(fact.name, tax_minor=tax_in(fact, ()))


def _change(change: PlanChange, name: str, known: Known, *, final: bool) -> _Told | None:
    """Up or down by what both sides are worth a month, now that the catalogue may know."""
    before, after = (_worth(items, known) for items in (change.before, change.after))
    if before is None or after is None:
        return _Told(name, withheld="a price's worth is unknown") if final else None
    if before == after:
        return _Told(name, withheld="worth the same a month")
    return _Told("subscription_upgraded" if after > before else "subscription_downgraded")


def _worth(items: list[dict[str, Any]], known: Known) -> Fraction | None:
    """Unknown, too, where a price is none that could be calculated with."""
    try:
        return monthly(items, known.prices)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return None


def awaited_prices(fact: Fact) -> frozenset[str]:
    """The prices whose worth decides this fact's name."""
    return price_ids(fact.change) if fact.change else frozenset()


def tax_in(fact: Fact, paid: Sequence[Paid]) -> int | None:
    """The tax in its money, minor units with its sign; that of a refund or dispute is its share of
    what it takes back (`paid`), rounded for it alone. None: not known."""
    if fact.money is None or not fact.of_payment:
        return fact.money.tax_minor if fact.money else None
    money = fact.money.money
    if not paid or paid[0].money.currency != money.currency:  # a dispute in another currency
        return None
    return share(paid[0].tax_minor, money.minor, paid[0].money.minor)


def _of_payment(fact: Fact, known: Known, *, final: bool) -> _Told | None:
    assert fact.money is not None
    if not known.paid:
        return _Told(fact.name) if final else None
    paid, money = known.paid[0], fact.money.money
    properties = {"invoice_id": paid.invoice} if paid.invoice else {}
    tax = tax_in(fact, known.paid)
    if tax is None:
        return _Told(fact.name, properties)
    in_tax, net = Money(tax, money.currency), Money(money.minor - tax, money.currency)
    shares = {"tax": in_tax.number, "amount_net_of_tax": net.number}
    return _Told(fact.name, properties | shares, tax_minor=tax)


# --- whose it is


def _link(fact: Fact, known: Known, rules: Rules, *, final: bool) -> Link | None:
    """The first that has ids answers alone; ids are never mixed.

    The announcing object's own metadata; a person's word; what the payment or subscription of it
    said of itself (`_asked_first`); the Checkout Session of anything on the way up. Only when the
    hold has ended: whatever else was said on the way, then the customer's links.
    """
    if fact.own is not None and identifies(fact.own.ids):
        return fact.own
    by_hand = [
        link
        for one in (*known.way, *known.customers)
        for link in known.links(one)
        if link.source == MANUAL
    ]
    if by_hand:
        return max(by_hand, key=_last_said)
    asked = _asked_first(fact, known)
    if asked is None and not final:
        return None
    sessions = [
        with_reference(link, rules.reference)
        for one in known.way
        for link in known.links(one)
        if _of_checkout(link)
    ]
    found = nearest(asked or ()) or nearest(sessions)
    return _at_last(fact, known, rules) if found is None and final else found


def _asked_first(fact: Fact, known: Known) -> list[Link] | None:
    """What must be heard before a Checkout Session may answer; None: it was not heard yet.

    Subscriptions and invoices said it in the very object that announced the fact, silence too (an
    invoice has a copy of its subscription's metadata). A refund, dispute or credit note has none:
    its invoice answers, or a one-off payment. A silent session asks what it created.
    """
    own = fact.own
    if own is not None and not _of_checkout(own):
        return []
    said = [link for one in known.way for link in known.links(one) if link.anchor]
    if own is not None:
        made = [link for link in said if link.source.startswith(("subscription.", *PAYMENTS))]
        return made or (None if len(known.way) > 1 else [])
    invoices = [link for link in said if link.source.startswith("invoice.")]
    # A payment's silence is no answer as long as it may be an invoice's.
    one_off = any(paid.invoice is None for paid in known.paid)
    payments = [link for link in said if one_off and link.source.startswith(PAYMENTS)]
    return invoices or payments or None


def _at_last(fact: Fact, known: Known, rules: Rules) -> Link | None:
    """The hold has ended: what the objects on the way said of themselves at the nearest time, and
    then what the customer's checkouts did."""
    for one in known.way:
        own = [link for link in known.links(one) if not _of_checkout(link)]
        anchors = [link for link in own if link.anchor]
        if found := nearest(anchors) if anchors else speaking(own, fact.at):
            return found
    theirs = (
        of_customer([with_reference(link, rules.reference) for link in known.links(one)], fact.at)
        for one in known.customers
    )
    return next((link for link in theirs if link), None)


def _of_checkout(link: Link) -> bool:
    return link.source.startswith(CHECKOUT)


def _sessions(fact: Fact, known: Known) -> list[Link]:
    """What Checkout Sessions said that name the very object of this fact: its invoice, payment or
    subscription, and not one above it."""
    return [link for link in known.links(fact.about[0]) if _of_checkout(link)]


def _awaits_session(fact: Fact, name: str, known: Known) -> bool:
    """Whether a Checkout Session that is still to be heard has the browser's id of this conversion.
    An `event_id` elsewhere says so, and is not taken: it stays there for all renewals. A payment
    that is booked unclaimed has its own words in a link alone."""
    said = [fact.own] if fact.own else [link for link in known.links(fact.about[0]) if link.anchor]
    promised = any("event_id" in link.ids for link in said)
    return promised and _converts(fact, name) and not _sessions(fact, known)


def _converts(fact: Fact, name: str) -> bool:
    return name in CONVERSIONS and fact.properties.get("billing_reason") not in LATER_INVOICES


def _conversion_id(fact: Fact, name: str, known: Known, rules: Rules) -> str | None:
    """The browser's id, of a conversion near its checkout. Of several, the first that was said.

    Only where the Session was waited for, so that the order of arrival decides nothing.
    """
    own = fact.own.ids if fact.own else {}
    if not _converts(fact, name) or (identifies(own) and "event_id" not in own):
        return None
    said = [
        link
        for link in _sessions(fact, known)
        if link.ids.get("event_id")
        and link.completed_at is not None
        and abs(fact.at - link.completed_at) <= rules.session_window
    ]
    first = min(said, key=lambda link: (link.stated_at, link.ids["event_id"]), default=None)
    return first.ids["event_id"] if first else None


def _consent(known: Known, speaker: Link | None) -> Consent:
    """The last word of the ids that speak and of all around them, for each purpose: one that names
    nobody may still refuse."""
    around = [link for one in (*known.way, *known.customers) for link in known.links(one)]
    said = [*around, *([speaker] if speaker else [])]
    return last_word((_last_said(link), link.consent) for link in said if link.consent)


def _last_said(link: Link) -> datetime:
    return link.last_stated_at or link.stated_at
