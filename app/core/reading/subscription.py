"""customer.subscription.*: the lifecycle, from the event's own object and what it was before."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from app.core.facts import Fact, Link, PlanChange, Reading, Ref, Snapshot
from app.core.identity import link_in
from app.core.reading import shapes
from app.core.reading.plan_changed import plan_changed
from app.core.reading.shapes import Json, mapping

LIVE = ("active", "trialing")
UNPAID = ("past_due", "unpaid")
# After a trial's end Stripe finalises the first invoice about an hour later, so what ends within
# that hour was never paid.
TRIAL_GRACE = timedelta(hours=1)
# https://docs.stripe.com/api/subscriptions/object#subscription_object-cancellation_details
CHURN = {
    "cancellation_requested": "voluntary",
    "payment_failed": "involuntary",
    "payment_disputed": "involuntary",
    "canceled_by_retention_policy": "involuntary",
}


def created(subscription: Json, announced: datetime, previous: Json | None) -> Reading:
    """customer.subscription.created: `incomplete` is no start, it waits for its first payment."""
    facts = list(_starts(subscription)) if subscription.get("status") in LIVE else []
    return _reading(subscription, facts, announced, previous, anchor=True)


def updated(subscription: Json, announced: datetime, previous: Json | None) -> Reading:
    """customer.subscription.updated: fires several times a renewal; what changed tells."""
    before = {**subscription, **(previous or {})}
    facts = [
        *_status_changes(subscription, before, announced),
        *_plan_changes(subscription, previous or {}, announced),
        *_cancel_changes(subscription, before, announced),
        *_collection_changes(subscription, before, announced),
    ]
    return _reading(subscription, facts, announced, previous)


def deleted(subscription: Json, announced: datetime, previous: Json | None) -> Reading:
    """customer.subscription.deleted: it ended now; the request to cancel was earlier."""
    ended = shapes.time_or_none(subscription, "ended_at") or announced
    _, trial_end = shapes.subscription_trial(subscription)
    details = mapping(subscription.get("cancellation_details"))
    name = "subscription_cancelled"
    if trial_end and ended <= trial_end + TRIAL_GRACE:
        asked = details.get("reason") == "cancellation_requested" or ended < trial_end
        name = "trial_cancelled" if asked else "trial_expired"
    fact = _fact(
        subscription,
        name,
        key=f"ended:{shapes.text(subscription, 'id')}",
        at=ended,
        churn=_churn(subscription, previous),
        reason=details.get("reason"),
        feedback=details.get("feedback"),
    )
    return _reading(subscription, [fact], announced, previous)


def trial_will_end(subscription: Json, announced: datetime, previous: Json | None) -> Reading:
    """customer.subscription.trial_will_end: three days before, or at once for a shorter trial."""
    _, end = shapes.subscription_trial(subscription)
    if end is None:
        raise shapes.Missing("subscription.trial_end: expected unix seconds")
    fact = _fact(
        subscription,
        "trial_will_end",
        key=f"trial_will_end:{shapes.text(subscription, 'id')}:{int(end.timestamp())}",
        at=announced,
        trial_end=end.isoformat(),
    )
    return _reading(subscription, [fact], announced, previous)


def paused(subscription: Json, announced: datetime, previous: Json | None) -> Reading:
    """customer.subscription.paused: the service stops (`status=paused`), not only its invoices."""
    fact = _paused(subscription, "subscription_paused", announced, "status")
    return _reading(subscription, [fact], announced, previous)


def resumed(subscription: Json, announced: datetime, previous: Json | None) -> Reading:
    """customer.subscription.resumed: the end of a pause of status."""
    fact = _paused(subscription, "subscription_resumed", announced, "status")
    return _reading(subscription, [fact], announced, previous)


def stated(subscription: Json, announced: datetime, previous: Json | None) -> Reading:
    """customer.subscription.pending_update_applied, .pending_update_expired: how it stands now;
    what an applied update changed, .updated tells."""
    return _reading(subscription, [], announced, previous)


def _churn(subscription: Json, previous: Json | None) -> str | None:
    """Whose wish the end was. Without a reason, one that ends unpaid ends for that; else unknown:
    its last status before the end is not in .deleted."""
    reason = mapping(subscription.get("cancellation_details")).get("reason")
    if isinstance(reason, str):
        return CHURN.get(reason)
    last = (subscription.get("status"), (previous or {}).get("status"))
    return "involuntary" if any(status in UNPAID for status in last) else None


def _starts(subscription: Json) -> Iterator[Fact]:
    subscription_id = shapes.text(subscription, "id")
    yield _fact(
        subscription,
        "subscription_started",
        key=f"started:{subscription_id}",
        at=shapes.subscription_start(subscription),
    )
    if subscription.get("status") == "trialing":
        yield _trial_started(subscription)


def _trial_started(subscription: Json) -> Fact:
    start, end = shapes.subscription_trial(subscription)
    if start is None:
        raise shapes.Missing("subscription.trial_start: expected unix seconds")
    return _fact(
        subscription,
        "trial_started",
        key=f"trial_started:{shapes.text(subscription, 'id')}:{int(start.timestamp())}",
        at=start,
        trial_end=shapes.iso(end),
    )


def _status_changes(subscription: Json, before: Json, announced: datetime) -> Iterator[Fact]:
    old, new = before.get("status"), subscription.get("status")
    if old == new:
        return
    if old == "incomplete" and new in LIVE:
        yield from _starts(subscription)
    elif new == "trialing":
        yield _trial_started(subscription)
    elif new in UNPAID:
        yield _repeatable(subscription, f"subscription_{new}", announced)


def _plan_changes(subscription: Json, previous: Json, announced: datetime) -> Iterator[Fact]:
    found = plan_changed(subscription, previous)
    if found is None or subscription.get("status") not in (*LIVE, "past_due"):
        return
    second = int(announced.timestamp())
    yield _fact(
        subscription,
        found.name,
        key=f"{found.kind}:{shapes.text(subscription, 'id')}:{second}:{found.told_apart}",
        at=announced,
        change=found.change,
        **found.properties,
    )


def _cancel_changes(subscription: Json, before: Json, announced: datetime) -> Iterator[Fact]:
    was, is_now = shapes.cancel_is_scheduled(before), shapes.cancel_is_scheduled(subscription)
    if was == is_now or subscription.get("status") == "canceled":
        return
    if not is_now:
        yield _repeatable(subscription, "subscription_uncancelled", announced)
        return
    details = mapping(subscription.get("cancellation_details"))
    cancel_at = shapes.time_or_none(subscription, "cancel_at")
    yield _repeatable(
        subscription,
        "subscription_cancel_scheduled",
        announced,
        cancel_at=cancel_at.isoformat() if cancel_at else None,
        reason=details.get("reason"),
        feedback=details.get("feedback"),
    )


def _collection_changes(subscription: Json, before: Json, announced: datetime) -> Iterator[Fact]:
    """`pause_collection` (invoices stop) is another fact than `status=paused` (service stops)."""
    was, is_now = bool(before.get("pause_collection")), bool(subscription.get("pause_collection"))
    if was != is_now:
        name = "subscription_paused" if is_now else "subscription_resumed"
        yield _paused(subscription, name, announced, "collection")


def _paused(subscription: Json, name: str, announced: datetime, pause: str) -> Fact:
    """The two pauses may fall into one second, so the key tells them apart."""
    return _repeatable(subscription, name, announced, pause, pause=pause)


def _repeatable(
    subscription: Json, name: str, announced: datetime, told_apart: str = "", **properties: Any
) -> Fact:
    """A change that can happen again: the webhook event's second is part of its key, and
    `told_apart` where two of one name can fall into it."""
    key = f"{name}:{shapes.text(subscription, 'id')}:{int(announced.timestamp())}"
    key += f":{told_apart}" if told_apart else ""
    return _fact(subscription, name, key=key, at=announced, **properties)


def _fact(
    subscription: Json,
    name: str,
    *,
    key: str,
    at: datetime,
    change: PlanChange | None = None,
    **more: Any,
) -> Fact:
    subscription_id = shapes.text(subscription, "id")
    return Fact(
        key=key,
        name=name,
        at=at,
        about=(subscription_id,),
        customer=shapes.customer(subscription),
        subscription=subscription_id,
        change=change,
        properties=shapes.given({**_common(subscription), **more}),
    )


def _common(subscription: Json) -> dict[str, Any]:
    items = shapes.rows(subscription.get("items"))
    price = shapes.item_price(items[0]) if items else {}
    return {
        "subscription_id": shapes.text(subscription, "id"),
        "customer_id": shapes.customer(subscription),
        "status": subscription.get("status"),
        "price_id": shapes.id_of(price),
        "product_id": shapes.id_of(price.get("product")),
        "quantity": shapes.items_quantity(items) if items else None,
        "interval": mapping(price.get("recurring")).get("interval"),
    }


def _reading(
    subscription: Json,
    facts: list[Fact],
    announced: datetime,
    previous: Json | None,
    *,
    anchor: bool = False,
) -> Reading:
    subscription_id, buyer = shapes.text(subscription, "id"), shapes.customer(subscription)
    return Reading(
        facts=tuple(facts),
        links=_links(subscription, announced, previous, anchor=anchor),
        refs=(Ref(subscription_id, buyer, customer=True),) if buyer else (),
        snapshot=_snapshot(subscription, previous),
    )


def _snapshot(subscription: Json, previous: Json | None) -> Snapshot:
    """`unpaid` takes the subscription's worth as an end does, and says as much of why."""
    status = shapes.text(subscription, "status")
    trial_start, trial_end = shapes.subscription_trial(subscription)
    return Snapshot(
        subscription=shapes.text(subscription, "id"),
        customer=shapes.customer(subscription),
        status=status,
        currency=shapes.subscription_currency(subscription),
        started_at=shapes.subscription_start(subscription),
        trial_start=trial_start,
        trial_end=trial_end,
        ended_at=shapes.time_or_none(subscription, "ended_at"),
        paused_collection=bool(subscription.get("pause_collection")),
        churn=_churn(subscription, previous) if status in ("canceled", "unpaid") else None,
        items=[dict(item) for item in shapes.rows(subscription.get("items"))],
        discounts=shapes.subscription_discounts(subscription),
        previous_attributes=previous,
    )


def _links(
    subscription: Json, announced: datetime, previous: Json | None, *, anchor: bool
) -> tuple[Link, ...]:
    """Its own word, silence included; others ask for what it said when it was created.

    To its customer it speaks when it begins and when its metadata changes. Said again by a
    renewal or its end it is no news: an older subscription would speak for a newer checkout.
    """
    own, customer = (shapes.text(subscription, "id"),), shapes.customer(subscription)
    begun = shapes.subscription_start(subscription)
    news = anchor or "metadata" in (previous or {})

    def said(objects: tuple[str, ...], at: datetime, *, silent: bool) -> tuple[Link, ...]:
        return link_in(
            shapes.metadata(subscription),
            objects=objects,
            customer=customer if news else None,
            source="subscription.metadata",
            rank=1,
            stated_at=at,
            completed_at=begun,
            anchor=anchor,
            silent=silent,
        )

    links = said(own, announced, silent=True)
    if news or customer is None:
        return links
    return (*links, *said((customer,), min(begun, announced), silent=False))
