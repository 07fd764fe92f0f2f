"""Facts that need two webhook events: made when the second part is known, from the parts'
own fields, so that whichever came first the same fact comes out."""

from collections.abc import Collection, Iterable
from datetime import datetime

from app.core.facts import Fact


def joined(facts: Iterable[Fact]) -> list[Fact]:
    """All that follows from these facts of one account and mode being true together."""
    known = list(facts)
    failed = _earliest((f.invoice, f) for f in known if f.name == "payment_failed")
    ended = _earliest((f.customer, f) for f in known if f.name == "subscription_cancelled")
    return [
        *(
            _recovered(paid)
            for paid in known
            if paid.name == "payment_succeeded"
            and any(failure.at <= paid.at for failure in failed.get(paid.invoice, ()))
        ),
        *(
            _reactivated(start)
            for start in known
            if start.name == "subscription_started"
            and any(_ended_before(end, start) for end in ended.get(start.customer, ()))
        ),
    ]


def _earliest(facts: Iterable[tuple[str | None, Fact]]) -> dict[str | None, list[Fact]]:
    """The first two of each: of two ends, one is of another subscription. Nobody is no one."""
    found: dict[str | None, list[Fact]] = {}
    for whose, fact in sorted(facts, key=lambda pair: (pair[1].at, pair[1].key)):
        if whose is not None and len(found.setdefault(whose, [])) < 2:
            found[whose].append(fact)
    return found


def _ended_before(end: Fact, start: Fact) -> bool:
    return end.subscription != start.subscription and end.at <= start.at


def _recovered(paid: Fact) -> Fact:
    return _follows(paid, "payment_recovered", f"recovered:{paid.invoice}")


def _reactivated(start: Fact) -> Fact:
    return _follows(start, "subscription_reactivated", f"reactivated:{start.subscription}")


def _follows(fact: Fact, name: str, key: str) -> Fact:
    properties = {
        "customer_id": fact.customer,
        "subscription_id": fact.subscription,
        "invoice_id": fact.invoice,
    }
    return Fact(
        key=key,
        name=name,
        at=fact.at,
        about=fact.about,
        customer=fact.customer,
        own=fact.own,
        invoice=fact.invoice,
        subscription=fact.subscription,
        properties={name: value for name, value in properties.items() if value},
    )


def cycle_name(
    cycle_start: datetime,
    trial_ends: Collection[tuple[datetime, datetime | None]],
    *,
    final: bool,
) -> str | None:
    """What a paid period is: converted if it starts at the subscription's trial end, else renewed.

    `trial_ends` are (when the subscription's webhook event was created, the trial's end it names).
    None: not known yet. What was said before the period began is not the last word, since a trial
    may be extended or cut short; an end after the period's start is of another, later trial.
    `final`: told as far as it is known.
    """
    if final and any(end == cycle_start for _, end in trial_ends):
        return "trial_converted"
    begun = [end for stated, end in trial_ends if stated >= cycle_start]
    said = {end for end in begun if end is None or end <= cycle_start}
    if not said and not final:
        return None
    return "trial_converted" if cycle_start in said else "subscription_renewed"
