"""What a customer does in Checkout: start a subscription, or buy something once."""

from collections.abc import Mapping
from dataclasses import replace

from app.demo.books import BASIL, Customer, Invoice, Plan, Subscription, stripe_id
from app.demo.envelopes import Emission
from app.demo.life import DAY, Life
from app.demo.objects import subscription as subscription_json
from app.demo.payments import payment_intent
from app.demo.sessions import Session, checkout_metadata, checkout_session
from app.demo.telling import Moment, Teller


def sign_up(life: Life, plan: Plan, quantity: int = 1, trial_days: int = 0) -> Moment:
    """A subscription, with or without a trial; again, if an earlier one ended."""
    start = life.clock = life.clock + 60
    metadata = checkout_metadata(life.customer.visitor, start)
    sub = _subscription(life, plan, quantity, trial_days, metadata)
    bill = life.ledger.first(sub, start)
    sub = life.sub = replace(sub, latest_invoice=bill.id)
    life.clock += 2
    paid, money = life.ledger.settle(replace(bill, subscription=sub))
    emissions = [*_born(life.teller, sub, start), *money]
    life.clock += 1
    emissions.append(_completed(life, _subscribing(life, paid, metadata)))
    facts = ["checkout_completed", "subscription_started"]
    facts += ["trial_started"] if trial_days else []
    facts += ["subscription_reactivated"] if life.ended else []
    facts += ["payment_succeeded"] if paid.paid else []
    return life.teller.moment(emissions, facts, paid.paid)


def buy_once(life: Life, amount: int, guest: bool = False) -> Moment:
    """A one-off payment: no invoice, no subscription, and for a guest no customer."""
    life.clock += 60
    customer = life.customer
    metadata = checkout_metadata(customer.visitor, life.clock)
    payment = replace(
        life.ledger.payment(amount, life.clock),
        guest=guest,
        metadata=_travelling(customer, metadata),
    )
    life.ledger.payments.append(payment)
    paid = life.teller.emit("payment_intent.succeeded", payment_intent(payment))
    session = Session(
        id=_session_id(life),
        customer=customer,
        created=life.clock - 120,
        mode="payment",
        subtotal=amount,
        intent=payment.intent,
        guest=guest,
        metadata=metadata,
    )
    life.clock += 2
    facts = ["checkout_completed", "payment_succeeded"]
    return life.teller.moment([paid, _completed(life, session)], facts, amount)


def _subscription(
    life: Life, plan: Plan, quantity: int, trial_days: int, metadata: Mapping[str, str]
) -> Subscription:
    start = life.clock
    trial_end = start + trial_days * DAY if trial_days else None
    return Subscription(
        id=stripe_id(life.rng, "sub_1", 23),
        item=stripe_id(life.rng, "si_", 14),
        discount=stripe_id(life.rng, "di_1", 23),
        customer=life.customer,
        plan=plan,
        quantity=quantity,
        status="trialing" if trial_days else "active",
        created=start,
        period_start=start,
        period_end=trial_end or plan.after(start),
        trial_start=start if trial_days else None,
        trial_end=trial_end,
        metadata=_travelling(life.customer, metadata),
    )


def _travelling(customer: Customer, metadata: Mapping[str, str]) -> Mapping[str, str]:
    """Session metadata reaches nothing else unless the checkout page says it twice."""
    visitor = customer.visitor
    return metadata if visitor and visitor.reach == "everything" else {}


def _born(teller: Teller, sub: Subscription, start: int) -> list[Emission]:
    """Before basil a subscription is there, incomplete, before its first payment."""
    created = "customer.subscription.created"
    if sub.trial_end or teller.customer.speaks(BASIL):
        return [teller.emit(created, subscription_json(sub))]
    waiting = replace(sub, status="incomplete")
    first = teller.emit(created, subscription_json(waiting), at=start)
    return [first, teller.updated(waiting, sub)]


def _subscribing(life: Life, paid: Invoice, metadata: Mapping[str, str]) -> Session:
    return Session(
        id=_session_id(life),
        customer=life.customer,
        created=paid.created - 120,
        mode="subscription",
        subtotal=paid.subtotal,
        discount=paid.discount,
        tax=paid.tax,
        subscription=paid.subscription.id,
        invoice=paid.id,
        metadata=metadata,
    )


def _session_id(life: Life) -> str:
    return stripe_id(life.rng, "cs_live_a1" if life.customer.livemode else "cs_test_a1", 56)


def _completed(life: Life, session: Session) -> Emission:
    return life.teller.emit("checkout.session.completed", checkout_session(session))
