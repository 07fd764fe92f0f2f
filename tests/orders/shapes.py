"""The webhooks that Stripe sends for a history, every announcer of every payment among them.

Objects are the simulated SaaS's, in the customer's API version; what it lacks is written here.
"""

from collections.abc import Iterator
from dataclasses import replace

from app.demo import invoices
from app.demo.books import BASIL, DAHLIA, Json, Payment, Refund, Subscription
from app.demo.envelopes import Emission, previous_attributes
from app.demo.invoices import invoice
from app.demo.objects import customer, subscription
from app.demo.payments import charge, invoice_payment, payment_intent, refund
from app.demo.sessions import checkout_session
from tests.orders.history import (
    BalanceMove,
    Case,
    CustomerCreated,
    DisputeMoved,
    Happening,
    History,
    InvoiceFinalized,
    InvoicePaid,
    PaymentFailed,
    PaymentMade,
    Refunded,
    RefundFailed,
    RefundSettled,
    SessionCompleted,
    SubscriptionCreated,
    SubscriptionDeleted,
    SubscriptionUpdated,
    TrialWillEnd,
)

# The simulated SaaS sells in three currencies, these lives in six; the sign is only in a text.
invoices.SYMBOLS.update(kwd="KWD ", ugx="UGX ", isk="ISK ")

Said = tuple[str, Json, Json | None]  # type, object, previous_attributes


def webhooks(history: History, account: str) -> list[Emission]:
    """In the order of the story."""
    said = [(one.at, each) for one in history.happened for each in _said(one)]
    owner = history.customer
    return [
        Emission(
            id=f"evt_{number}",
            type=kind,
            created=at,
            version=owner.version,
            livemode=owner.livemode,
            object=body,
            previous=previous,
            account=account,
        )
        for number, (at, (kind, body, previous)) in enumerate(said, start=1)
    ]


def _said(one: Happening) -> Iterator[Said]:
    match one:
        case CustomerCreated(_, owner):
            yield "customer.created", customer(owner), None
        case SessionCompleted(_, session):
            yield "checkout.session.completed", checkout_session(session), None
        case SubscriptionCreated() | SubscriptionUpdated() | SubscriptionDeleted() | TrialWillEnd():
            yield from _subscription(one)
        case InvoiceFinalized() | InvoicePaid() | PaymentMade() | PaymentFailed():
            yield from _payment(one)
        case Refunded() | RefundSettled() | RefundFailed():
            yield from _refund(one)
        case DisputeMoved(_, how, case):
            yield f"charge.dispute.{how}", dispute(case), None


def _subscription(
    one: SubscriptionCreated | SubscriptionUpdated | SubscriptionDeleted | TrialWillEnd,
) -> Iterator[Said]:
    match one:
        case SubscriptionCreated(_, sub):
            yield from _created(sub)
        case SubscriptionUpdated(_, before, sub):
            yield _updated(before, sub)
        case SubscriptionDeleted(_, sub):
            yield "customer.subscription.deleted", subscription(sub), None
        case TrialWillEnd(_, sub):
            yield "customer.subscription.trial_will_end", subscription(sub), None


def _payment(
    one: InvoiceFinalized | InvoicePaid | PaymentMade | PaymentFailed,
) -> Iterator[Said]:
    match one:
        case InvoiceFinalized(_, bill):
            yield "invoice.finalized", invoice(replace(bill, payment=None)), None
        case InvoicePaid(_, bill):
            told = invoice(bill)
            yield "invoice.paid", told, None
            yield "invoice.payment_succeeded", told, None
        case PaymentMade(_, payment):
            yield from _paid(payment)
        case PaymentFailed(_, bill, attempt):
            yield "payment_intent.payment_failed", _failed_intent(attempt), None
            yield "charge.failed", _failed_charge(attempt), None
            yield "invoice.payment_failed", invoice(bill), None


def _refund(one: Refunded | RefundSettled | RefundFailed) -> Iterator[Said]:
    match one:
        case Refunded(_, before, payment, given):
            yield "refund.created", refund(payment, given), None
            now = charge(payment)
            yield "charge.refunded", now, previous_attributes(charge(before), now)
        case RefundSettled(_, payment, given):
            settled = refund(payment, given)
            yield "refund.updated", settled, {"status": "pending"}
            yield "charge.refund.updated", settled, {"status": "pending"}
        case RefundFailed(_, before, payment, given):
            yield from _refund_failed(before, payment, given)


def _created(sub: Subscription) -> Iterator[Said]:
    """Before basil a subscription is there, incomplete, before its first payment."""
    if sub.status == "trialing" or sub.customer.speaks(BASIL):
        yield "customer.subscription.created", subscription(sub), None
        return
    waiting = replace(sub, status="incomplete")
    yield "customer.subscription.created", subscription(waiting), None
    yield _updated(waiting, sub)


def _updated(before: Subscription, sub: Subscription) -> Said:
    now = subscription(sub)
    return "customer.subscription.updated", now, previous_attributes(subscription(before), now)


def _paid(payment: Payment) -> Iterator[Said]:
    yield "payment_intent.succeeded", payment_intent(payment), None
    yield "charge.succeeded", charge(payment), None
    if payment.invoice and payment.customer.speaks(BASIL):
        link = invoice_payment(payment, "inpay" + payment.charge[2:])
        yield "invoice_payment.paid", link, None


def _failed_intent(attempt: Payment) -> Json:
    declined = {"status": "requires_payment_method", "amount_received": 0}
    return payment_intent(attempt) | declined


def _failed_charge(attempt: Payment) -> Json:
    return charge(attempt) | {
        "amount_captured": 0,
        "balance_transaction": None,
        "captured": False,
        "failure_code": "card_declined",
        "failure_message": "Your card was declined.",
        "paid": False,
        "status": "failed",
    }


def _refund_failed(before: Payment, payment: Payment, given: Refund) -> Iterator[Said]:
    failed = refund(payment, given) | {
        "failure_balance_transaction": f"txn_{given.id}_failed",
        "failure_reason": "expired_or_canceled_card",
        "status": "failed",
    }
    previous: Json = {"status": given.status}
    yield "refund.failed", failed, None
    yield "refund.updated", failed, previous
    yield "charge.refund.updated", failed, previous
    now = charge(payment)
    yield "charge.updated", now, previous_attributes(charge(before), now)


def dispute(case: Case) -> Json:
    """A card dispute: https://docs.stripe.com/api/disputes/object"""
    payment = case.payment
    later: Json = {"enhanced_eligibility_types": []} if payment.customer.speaks(BASIL) else {}
    return {
        "id": case.id,
        "object": "dispute",
        "amount": case.amount,
        "balance_transactions": [_balance_transaction(case, move) for move in case.moves],
        "charge": payment.charge,
        "created": case.opened,
        "currency": payment.currency,
        "evidence": {"customer_name": None, "receipt": None, "uncategorized_text": None},
        "evidence_details": {
            "due_by": case.opened + 7 * 86_400,
            "has_evidence": case.status != "needs_response",
            "past_due": False,
            "submission_count": int(case.status != "needs_response"),
        },
        "is_charge_refundable": False,
        "livemode": payment.customer.livemode,
        "metadata": {},
        "payment_intent": payment.intent,
        "payment_method_details": {
            "card": {"brand": "visa", "case_type": "chargeback", "network_reason_code": "10.4"},
            "type": "card",
        },
        "reason": "fraudulent",
        "status": case.status,
        **later,
    }


def _balance_transaction(case: Case, move: BalanceMove) -> Json:
    withdrawn = move.minor < 0
    same = move.currency == case.payment.currency
    fee = 1_500 if withdrawn else 0
    return {
        "id": move.id,
        "object": "balance_transaction",
        "amount": move.minor,
        "available_on": move.created,
        "created": move.created,
        "currency": move.currency,
        "description": f"Chargeback {'withdrawal' if withdrawn else 'reversal'}",
        "exchange_rate": None if same else 1.4,
        "fee": fee,
        "fee_details": [
            {
                "amount": fee,
                "application": None,
                "currency": move.currency,
                "description": "Dispute fee",
                "type": "stripe_fee",
            }
        ][: int(withdrawn)],
        "net": move.minor - fee,
        "reporting_category": "dispute" if withdrawn else "dispute_reversal",
        "source": case.id,
        "status": "available",
        "type": "adjustment",
        **({"balance_type": "payments"} if case.payment.customer.speaks(DAHLIA) else {}),
    }
