"""Facts that need two webhook events: made when the second part is known, from the parts'
own fields, so that whichever came first the same fact comes out."""

from collections.abc import Collection, Iterable
from datetime import datetime

from app.core.facts import Fact


def joined(facts: Iterable[Fact]) -> list[Fact]:
    """All that follows from these facts of one account and mode being true together."""
    known = list(facts)
    payments = [fact for fact in known if fact.name == "payment_succeeded" and fact.invoice]
    failures = [fact for fact in known if fact.name == "payment_failed"]
    starts = [fact for fact in known if fact.name == "subscription_started"]
    ends = [fact for fact in known if fact.name == "subscription_cancelled"]
    return [
        *(_recovered(paid) for paid in payments if any(_failed_before(f, paid) for f in failures)),
        *(_reactivated(start) for start in starts if any(_ended_before(e, start) for e in ends)),
    ]


def _failed_before(failure: Fact, paid: Fact) -> bool:
    return failure.invoice == paid.invoice and failure.at <= paid.at


def _ended_before(end: Fact, start: Fact) -> bool:
    return (
        end.customer is not None
        and end.customer == start.customer
        and end.subscription != start.subscription
        and end.at <= start.at
    )


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
