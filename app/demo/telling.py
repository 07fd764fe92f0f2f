"""How a life is told: webhooks as they happen, and beside them what they mean."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from app.demo.books import Customer, Json, Subscription, stripe_id
from app.demo.envelopes import Emission, previous_attributes, requested
from app.demo.objects import subscription as subscription_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What one act made: webhooks, the facts an analyst would count, and signed money."""

    at: int
    currency: str
    emissions: tuple[Emission, ...]
    facts: tuple[str, ...] = ()
    money: int = 0


class Teller:
    """Tells one customer's webhooks, in their API version, at the time on its clock."""

    def __init__(self, customer: Customer, rng: Random) -> None:
        self.customer = customer
        self.rng = rng
        self.clock = customer.created

    def emit(
        self,
        kind: str,
        body: Json,
        previous: Json | None = None,
        *,
        at: int | None = None,
        asked: bool = False,
    ) -> Emission:
        """One event. `asked`: an API request caused it, so it names that request."""
        emission = Emission(
            id=stripe_id(self.rng, "evt_1", 23),
            type=kind,
            created=self.clock if at is None else at,
            version=self.customer.version,
            livemode=self.customer.livemode,
            object=body,
            previous=previous,
        )
        if not asked:
            return emission
        request, key = requested(self.rng)
        return replace(emission, request=request, key=key)

    def updated(self, before: Subscription, after: Subscription, asked: bool = False) -> Emission:
        """`customer.subscription.updated`, with what changed as it was."""
        new = subscription_json(after)
        previous = previous_attributes(subscription_json(before), new)
        return self.emit("customer.subscription.updated", new, previous, asked=asked)

    def moment(
        self, emissions: Sequence[Emission], facts: Sequence[str] = (), money: int = 0
    ) -> Moment:
        """These webhooks, now."""
        return Moment(
            at=self.clock,
            currency=self.customer.currency,
            emissions=tuple(emissions),
            facts=tuple(facts),
            money=money,
        )
