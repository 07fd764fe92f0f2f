"""Webhook events on demand, for `bridge trigger`: each with the events that lead up to it."""

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from app.demo.books import BASIL, VERSIONS, Json, add_months, since
from app.demo.checkout import buy_once, sign_up
from app.demo.envelopes import sign
from app.demo.life import DAY, HOUR, Life
from app.demo.market import catalogue, customer
from app.demo.stories import ONE_OFF, Story
from app.demo.telling import Moment

__all__ = ["SAMPLES", "VERSIONS", "sample", "sign"]

NEWEST = VERSIONS[-1]


def _subscribes(life: Life) -> Iterator[Moment]:
    yield sign_up(life, life.plans["Pro"])


def _upgrades(life: Life) -> Iterator[Moment]:
    yield sign_up(life, life.plans["Starter"])
    yield life.change(life.plans["Pro"], at=life.customer.created + 10 * DAY)


def _leaves(life: Life) -> Iterator[Moment]:
    yield sign_up(life, life.plans["Pro"])
    yield life.cancel_now(at=life.customer.created + 10 * DAY)


def _fails(life: Life) -> Iterator[Moment]:
    yield sign_up(life, life.plans["Pro"])
    renewal = life.failing_renewal(1, recovers=True)
    yield next(renewal)
    yield next(renewal)


def _buys_once(life: Life) -> Iterator[Moment]:
    yield buy_once(life, ONE_OFF[life.customer.currency])


def _is_refunded(life: Life) -> Iterator[Moment]:
    yield sign_up(life, life.plans["Pro"])
    yield life.give_back(at=life.customer.created + 10 * DAY)


SAMPLES: Mapping[str, Story] = {
    "checkout.session.completed": _subscribes,
    "customer.subscription.created": _subscribes,
    "customer.subscription.updated": _upgrades,
    "customer.subscription.deleted": _leaves,
    "invoice.paid": _subscribes,
    "invoice.payment_succeeded": _subscribes,
    "invoice.payment_failed": _fails,
    "invoice_payment.paid": _subscribes,
    "payment_intent.succeeded": _buys_once,
    "refund.created": _is_refunded,
}


def sample(
    event_type: str,
    *,
    now: int,
    rng: Random,
    api_version: str = NEWEST,
    overrides: Mapping[str, Any] | None = None,
    livemode: bool = False,
) -> list[Json]:
    """The asked event, last, and before it what Stripe would have sent on the way there.

    `overrides` are laid over the asked event's object, hash by hash. Nothing lies after `now`.
    """
    story = SAMPLES.get(event_type)
    if story is None:
        raise ValueError(f"no sample of {event_type}; there is {', '.join(SAMPLES)}")
    if event_type == "invoice_payment.paid" and not since(api_version, BASIL):
        raise ValueError(f"invoice_payment.paid came with {BASIL}; asked for {api_version}")
    who = customer(
        rng, rng.randrange(1, 1_000_000), _start(story, now), livemode=livemode, version=api_version
    )
    life = Life(who, catalogue(rng, who.created)[who.currency], rng)
    emissions = [emission for moment in story(life) for emission in moment.emissions]
    emissions.sort(key=lambda emission: emission.type == event_type)
    events = [emission.envelope() for emission in emissions]
    asked = events[-1]["data"]
    asked["object"] = _laid_over(asked["object"], overrides or {})
    return events


def _start(story: Story, now: int) -> int:
    """When this customer must have come, for the asked event to happen about now."""
    if story is _fails:
        return add_months(now - 2 * HOUR, -1)
    if story in (_subscribes, _buys_once):
        return now - 65
    return now - 10 * DAY


def _laid_over(below: Json, above: Mapping[str, Any]) -> Json:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, Mapping):
            merged[key] = _laid_over(old, value)
        else:
            merged[key] = value
    return merged
