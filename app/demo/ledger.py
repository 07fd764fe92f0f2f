"""One customer's invoices, payments and refunds, and the webhooks that tell of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from app.demo.books import (
    BASIL,
    Invoice,
    Line,
    Payment,
    Plan,
    Refund,
    Subscription,
    portion,
    stripe_id,
)
from app.demo.envelopes import Emission, previous_attributes
from app.demo.invoices import invoice
from app.demo.payments import charge, invoice_payment, payment_intent, refund
from app.demo.telling import Teller


class Ledger:
    """Bills a customer. `payments` holds what was paid, the latest last."""

    def __init__(self, teller: Teller) -> None:
        self.teller = teller
        self.customer = teller.customer
        self.rng = teller.rng
        self.payments: list[Payment] = []
        self.bills = 0

    def first(self, sub: Subscription, at: int) -> Invoice:
        """The invoice a subscription begins with: of nothing, when it begins with a trial."""
        amount = 0 if sub.trial_end else sub.plan.amount * sub.quantity
        line = self._line(sub.plan, sub.quantity, amount, sub.period_start, sub.period_end)
        return self._bill(sub, [line], "subscription_create", at)

    def cycle(self, sub: Subscription, bill_id: str, at: int, credit: int) -> Invoice:
        """The invoice of a new period, less what customer balance there is."""
        amount = sub.plan.amount * sub.quantity
        line = self._line(sub.plan, sub.quantity, amount, sub.period_start, sub.period_end)
        bill = self._bill(sub, [line], "subscription_cycle", at, credit)
        return replace(bill, id=bill_id)

    def prorated(self, before: Subscription, after: Subscription, at: int) -> Invoice:
        """The difference of two plans for the rest of the period, billed at once."""
        left, whole = after.period_end - at, after.period_end - after.period_start
        lines = [
            self._line(
                sub.plan,
                sub.quantity,
                sign * portion(sub.plan.amount * sub.quantity, left, whole),
                at,
                after.period_end,
                stripe_id(self.rng, "ii_1", 23),
            )
            for sign, sub in ((-1, before), (1, after))
        ]
        return self._bill(after, lines, "subscription_update", at)

    def _line(
        self,
        plan: Plan,
        quantity: int,
        amount: int,
        start: int,
        end: int,
        proration: str | None = None,
    ) -> Line:
        coupon = self.customer.coupon
        discount = portion(amount, coupon.percent, 100) if coupon else 0
        return Line(
            id=stripe_id(self.rng, "il_1", 23),
            plan=plan,
            quantity=quantity,
            amount=amount,
            start=start,
            end=end,
            proration=proration,
            discount=discount,
            tax=portion(amount - discount, self.customer.tax_basis_points, 10_000),
        )

    def _bill(
        self, sub: Subscription, lines: Sequence[Line], reason: str, at: int, credit: int = 0
    ) -> Invoice:
        self.bills += 1
        bill = Invoice(
            id=stripe_id(self.rng, "in_1", 23),
            number=f"DEMO{self.customer.number:04d}-{self.bills:04d}",
            subscription=sub,
            lines=tuple(lines),
            reason=reason,
            created=at,
            credit=credit,
        )
        return replace(bill, payment=self.payment(bill.due, at) if bill.due else None)

    def payment(self, amount: int, at: int) -> Payment:
        """A payment of the customer's; of an invoice only once it is settled."""
        return Payment(
            intent=stripe_id(self.rng, "pi_3", 23),
            charge=stripe_id(self.rng, "ch_3", 23),
            customer=self.customer,
            amount=amount,
            currency=self.customer.currency,
            created=at,
        )

    def failed(self, bill: Invoice) -> Emission:
        """An attempt to collect an invoice failed."""
        return self.teller.emit("invoice.payment_failed", invoice(bill))

    def settle(self, bill: Invoice) -> tuple[Invoice, list[Emission]]:
        """The invoice is paid now; every event that Stripe sends for it."""
        at = self.teller.clock
        paid = replace(bill, paid_at=at, attempts=bill.attempts + 1, next_attempt=None)
        emissions = []
        if bill.payment:
            payment = replace(bill.payment, invoice=bill.id, created=at)
            paid = replace(paid, payment=payment)
            self.payments.append(payment)
            emissions += self._cash(payment)
        else:
            paid = replace(paid, attempts=0)
        told = invoice(paid)
        emissions.append(self.teller.emit("invoice.paid", told))
        emissions.append(self.teller.emit("invoice.payment_succeeded", told))
        return paid, emissions

    def _cash(self, payment: Payment) -> list[Emission]:
        emissions = [self.teller.emit("payment_intent.succeeded", payment_intent(payment))]
        if self.customer.speaks(BASIL):
            link = invoice_payment(payment, stripe_id(self.rng, "inpay_1", 23))
            emissions.append(self.teller.emit("invoice_payment.paid", link))
        return emissions

    def give_back(self, amount: int | None) -> tuple[list[Emission], int]:
        """Refund the last payment: this much, or all that is left. Some refunds pend first."""
        before = self.payments.pop()
        status: Literal["pending", "succeeded"] = (
            "pending" if self.rng.random() < 0.3 else "succeeded"
        )
        given = Refund(
            id=stripe_id(self.rng, "re_3", 23),
            amount=amount or before.amount - before.refunded,
            created=self.teller.clock,
            status=status,
        )
        after = replace(before, refunds=(*before.refunds, given))
        self.payments.append(after)
        return self._refunded(before, after), given.amount

    def _refunded(self, before: Payment, after: Payment) -> list[Emission]:
        emit, given = self.teller.emit, after.refunds[-1]
        previous = previous_attributes(charge(before), charge(after))
        emissions = [
            emit("refund.created", refund(after, given), asked=True),
            emit("charge.refunded", charge(after), previous, asked=True),
        ]
        if given.status == "pending":
            settled = refund(after, replace(given, status="succeeded"))
            emissions.append(emit("refund.updated", settled, {"status": "pending"}))
        return emissions
