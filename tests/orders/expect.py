"""What must come out of a history: revenue entries, analytics events, MRR movements.

Worked out from the business values alone, by rules written here a second time on purpose.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from app.demo.books import Invoice, Payment, Subscription
from tests.orders.history import (
    BalanceMove,
    Case,
    Checkout,
    DisputeMoved,
    Happening,
    History,
    Ids,
    InvoiceFinalized,
    InvoicePaid,
    PaymentFailed,
    PaymentMade,
    Refunded,
    RefundFailed,
    SessionCompleted,
    SubscriptionCreated,
    SubscriptionDeleted,
    SubscriptionUpdated,
    TrialWillEnd,
)
from tests.orders.story import DAY, HOUR

SESSION_IDS = {"session_id"}
NOT_IDS = {"utm_source"}

Whose = tuple[tuple[str, str], ...]  # sorted pairs of an id's name and value


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One row of the ledger. `at` is unix seconds, `minor` signed."""

    key: str
    kind: str
    minor: int
    currency: str
    at: int

    @property
    def when(self) -> str:
        return _clock(self.at)

    def __str__(self) -> str:
        return f"{self.when}  {self.key}  {self.kind} {self.minor} {self.currency}"


@dataclass(frozen=True, slots=True, order=True)
class Event:
    """One analytics event as told; `minor` is 0 without revenue."""

    key: str
    name: str
    at: int
    ids: Whose
    minor: int = 0
    currency: str = ""

    @property
    def when(self) -> str:
        return _clock(self.at)

    def __str__(self) -> str:
        money = f"  {self.minor} {self.currency}" if self.minor else ""
        whose = " ".join(f"{name}={value}" for name, value in self.ids)
        return f"{self.when}  {self.name}  {self.key}{money}  {whose}"


@dataclass(frozen=True, slots=True, order=True)
class Movement:
    """A customer's MRR moved within this UTC clock hour, by so many minor units a month."""

    hour: int
    kind: str
    minor: int
    currency: str

    @property
    def when(self) -> str:
        return _clock(self.hour)

    def __str__(self) -> str:
        return f"{self.when}  {self.kind} {self.minor} {self.currency}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    entries: tuple[Entry, ...]
    events: tuple[Event, ...]
    movements: tuple[Movement, ...]


def _clock(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def expected(history: History) -> Expected:
    """All that this history means."""
    oracle = _Oracle(history)
    for one in history.happened:
        oracle.hear(one)
    return Expected(
        entries=tuple(sorted(oracle.entries)),
        events=tuple(sorted(oracle.events)),
        movements=tuple(movements(history)),
    )


class _Oracle:
    def __init__(self, history: History) -> None:
        self.history = history
        self.currency = history.customer.currency
        self.entries: list[Entry] = []
        self.events: list[Event] = []
        self.reasons = {
            one.bill.id: one.bill.reason
            for one in history.happened
            if isinstance(one, InvoiceFinalized)
        }

    def hear(self, one: Happening) -> None:
        match one:
            case SessionCompleted(at, session):
                checkout = self.history.made_by[session.subscription or session.intent or ""]
                ids = self._nearest(at, _on_session(checkout), _on_object(checkout))
                self._tell(f"checkout:{session.id}", "checkout_completed", at, ids)
            case SubscriptionCreated() | SubscriptionUpdated() | SubscriptionDeleted():
                self._subscription(one)
            case TrialWillEnd(at, sub):
                key = f"trial_will_end:{sub.id}:{sub.trial_end}"
                self._tell(key, "trial_will_end", at, self._of(sub.id, at))
            case InvoicePaid():
                self._invoice_paid(one)
            case PaymentFailed(at, bill, _):
                key = f"payment_failed:{bill.id}:{at}"
                self._tell(key, "payment_failed", at, self._of_bill(bill, at))
            case PaymentMade(at, payment) if payment.invoice is None:
                key = f"payment:{payment.intent}"
                ids = self._of_payment(payment, at)
                self._money(key, "payment", "payment_succeeded", payment.amount, at, ids)
            case Refunded() | RefundFailed():
                self._refund(one)
            case DisputeMoved(at, how, case):
                self._dispute(at, how, case)
            case _:
                pass

    # --- what follows from each

    def _subscription(
        self, one: SubscriptionCreated | SubscriptionUpdated | SubscriptionDeleted
    ) -> None:
        match one:
            case SubscriptionCreated(_, sub):
                self._started(sub)
            case SubscriptionDeleted(at, sub):
                in_trial = sub.trial_end is not None and at <= sub.trial_end
                name = "trial_cancelled" if in_trial else "subscription_cancelled"
                self._tell(f"ended:{sub.id}", name, at, self._of(sub.id, at))
            case SubscriptionUpdated(at, before, sub):
                for name in _changes(before, sub):
                    self._tell(f"{name}:{sub.id}:{at}", name, at, self._of(sub.id, at))

    def _started(self, sub: Subscription) -> None:
        at, ids = sub.created, self._of(sub.id, sub.created)
        self._tell(f"started:{sub.id}", "subscription_started", at, ids)
        if sub.trial_start is not None:
            self._tell(f"trial_started:{sub.id}:{sub.trial_start}", "trial_started", at, ids)
        if self._paid_customer_left(at):
            self._tell(f"reactivated:{sub.id}", "subscription_reactivated", at, ids)

    def _paid_customer_left(self, at: int) -> bool:
        """Whether a subscription that was more than a trial had ended by then."""
        return any(
            isinstance(one, SubscriptionDeleted)
            and one.at <= at
            and (one.sub.trial_end is None or one.at > one.sub.trial_end)
            for one in self.history.happened
        )

    def _invoice_paid(self, one: InvoicePaid) -> None:
        at, bill, ids = one.at, one.bill, self._of_bill(one.bill, one.at)
        if bill.reason == "subscription_cycle":
            name = "trial_converted" if one.trial_converts else "subscription_renewed"
            self._tell(f"cycle:{bill.id}", name, at, ids)
        if bill.paid > 0:
            key = f"payment:{bill.id}"
            self._money(key, "payment", "payment_succeeded", bill.paid, at, ids)
            if one.failed_before:
                self._tell(f"recovered:{bill.id}", "payment_recovered", at, ids)

    def _refund(self, one: Refunded | RefundFailed) -> None:
        refund, ids = one.refund, self._of_payment(one.payment, one.at)
        if isinstance(one, Refunded):
            key, minor = f"refund:{refund.id}", -refund.amount
            self._money(key, "refund", "refund_created", minor, refund.created, ids)
        else:
            key, minor = f"refund:{refund.id}:reversed", refund.amount
            self._money(key, "refund_reversal", "refund_reversed", minor, one.at, ids)

    def _dispute(self, at: int, how: str, case: Case) -> None:
        ids = self._of_payment(case.payment, at)
        if how == "created":
            self._tell(f"dispute_opened:{case.id}", "dispute_opened", case.opened, ids)
            [taken] = case.moves
            self._move(case, taken, "dispute", "dispute_funds_withdrawn", -case.amount)
        elif how == "funds_reinstated":
            given = case.moves[-1]
            self._move(case, given, "dispute_reversal", "dispute_funds_reinstated", case.amount)
        elif how == "closed":
            self._tell(f"dispute_closed:{case.id}", "dispute_closed", at, ids)

    def _move(self, case: Case, move: BalanceMove, kind: str, name: str, minor: int) -> None:
        key = f"dispute:{case.id}:{move.id}"
        ids = self._of_payment(case.payment, move.created)
        self._money(key, kind, name, minor, move.created, ids)

    # --- telling

    def _money(self, key: str, kind: str, name: str, minor: int, at: int, ids: Whose) -> None:
        self.entries.append(Entry(key, kind, minor, self.currency, at))
        self.events.append(Event(key, name, at, ids, minor, self.currency))

    def _tell(self, key: str, name: str, at: int, ids: Whose) -> None:
        self.events.append(Event(key, name, at, ids))

    # --- whose it is

    def _of(self, made: str, at: int, *, dated: bool = True) -> Whose:
        """The ids of a fact about what a checkout made: the object's own, else the session's."""
        checkout = self.history.made_by[made]
        return self._nearest(at, _on_object(checkout, dated=dated), _on_session(checkout))

    def _of_bill(self, bill: Invoice, at: int) -> Whose:
        """Only a subscription's first invoice says when the visitor was there: a later one's copy
        of the subscription's metadata brings no session id, however soon it comes."""
        first = bill.reason == "subscription_create"
        return self._of(bill.subscription.id, at, dated=first)

    def _of_payment(self, payment: Payment, at: int) -> Whose:
        """A payment is whose invoice it pays; one that pays none was made by a checkout itself."""
        reason = self.reasons.get(payment.invoice or "", "subscription_create")
        return self._of(payment.intent, at, dated=reason == "subscription_create")

    def _nearest(self, at: int, *levels: tuple[Ids, int | None]) -> Whose:
        for ids, moment in levels:
            if ids:
                return _riding(ids, moment, at)
        return self._of_customer(at)

    def _of_customer(self, at: int) -> Whose:
        """The latest that any checkout of the customer said before, else the first one after."""
        statements = [
            (stated, ids, checkout.made_at)
            for checkout in self.history.checkouts
            for stated, ids in _statements(checkout)
            if ids
        ]
        said = sorted(statements, key=lambda one: one[0])
        if not said:
            return (("device_id", f"stripe:{self.history.customer.id}"),)
        earlier = [one for one in said if one[0] <= at]
        _, ids, moment = earlier[-1] if earlier else said[0]
        return _riding(ids, moment, at)


def _on_object(checkout: Checkout, *, dated: bool = True) -> tuple[Ids, int | None]:
    return checkout.on_object, checkout.made_at if dated else None


def _on_session(checkout: Checkout) -> tuple[Ids, int | None]:
    return checkout.on_session, checkout.made_at


def _statements(checkout: Checkout) -> Iterator[tuple[int, Ids]]:
    """When ids were said: on the session as it was opened, on the object as it was made."""
    yield checkout.session.created, checkout.on_session
    yield checkout.made_at, checkout.on_object


def _riding(ids: Ids, moment: int | None, at: int) -> Whose:
    """Session ids ride for a day around the checkout, if it is known when that was."""
    near = moment is not None and abs(at - moment) <= DAY
    found = {
        name: value
        for name, value in ids.items()
        if name not in NOT_IDS and (near or name not in SESSION_IDS)
    }
    return tuple(sorted(found.items()))


def _changes(before: Subscription, sub: Subscription) -> Iterator[str]:
    """What an update of a subscription means; a trial's end and a new period mean nothing yet."""
    if sub.plan != before.plan:
        yield f"subscription_{'upgraded' if sub.yearly > before.yearly else 'downgraded'}"
    elif sub.quantity != before.quantity:
        yield "subscription_quantity_changed"
    if sub.status == "past_due" != before.status:
        yield "subscription_past_due"
    if before.cancel_at is None and sub.cancel_at is not None:
        yield "subscription_cancel_scheduled"
    if before.cancel_at is not None and sub.cancel_at is None:
        yield "subscription_uncancelled"


def monthly(sub: Subscription) -> int:
    """List price a month in minor units, halves up; nothing while on trial or ended."""
    if sub.status not in ("active", "past_due"):
        return 0
    return (2 * sub.yearly + 12) // 24


def movements(history: History) -> Iterator[Movement]:
    """How the customer's MRR moved from clock hour to clock hour."""
    hours: dict[int, list[Subscription]] = defaultdict(list)
    for one in history.happened:
        if isinstance(one, SubscriptionCreated | SubscriptionUpdated | SubscriptionDeleted):
            hours[one.at - one.at % HOUR].append(one.sub)
    worth: dict[str, int] = {}
    ever, last_loss = False, ""
    for hour, states in sorted(hours.items()):
        before = sum(worth.values())
        for sub in states:
            if worth.get(sub.id, 0) and not monthly(sub):
                last_loss = sub.cancel_reason or ""
            worth[sub.id] = monthly(sub)
        after = sum(worth.values())
        if after != before:
            kind = _kind(before, after, ever=ever, failed=last_loss == "payment_failed")
            yield Movement(hour, kind, after - before, history.customer.currency)
        ever = ever or after > 0


def _kind(before: int, after: int, *, ever: bool, failed: bool) -> str:
    if before == 0:
        return "reactivation" if ever else "new"
    if after == 0:
        return "churn_involuntary" if failed else "churn_voluntary"
    return "expansion" if after > before else "contraction"
