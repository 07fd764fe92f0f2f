"""A life lived: everything that happened to subscriptions, invoices and money, second by second.

Only business values (`app.demo.books`) and times; no JSON, and nothing of the product's own code.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.demo.books import (
    BASIL,
    Customer,
    Invoice,
    Line,
    Payment,
    Plan,
    Refund,
    Subscription,
    portion,
)
from app.demo.sessions import Session
from tests.orders.story import (
    BEGINNING,
    DAY,
    HOUR,
    SHAPES,
    Act,
    Buy,
    Cancel,
    Change,
    Dispute,
    GiveBack,
    Life,
    Renew,
    Saved,
    Subscribe,
)

Ids = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """Where a visitor's ids were saved: on the session, and on the subscription or payment."""

    session: Session
    made: str
    made_at: int
    on_session: Ids
    on_object: Ids


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceMove:
    """A dispute's balance transaction: `minor` in the account's own `currency`."""

    id: str
    minor: int
    currency: str
    created: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A dispute at one moment; `moves` are what it took from the balance and gave back so far."""

    id: str
    payment: Payment
    amount: int
    opened: int
    status: str = "needs_response"
    moves: tuple[BalanceMove, ...] = ()


@dataclass(frozen=True, slots=True)
class CustomerCreated:
    at: int
    customer: Customer


@dataclass(frozen=True, slots=True)
class SessionCompleted:
    at: int
    session: Session


@dataclass(frozen=True, slots=True)
class SubscriptionCreated:
    at: int
    sub: Subscription


@dataclass(frozen=True, slots=True)
class SubscriptionUpdated:
    at: int
    before: Subscription
    sub: Subscription


@dataclass(frozen=True, slots=True)
class SubscriptionDeleted:
    at: int
    sub: Subscription


@dataclass(frozen=True, slots=True)
class TrialWillEnd:
    at: int
    sub: Subscription


@dataclass(frozen=True, slots=True)
class InvoiceFinalized:
    at: int
    bill: Invoice


@dataclass(frozen=True, slots=True)
class InvoicePaid:
    """`failed_before`: an earlier attempt to collect it failed."""

    at: int
    bill: Invoice
    trial_converts: bool = False
    failed_before: bool = False


@dataclass(frozen=True, slots=True)
class PaymentMade:
    at: int
    payment: Payment


@dataclass(frozen=True, slots=True)
class PaymentFailed:
    """`attempt` is the payment that did not succeed."""

    at: int
    bill: Invoice
    attempt: Payment


@dataclass(frozen=True, slots=True)
class Refunded:
    at: int
    before: Payment
    payment: Payment
    refund: Refund


@dataclass(frozen=True, slots=True)
class RefundSettled:
    at: int
    payment: Payment
    refund: Refund


@dataclass(frozen=True, slots=True)
class RefundFailed:
    """The money came back to us; `payment` is without the refund again."""

    at: int
    before: Payment
    payment: Payment
    refund: Refund


@dataclass(frozen=True, slots=True)
class DisputeMoved:
    """`how`: created, funds_withdrawn, updated, funds_reinstated or closed."""

    at: int
    how: str
    case: Case


Happening = (
    CustomerCreated
    | SessionCompleted
    | SubscriptionCreated
    | SubscriptionUpdated
    | SubscriptionDeleted
    | TrialWillEnd
    | InvoiceFinalized
    | InvoicePaid
    | PaymentMade
    | PaymentFailed
    | Refunded
    | RefundSettled
    | RefundFailed
    | DisputeMoved
)


@dataclass(frozen=True, kw_only=True)
class History:
    """All that happened, by time; and which checkout each subscription and payment is from."""

    customer: Customer
    happened: tuple[Happening, ...]
    checkouts: Sequence[Checkout]
    made_by: Mapping[str, Checkout]


def live(life: Life) -> History:
    """Live a life to its end."""
    living = _Living(life)
    for act in life.acts:
        living.do(act)
    by_time = sorted(living.happened, key=lambda one: one.at)  # stable: within a second, as told
    return History(
        customer=living.customer,
        happened=tuple(by_time),
        checkouts=tuple(living.checkouts),
        made_by=living.made_by,
    )


def _plan(name: str, currency: str, amount: int) -> Plan:
    """Less than twice as dear as the next: then what waits for the next invoice is less than it."""
    return Plan(
        name=name,
        price=f"price_{name}",
        product="prod_yearly" if name == "yearly" else "prod_monthly",
        currency=currency,
        amount=amount,
        interval="year" if name == "yearly" else "month",
        created=BEGINNING - 90 * DAY,
    )


@dataclass
class _Living:
    life: Life
    clock: int = BEGINNING
    happened: list[Happening] = field(default_factory=list)
    checkouts: list[Checkout] = field(default_factory=list)
    made_by: dict[str, Checkout] = field(default_factory=dict)
    subs: dict[str, Subscription] = field(default_factory=dict)  # those that live
    payments: dict[str, Payment] = field(default_factory=dict)  # by charge, as refunded by now
    pending: dict[str, list[Line]] = field(default_factory=dict)
    disputed: set[str] = field(default_factory=set)
    numbers: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        life = self.life
        self.customer = Customer(
            id="cus_1",
            number=1,
            version=SHAPES[life.shape],
            livemode=life.livemode,
            created=BEGINNING,
            currency=life.currency,
            country="US",
            payment_method="pm_1",
            tax_rate="txr_1" if life.taxed else None,
            tax_basis_points=1900 if life.taxed else 0,
        )
        self.plans = {
            name: _plan(name, life.currency, amount)
            for name, amount in (("basic", 2_000), ("plus", 3_000), ("yearly", 25_000))
        }
        self.tell(CustomerCreated(BEGINNING, self.customer))

    def do(self, act: Act) -> None:
        match act:
            case Subscribe():
                self._subscribe(act)
            case Buy():
                self._buy(act)
            case Renew():
                self._renew(act)
            case Change():
                self._change(act)
            case Cancel():
                self._cancel(act)
            case GiveBack():
                self._give_back(act)
            case Dispute():
                self._dispute(act)

    def tell(self, happening: Happening) -> None:
        self.happened.append(happening)

    def id(self, prefix: str) -> str:
        self.numbers[prefix] += 1
        return f"{prefix}_{self.numbers[prefix]}"

    # --- time

    def _wait(self, seconds: int) -> None:
        """Time goes by; periods that end meanwhile are renewed, or end what was cancelled."""
        until = self.clock + seconds
        while ending := self._next_to_end(until):
            self._roll(ending, "at once")
        self.clock = max(self.clock, until)

    def _next_to_end(self, until: int) -> Subscription | None:
        ending = [sub for sub in self.subs.values() if sub.period_end <= until]
        return min(ending, key=lambda sub: (sub.period_end, sub.id), default=None)

    def _inside(self, which: int, after: int, room: int) -> Subscription | None:
        """Time goes by until this subscription is in a period with so much room left."""
        sub = self._pick(which)
        if sub is None:
            return None
        self._wait(after)
        now = self.subs.get(sub.id)
        if now and now.period_end - self.clock < room:
            self._wait(now.period_end - self.clock + 2 * HOUR)
        return self.subs.get(sub.id)

    def _pick(self, which: int) -> Subscription | None:
        living = list(self.subs.values())
        return living[which % len(living)] if living else None

    # --- checkouts

    def _visit(self, saved: Saved, at: int) -> tuple[Ids, Ids]:
        """What the checkout page saved, on the session and on the object that it makes."""
        number = len(self.checkouts) + 1
        one, other = (
            {
                "user_id": f"user_{number}{letter}",
                "device_id": f"device_{number}{letter}",
                "session_id": str((at - 300) * 1000 + number * 10 + "ab".index(letter)),
                "utm_source": f"campaign_{number}{letter}",
            }
            for letter in "ab"
        )
        nothing: Ids = {}
        return {
            "session": (one, nothing),
            "same": (one, one),
            "different": (one, other),
            "object": (nothing, other),
            "nowhere": (nothing, nothing),
        }[saved]

    def _subscribe(self, act: Subscribe) -> None:
        self._wait(act.after)
        start = self.clock
        on_session, on_object = self._visit(act.saved, start)
        plan, trial_end = self.plans[act.plan], start + act.trial_days * DAY
        trial = act.trial_days > 0
        sub = Subscription(
            id=self.id("sub"),
            item=self.id("si"),
            discount="",
            customer=self.customer,
            plan=plan,
            quantity=act.seats,
            status="trialing" if trial else "active",
            created=start,
            period_start=start,
            period_end=trial_end if trial else plan.after(start),
            trial_start=start if trial else None,
            trial_end=trial_end if trial else None,
            metadata=on_object,
            latest_invoice=f"in_{self.numbers['in'] + 1}",
        )
        amount = 0 if trial else plan.amount * act.seats
        bill = self._bill(sub, [self._line(sub, amount)], "subscription_create", start)
        session = Session(
            id=self.id("cs"),
            customer=self.customer,
            created=start - 120,
            mode="subscription",
            subtotal=bill.subtotal,
            tax=bill.tax,
            subscription=sub.id,
            invoice=bill.id,
            metadata=on_session,
        )
        self._remember(session, sub.id, start, on_object)
        self.subs[sub.id] = sub
        self.tell(SubscriptionCreated(start, sub))
        self.tell(InvoiceFinalized(start, bill))
        self._pay(bill, start + 2)
        self.tell(SessionCompleted(start + 3, session))
        self.clock = start + 3

    def _buy(self, act: Buy) -> None:
        self._wait(act.after)
        start, net = self.clock, act.amount * 100
        on_session, on_object = self._visit(act.saved, start)
        tax = portion(net, self.customer.tax_basis_points, 10_000)
        payment = replace(self._payment(self.id("pi"), net + tax, start), metadata=on_object)
        session = Session(
            id=self.id("cs"),
            customer=self.customer,
            created=start - 120,
            mode="payment",
            subtotal=net,
            tax=tax,
            intent=payment.intent,
            metadata=on_session,
        )
        self._remember(session, payment.intent, start, on_object)
        self._paid(start, payment)
        self.tell(SessionCompleted(start + 2, session))
        self.clock = start + 2

    def _remember(self, session: Session, made: str, at: int, on_object: Ids) -> None:
        checkout = Checkout(
            session=session,
            made=made,
            made_at=at,
            on_session=session.metadata,
            on_object=on_object,
        )
        self.checkouts.append(checkout)
        self.made_by[made] = checkout

    # --- periods

    def _renew(self, act: Renew) -> None:
        sub = self._pick(act.which)
        if sub is None or (sub.plan.interval == "year" and len(self.subs) > 1):
            return  # in a year, all others would renew twelve times
        self._wait(max(0, sub.period_end - self.clock - 1))
        now = self.subs.get(sub.id)
        if now is not None:
            self._roll(now, act.paid)

    def _roll(self, sub: Subscription, paid: str) -> None:
        """A period is over. The next one's invoice is finalised about an hour later."""
        start = sub.period_end
        self._warn(sub, start)
        if sub.cancel_at is not None:
            self._end(sub, start, "cancellation_requested")
            return
        rolled = replace(sub, status="active", period_start=start, period_end=sub.plan.after(start))
        lines = [*self.pending.pop(sub.id, []), self._line(rolled, sub.plan.amount * sub.quantity)]
        bill = self._bill(rolled, lines, "subscription_cycle", start)
        after = replace(rolled, latest_invoice=bill.id)
        self._update(sub, rolled, start + 5)
        self._update(rolled, after, start + 5)
        at = start + HOUR + 12
        self.tell(InvoiceFinalized(at, bill))
        converts = sub.status == "trialing"
        match paid:
            case "at once":
                self._pay(bill, at, converts=converts)
            case "in parts":
                self._pay_in_parts(bill, at, at + 2 * DAY, converts=converts)
            case "after a failure" | "after two failures":
                self._pay_late(after, bill, at, 1 if paid == "after a failure" else 2, converts)
            case _:
                self._fail(bill, self.id("pi"), at, 1, None)
                late = replace(after, status="past_due")
                self._update(after, late, at)
                self._end(late, at + 3 * DAY, "payment_failed")

    def _pay_late(
        self, sub: Subscription, bill: Invoice, at: int, failures: int, converts: bool
    ) -> None:
        intent, late = self.id("pi"), replace(sub, status="past_due")
        for attempt in range(1, failures + 1):
            self._fail(bill, intent, at, attempt, at + 3 * DAY)
            if attempt == 1:
                self._update(sub, late, at)
            at += 3 * DAY
        bill = replace(bill, attempts=failures)
        self._pay(bill, at, intent=intent, converts=converts, failed_before=True)
        self._update(late, replace(late, status="active"), at)

    def _warn(self, sub: Subscription, until: int) -> None:
        """Three days before a trial ends, Stripe says so, with the subscription as it then was."""
        if sub.status != "trialing" or sub.trial_end is None or until < sub.trial_end - 3 * DAY:
            return
        at = sub.trial_end - 3 * DAY
        states = [
            (one.at, one.sub)
            for one in self.happened
            if isinstance(one, SubscriptionCreated | SubscriptionUpdated) and one.sub.id == sub.id
        ]
        then = [state for stated, state in states if stated <= at][-1]
        self.tell(TrialWillEnd(at, then))

    def _end(self, sub: Subscription, at: int, reason: str) -> None:
        gone = replace(
            sub,
            status="canceled",
            ended_at=at,
            canceled_at=sub.canceled_at or at,
            cancel_reason=reason,
        )
        del self.subs[sub.id]
        self.tell(SubscriptionDeleted(at, gone))
        self.clock = max(self.clock, at)

    def _update(self, before: Subscription, after: Subscription, at: int) -> None:
        self.subs[after.id] = after
        self.tell(SubscriptionUpdated(at, before, after))
        self.clock = max(self.clock, at)

    # --- changes

    def _change(self, act: Change) -> None:
        back = act.back_after or 0
        sub = self._inside(act.which, act.after, back + 2 * DAY)
        if sub is None or (act.what == "plan" and sub.plan.interval == "year"):
            return
        at = self.clock
        if act.what == "plan":
            plan = self.plans["plus" if sub.plan.name == "basic" else "basic"]
            changed = replace(sub, plan=plan)
        else:
            fewer = act.what == "fewer seats" and sub.quantity > 1
            changed = replace(sub, quantity=sub.quantity + (-1 if fewer else 1))
        after = self._apply(sub, changed, at, act.billing)
        if act.back_after is not None:
            undone = replace(after, plan=sub.plan, quantity=sub.quantity)
            self._apply(after, undone, at + back, act.billing)
            self.clock = at + back

    def _apply(
        self, before: Subscription, after: Subscription, at: int, billing: str
    ) -> Subscription:
        """A trial has nothing to prorate; what costs less now is given back at no time."""
        if before.status == "trialing" or (billing == "now" and after.yearly < before.yearly):
            self._update(before, after, at)
            return after
        left, whole = after.period_end - at, after.period_end - after.period_start
        lines = [
            self._line(
                sub,
                sign * portion(sub.plan.amount * sub.quantity, left, whole),
                start=at,
                proration=self.id("ii"),
            )
            for sign, sub in ((-1, before), (1, after))
        ]
        if billing == "pending":
            waiting = [*self.pending.get(after.id, []), *lines]
            next_amount = after.plan.amount * after.quantity
            if sum(line.amount + line.tax for line in waiting) + next_amount > 0:
                self.pending[after.id] = waiting
            self._update(before, after, at)
            return after
        bill = self._bill(after, lines, "subscription_update", at)
        after = replace(after, latest_invoice=bill.id)
        self._update(before, after, at)
        self.tell(InvoiceFinalized(at, bill))
        self._pay(replace(bill, subscription=after), at + 2)
        return after

    def _cancel(self, act: Cancel) -> None:
        sub = self._inside(act.which, act.after, 2 * DAY)
        if sub is None:
            return
        at = self.clock
        if act.when == "now":
            self._warn(sub, at)
            self._end(sub, at, "cancellation_requested")
            return
        if sub.cancel_at is not None:
            return
        leaving = replace(
            sub,
            cancel_at=sub.period_end,
            # Flexible billing, clover's default, sets a date and no flag.
            cancel_at_period_end=not self.customer.speaks("2025-09-30"),
            canceled_at=at,
            cancel_reason="cancellation_requested",
            feedback="too_expensive",
        )
        self._update(sub, leaving, at)
        if act.when == "period end, undone":
            staying = replace(
                sub, cancel_at=None, cancel_at_period_end=False, cancel_reason=None, feedback=None
            )
            self._update(leaving, staying, at + DAY)

    # --- money

    def _line(
        self,
        sub: Subscription,
        amount: int,
        start: int | None = None,
        proration: str | None = None,
    ) -> Line:
        return Line(
            id=self.id("il"),
            plan=sub.plan,
            quantity=sub.quantity,
            amount=amount,
            start=sub.period_start if start is None else start,
            end=sub.period_end,
            proration=proration,
            tax=portion(amount, self.customer.tax_basis_points, 10_000),
        )

    def _bill(self, sub: Subscription, lines: Sequence[Line], reason: str, at: int) -> Invoice:
        return Invoice(
            id=self.id("in"),
            number=f"LIFE-{self.numbers['in']:04d}",
            subscription=sub,
            lines=tuple(lines),
            reason=reason,
            created=at,
        )

    def _payment(self, intent: str, amount: int, at: int, invoice: str | None = None) -> Payment:
        return Payment(
            intent=intent,
            charge=self.id("ch"),
            customer=self.customer,
            amount=amount,
            currency=self.customer.currency,
            created=at,
            invoice=invoice,
        )

    def _paid(self, at: int, payment: Payment) -> None:
        self.payments[payment.charge] = payment
        self.tell(PaymentMade(at, payment))
        self.clock = max(self.clock, at)

    def _pay(
        self,
        bill: Invoice,
        at: int,
        *,
        intent: str | None = None,
        converts: bool = False,
        failed_before: bool = False,
    ) -> None:
        """The whole invoice, by one payment; nothing, where nothing is due."""
        paid = replace(bill, paid_at=at, attempts=bill.attempts + bool(bill.due))
        if bill.due:
            payment = self._payment(intent or self.id("pi"), bill.due, at, bill.id)
            self.made_by[payment.intent] = self.made_by[bill.subscription.id]
            paid = replace(paid, payment=payment)
            self._paid(at, payment)
        self.tell(InvoicePaid(at, paid, converts, failed_before))

    def _pay_in_parts(self, bill: Invoice, first: int, last: int, *, converts: bool) -> None:
        """Two payments of one invoice, which basil made possible; before it, one at the end."""
        if not self.customer.speaks(BASIL):
            self._payment(self.id("pi"), bill.due, first)  # ids as in the other shapes
            self._pay(bill, last, converts=converts)
            return
        part = bill.due // 3
        for at, amount in ((first, part), (last, bill.due - part)):
            payment = self._payment(self.id("pi"), amount, at, bill.id)
            self.made_by[payment.intent] = self.made_by[bill.subscription.id]
            self._paid(at, payment)
        paid = replace(bill, paid_at=last, attempts=1, payment=payment)
        self.tell(InvoicePaid(last, paid, converts))

    def _fail(self, bill: Invoice, intent: str, at: int, attempt: int, again: int | None) -> None:
        tried = self._payment(intent, bill.due, at, bill.id)
        self.made_by[intent] = self.made_by[bill.subscription.id]
        failed = replace(bill, attempts=attempt, next_attempt=again, payment=tried)
        self.tell(PaymentFailed(at, failed, tried))

    def _give_back(self, act: GiveBack) -> None:
        self._wait(act.after)
        payment = self._refundable(act.which)
        if payment is None:
            return
        at, begins_as = self.clock, act.settles in ("later", "pends and fails")
        given: list[Refund] = []
        for share in act.shares:
            left = payment.amount - payment.refunded
            refund = Refund(
                id=self.id("re"),
                amount=min(left, max(1, payment.amount * share // 100)),
                created=at,
                status="pending" if begins_as else "succeeded",
            )
            before, payment = payment, replace(payment, refunds=(*payment.refunds, refund))
            self.tell(Refunded(at, before, payment, refund))
            given.append(refund)
            at += 600
        at += 3 * DAY
        for refund in given if act.settles != "at once" else ():
            payment = self._settle(payment, refund, at, fails=act.settles != "later")
        self.payments[payment.charge] = payment
        self.clock = at

    def _settle(self, payment: Payment, refund: Refund, at: int, *, fails: bool) -> Payment:
        if not fails:
            self.tell(RefundSettled(at, payment, replace(refund, status="succeeded")))
            return payment
        left = tuple(one for one in payment.refunds if one.id != refund.id)
        after = replace(payment, refunds=left)
        self.tell(RefundFailed(at, payment, after, refund))
        return after

    def _refundable(self, which: int) -> Payment | None:
        able = [
            payment
            for payment in self.payments.values()
            if payment.charge not in self.disputed and payment.amount > payment.refunded + 1
        ]
        return able[which % len(able)] if able else None

    def _dispute(self, act: Dispute) -> None:
        self._wait(act.after)
        payment = self._refundable(act.which)
        if payment is None:
            return
        self.disputed.add(payment.charge)
        at, amount = self.clock, payment.amount - payment.refunded
        home = ("eur" if payment.currency == "usd" else "usd") if act.home else payment.currency
        size = amount * 7 // 5 + 1 if act.home else amount
        taken = BalanceMove(id=self.id("txn"), minor=-size, currency=home, created=at)
        case = Case(id=self.id("dp"), payment=payment, amount=amount, opened=at, moves=(taken,))
        self.tell(DisputeMoved(at, "created", case))
        self.tell(DisputeMoved(at + 1, "funds_withdrawn", case))
        if act.ends == "open":
            return
        case = replace(case, status="under_review")
        self.tell(DisputeMoved(at + 2 * DAY, "updated", case))
        at += 9 * DAY
        case = replace(case, status=act.ends)
        if act.ends == "won":
            given = BalanceMove(id=self.id("txn"), minor=size, currency=home, created=at)
            case = replace(case, moves=(taken, given))
            self.tell(DisputeMoved(at, "funds_reinstated", case))
        self.tell(DisputeMoved(at, "closed", case))
        self.clock = at
