"""One customer's life: each act returns the webhooks it causes and the facts it means."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from random import Random

from app.demo.books import CLOVER, Customer, Invoice, Plan, Subscription, stripe_id
from app.demo.envelopes import Emission
from app.demo.ledger import Ledger
from app.demo.objects import customer as customer_json
from app.demo.objects import subscription as subscription_json
from app.demo.telling import Moment, Teller

HOUR, DAY = 3_600, 86_400
RETRIES = (3 * DAY, 5 * DAY, 7 * DAY)  # from each failure to the next attempt


class Life:
    """A customer with at most one subscription at a time; acts move the clock forward."""

    def __init__(self, customer: Customer, plans: Mapping[str, Plan], rng: Random) -> None:
        self.customer = customer
        self.plans = plans
        self.rng = rng
        self.teller = Teller(customer, rng)
        self.ledger = Ledger(self.teller)
        self.sub: Subscription | None = None
        self.ended = False

    @property
    def clock(self) -> int:
        return self.teller.clock

    @clock.setter
    def clock(self, at: int) -> None:
        self.teller.clock = at

    @property
    def subscription(self) -> Subscription:
        assert self.sub is not None, "no subscription yet"
        return self.sub

    def arrive(self) -> Moment:
        """The customer exists: an event that analytics does not care about."""
        return self._tell(self.teller.emit("customer.created", customer_json(self.customer)))

    def renewals(self, cycles: int = 10_000, credit: int = 0) -> Iterator[Moment]:
        """Paid periods, one after the other; the first one of a trial converts it."""
        for _ in range(cycles):
            fact = self._cycle_fact()
            moment, bill = self._roll(credit)
            yield moment
            self.clock += HOUR + self.rng.randrange(300)
            paid, emissions = self.ledger.settle(bill)
            yield self.teller.moment(emissions, [fact, "payment_succeeded"], paid.paid)

    def failing_renewal(self, failures: int, recovers: bool) -> Iterator[Moment]:
        """A period whose payment fails some times, then succeeds or ends the subscription."""
        fact = self._cycle_fact()
        moment, bill = self._roll()
        yield moment
        self.clock += HOUR
        for attempt in range(1, failures + 1):
            last = attempt == failures and not recovers
            wait = None if last else self.clock + RETRIES[attempt - 1]
            bill = replace(bill, attempts=attempt, next_attempt=wait)
            yield self._failure(bill)
            self.clock = wait or self.clock + 60
        if not recovers:
            yield self._end("payment_failed")
            return
        paid, emissions = self.ledger.settle(bill)
        before, self.sub = self.subscription, replace(self.subscription, status="active")
        emissions.append(self.teller.updated(before, self.sub))
        facts = [fact, "payment_succeeded", "payment_recovered"]
        yield self.teller.moment(emissions, facts, paid.paid)

    def _cycle_fact(self) -> str:
        trialing = self.subscription.status == "trialing"
        return "trial_converted" if trialing else "subscription_renewed"

    def _roll(self, credit: int = 0) -> tuple[Moment, Invoice]:
        """A new period begins; its invoice is paid about an hour later."""
        before = self.subscription
        start = before.period_end
        bill_id = stripe_id(self.rng, "in_1", 23)
        after = replace(
            before,
            status="active",
            period_start=start,
            period_end=before.plan.after(start),
            latest_invoice=bill_id,
        )
        self.clock = start + self.rng.randrange(1, 30)
        self.sub = after
        bill = self.ledger.cycle(after, bill_id, start, credit)
        return self._tell(self.teller.updated(before, after)), bill

    def _failure(self, bill: Invoice) -> Moment:
        before, self.sub = self.subscription, replace(self.subscription, status="past_due")
        emissions = [self.ledger.failed(bill)]
        facts = ["payment_failed"]
        if before.status != "past_due":
            emissions.append(self.teller.updated(before, self.sub))
            facts.append("subscription_past_due")
        return self.teller.moment(emissions, facts)

    def change(self, plan: Plan | None = None, quantity: int = 0, at: int | None = None) -> Moment:
        """Another plan or number of seats; what costs more is billed at once, by the day."""
        self.clock = at or self._midway(0.25, 0.4)
        before = self.subscription
        after = replace(before, plan=plan or before.plan, quantity=quantity or before.quantity)
        emissions: list[Emission] = []
        money = 0
        facts = ["subscription_quantity_changed"]
        if plan:
            facts = [f"subscription_{'upgraded' if after.yearly > before.yearly else 'downgraded'}"]
        if after.yearly > before.yearly:
            bill = self.ledger.prorated(before, after, self.clock)
            after = replace(after, latest_invoice=bill.id)
            paid, emissions = self.ledger.settle(replace(bill, subscription=after))
            money = paid.paid
            facts.append("payment_succeeded")
        self.sub = after
        emissions.insert(0, self.teller.updated(before, after, asked=True))
        return self.teller.moment(emissions, facts, money)

    def schedule_cancel(self) -> Moment:
        """At the period's end. Flexible billing, clover's default, sets a date and no flag."""
        self.clock = self._midway(0.45, 0.6)
        before = self.subscription
        self.sub = replace(
            before,
            cancel_at=before.period_end,
            cancel_at_period_end=not self.customer.speaks(CLOVER),
            canceled_at=self.clock,
            cancel_reason="cancellation_requested",
            feedback=self.rng.choice(["too_expensive", "unused", "switched_service"]),
        )
        updated = self.teller.updated(before, self.sub, asked=True)
        return self._tell(updated, "subscription_cancel_scheduled")

    def uncancel(self) -> Moment:
        """The customer changed their mind in time."""
        self.clock = self._midway(0.65, 0.85)
        before = self.subscription
        self.sub = replace(
            before,
            cancel_at=None,
            cancel_at_period_end=False,
            canceled_at=None,
            cancel_reason=None,
            feedback=None,
        )
        updated = self.teller.updated(before, self.sub, asked=True)
        return self._tell(updated, "subscription_uncancelled")

    def end(self) -> Moment:
        """The period that was cancelled before is over."""
        self.clock = self.subscription.period_end
        return self._end("cancellation_requested")

    def cancel_now(self, at: int | None = None) -> Moment:
        """Cancelled and ended at once, in the middle of a period."""
        self.clock = at or self._midway(0.3, 0.7)
        return self._end("cancellation_requested")

    def _end(self, reason: str) -> Moment:
        before = self.subscription
        unpaid_trial = before.status == "trialing"
        gone = replace(
            before,
            status="canceled",
            ended_at=self.clock,
            canceled_at=before.canceled_at or self.clock,
            cancel_reason=reason,
        )
        self.sub, self.ended = gone, True
        deleted = self.teller.emit("customer.subscription.deleted", subscription_json(gone))
        fact = "trial_cancelled" if unpaid_trial else "subscription_cancelled"
        return self._tell(deleted, fact)

    def give_back(self, amount: int | None = None, at: int | None = None) -> Moment:
        """Refund the last payment: all that is left of it, or a part."""
        self.clock = at or self.clock + self.rng.randrange(DAY, 3 * DAY)
        emissions, given = self.ledger.give_back(amount)
        return self.teller.moment(emissions, ["refund_created"], -given)

    def _tell(self, emission: Emission, *facts: str) -> Moment:
        return self.teller.moment([emission], facts)

    def _midway(self, low: float, high: float) -> int:
        sub = self.subscription
        length = sub.period_end - sub.period_start
        chosen = sub.period_start + int(length * self.rng.uniform(low, high))
        return max(chosen, self.clock + HOUR)
