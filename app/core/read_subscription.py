"""customer.subscription.*: the lifecycle, from the event's own object and what it was before."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

from app.core import stripe_shapes as shapes
from app.core.facts import Fact, Link, Reading, Ref, Snapshot
from app.core.identity import link_in
from app.core.mrr import monthly
from app.core.stripe_shapes import Json, mapping

LIVE = ("active", "trialing")
# After a trial's end Stripe finalises the first invoice about an hour later, so what ends within
# that hour was never paid.
TRIAL_GRACE = timedelta(hours=1)


def created(subscription: Json, announced: datetime, _previous: Json | None) -> Reading:
    """customer.subscription.created: `incomplete` is no start, it waits for its first payment."""
    facts = list(_starts(subscription)) if subscription.get("status") in LIVE else []
    return _reading(subscription, facts, announced, None)


def updated(subscription: Json, announced: datetime, previous: Json | None) -> Reading:
    """customer.subscription.updated: fires several times a renewal; what changed tells."""
    before = {**subscription, **(previous or {})}
    facts = [
        *_status_changes(subscription, before, announced),
        *_plan_changes(subscription, previous or {}, announced),
        *_cancel_changes(subscription, before, announced),
        *_pause_changes(subscription, before, announced),
    ]
    return _reading(subscription, facts, announced, previous)


def deleted(subscription: Json, announced: datetime, _previous: Json | None) -> Reading:
    """customer.subscription.deleted: it ended now; the request to cancel was earlier."""
    ended = shapes.time_or_none(subscription, "ended_at") or announced
    trial_end = shapes.time_or_none(subscription, "trial_end")
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
        churn=_churn(details.get("reason")),
        reason=details.get("reason"),
        feedback=details.get("feedback"),
    )
    return _reading(subscription, [fact], announced, None)


def _churn(reason: object) -> str | None:
    """https://docs.stripe.com/api/subscriptions/object#subscription_object-cancellation_details"""
    if reason == "cancellation_requested":
        return "voluntary"
    return "involuntary" if reason in ("payment_failed", "payment_disputed") else None


def _starts(subscription: Json) -> Iterator[Fact]:
    subscription_id = shapes.text(subscription, "id")
    yield _fact(
        subscription,
        "subscription_started",
        key=f"started:{subscription_id}",
        at=shapes.subscription_start(subscription),
        new=True,
    )
    if subscription.get("status") == "trialing":
        yield _trial_started(subscription)


def _trial_started(subscription: Json) -> Fact:
    start = shapes.time(subscription, "trial_start")
    end = shapes.time_or_none(subscription, "trial_end")
    return _fact(
        subscription,
        "trial_started",
        key=f"trial_started:{shapes.text(subscription, 'id')}:{int(start.timestamp())}",
        at=start,
        new=True,
        trial_end=end.isoformat() if end else None,
    )


def _status_changes(subscription: Json, before: Json, announced: datetime) -> Iterator[Fact]:
    old, new = before.get("status"), subscription.get("status")
    if old == new:
        return
    if old == "incomplete" and new in LIVE:
        yield from _starts(subscription)
    elif new == "trialing":
        yield _trial_started(subscription)
    elif new in ("past_due", "unpaid"):
        yield _repeatable(subscription, f"subscription_{new}", announced)


def _plan_changes(subscription: Json, previous: Json, announced: datetime) -> Iterator[Fact]:
    items, old = shapes.rows(subscription.get("items")), _previous_items(subscription, previous)
    if old is None or subscription.get("status") not in (*LIVE, "past_due"):
        return
    if _contents(items) == _contents(old):
        return  # a period roll lists the items again
    worth, worth_before = monthly(items), monthly(old)
    if _prices(items) == _prices(old):
        name = "subscription_quantity_changed"
    elif worth is None or worth_before is None or worth == worth_before:
        return  # neither up nor down as far as this event says
    else:
        name = "subscription_upgraded" if worth > worth_before else "subscription_downgraded"
    yield _repeatable(
        subscription,
        name,
        announced,
        previous_price_id=next(iter(_prices(old)), None),
        previous_quantity=sum(int(item.get("quantity", 1) or 0) for item in old),
        told_apart=_digest(old, items),
    )


def _digest(old: list[Json], items: list[Json]) -> str:
    """Tells two changes of one second apart."""
    change = repr((_contents(old), _contents(items))).encode()
    return blake2b(change, digest_size=4).hexdigest()


def _previous_items(subscription: Json, previous: Json) -> list[Json] | None:
    """Stripe lists the whole previous array; very old events of one-item subscriptions name only
    `plan` or `quantity` at the top."""
    if "items" in previous:
        return shapes.rows(previous["items"])
    items = shapes.rows(subscription.get("items"))
    if len(items) != 1 or not ("plan" in previous or "quantity" in previous):
        return None
    old = dict(items[0])
    if "plan" in previous:
        old |= {"plan": previous["plan"], "price": None}
    return [{**old, "quantity": previous.get("quantity", items[0].get("quantity"))}]


def _contents(items: list[Json]) -> list[tuple[str, int]]:
    return sorted(
        (str(shapes.item_price(item).get("id")), int(item.get("quantity", 1) or 0))
        for item in items
    )


def _prices(items: list[Json]) -> list[str]:
    return sorted(str(shapes.item_price(item).get("id")) for item in items)


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


def _pause_changes(subscription: Json, before: Json, announced: datetime) -> Iterator[Fact]:
    """`pause_collection` (invoices stop) is another fact than `status=paused` (service stops)."""
    was, is_now = mapping(before.get("pause_collection")), subscription.get("pause_collection")
    if bool(was) != bool(is_now):
        name = "subscription_paused" if is_now else "subscription_resumed"
        yield _repeatable(subscription, name, announced, "collection", pause="collection")
    old, new = before.get("status"), subscription.get("status")
    if old != new and "paused" in (old, new) and new != "canceled":
        name = "subscription_paused" if new == "paused" else "subscription_resumed"
        yield _repeatable(subscription, name, announced, "status", pause="status")


def _repeatable(
    subscription: Json, name: str, announced: datetime, told_apart: str = "", **properties: Any
) -> Fact:
    """A change that can happen again: the webhook event's second is part of its key, and
    `told_apart` where two of one name can fall into it."""
    key = f"{name}:{shapes.text(subscription, 'id')}:{int(announced.timestamp())}"
    key += f":{told_apart}" if told_apart else ""
    return _fact(subscription, name, key=key, at=announced, **properties)


def _fact(
    subscription: Json, name: str, *, key: str, at: datetime, new: bool = False, **extra: Any
) -> Fact:
    subscription_id = shapes.text(subscription, "id")
    return Fact(
        key=key,
        name=name,
        at=at,
        about=(subscription_id,),
        customer=shapes.customer(subscription),
        new=new,
        subscription=subscription_id,
        properties={
            name: value
            for name, value in {**_common(subscription), **extra}.items()
            if value is not None
        },
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
        "quantity": sum(int(item.get("quantity", 1) or 0) for item in items) if items else None,
        "interval": mapping(price.get("recurring")).get("interval"),
    }


def _reading(
    subscription: Json, facts: list[Fact], announced: datetime, previous: Json | None
) -> Reading:
    subscription_id, buyer = shapes.text(subscription, "id"), shapes.customer(subscription)
    return Reading(
        facts=tuple(facts),
        links=_links(subscription, announced),
        refs=(Ref(subscription_id, buyer, customer=True),) if buyer else (),
        snapshot=Snapshot(
            subscription=subscription_id,
            customer=buyer,
            status=shapes.text(subscription, "status"),
            started_at=shapes.subscription_start(subscription),
            trial_start=shapes.time_or_none(subscription, "trial_start"),
            trial_end=shapes.time_or_none(subscription, "trial_end"),
            ended_at=shapes.time_or_none(subscription, "ended_at"),
            items=[dict(item) for item in shapes.rows(subscription.get("items"))],
            discounts=_discounts(subscription),
            previous_attributes=previous,
        ),
    )


def _discounts(subscription: Json) -> list[Any]:
    found = subscription.get("discounts") or [subscription.get("discount")]
    return [one for one in found if one] if isinstance(found, list) else []


def _links(subscription: Json, announced: datetime) -> tuple[Link, ...]:
    return link_in(
        shapes.metadata(subscription),
        objects=(shapes.text(subscription, "id"),),
        customer=shapes.customer(subscription),
        source="subscription.metadata",
        rank=1,
        stated_at=announced,
        completed_at=shapes.subscription_start(subscription),
    )
