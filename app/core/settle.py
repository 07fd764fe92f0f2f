"""When an analytics event may leave, under which name, and whose it is."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from app.core.analytics import Identity
from app.core.facts import Fact, Link
from app.core.identity import fallback, identity_of, speaking
from app.core.joins import cycle_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The settings that decide. `fallback`: `customer` sends under Stripe's id, `none` does not."""

    session_window: timedelta
    fallback: Literal["customer", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """`withheld` is why it is told to nobody; None: it is released."""

    name: str
    identity: Identity
    campaign: Mapping[str, str] = field(default_factory=dict)
    consent: str | None = None
    withheld: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What we know around one fact: its ids from the nearest up, customers, links, trials."""

    way: Sequence[str]
    customers: Sequence[str]
    links: Callable[[str], Sequence[Link]]
    trial_ends: Collection[tuple[datetime, datetime | None]] = ()


def settle(fact: Fact, known: Known, rules: Rules, *, final: bool) -> Settled | None:
    """None while it must wait; with `final`, the hold has ended and it is told as it stands."""
    name: str | None = fact.name
    if fact.cycle_start is not None:
        name = cycle_name(fact.cycle_start, known.trial_ends, final=final)
        if name == "subscription_renewed" != fact.name:
            return Settled(name=fact.name, identity=Identity(), withheld="begins no paid period")
    link = _link(fact, known, final=final)
    if name is None or (link is None and not final):
        return None
    if link is not None:
        return Settled(
            name=name,
            identity=identity_of(link, fact.at, rules.session_window),
            campaign=link.campaign,
            consent=_consent(known, link),
        )
    if rules.fallback == "none":
        withheld = "no identity before the hold ended"
        return Settled(name=name, identity=Identity(), withheld=withheld)
    customer = next(iter(known.customers), None)
    return Settled(name=name, identity=fallback(customer, known.way), consent=_consent(known, None))


def _consent(known: Known, speaker: Link | None) -> str | None:
    """What was said nearest to the fact: a link that names nobody may still refuse."""
    if speaker is not None and speaker.consent:
        return speaker.consent
    for level in (*known.way, *known.customers):
        if said := [link for link in known.links(level) if link.consent]:
            return max(said, key=lambda link: (link.stated_at, link.consent or "")).consent
    return None


def _link(fact: Fact, known: Known, *, final: bool) -> Link | None:
    """The first level that has ids answers alone; ids are never mixed across levels."""
    levels = list(known.way)
    if final or not fact.new:
        levels += known.customers
    found = (speaking(known.links(one), fact.at) for one in levels)
    return next((link for link in found if link), None)
