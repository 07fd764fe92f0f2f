"""What looks odd in a month and is no error."""

from dataclasses import replace

from app.demo.books import Invoice, Payment, stripe_id
from app.demo.invoices import invoice
from app.demo.life import DAY, HOUR
from app.demo.payments import invoice_payment, payment_intent
from tests.month.books import HOME, Books
from tests.month.planted import (
    BEFORE_BASIL,
    NEWEST,
    Planted,
    key_of,
    paid_by,
)


def payouts_and_fees(books: Books, planted: Planted) -> None:
    *payouts, fee = books.noise()
    for txn in payouts:
        amount = books.transactions[txn]["amount"]
        planted.explained.append((txn, "out_of_scope", "payout", HOME, amount, None))
    finding = (fee, "missing_in_ledger", "not_event_driven", HOME, -12_34, None)
    planted.explained.append(finding)


def paid_at_midnight(books: Books, planted: Planted) -> None:
    """Two seconds before the month's end, and of the month before: settled on the next day."""
    end, start = books.at(books.days, 0), books.at(0, 0)
    last = paid_by(books.buys("usd", end - 2, settles=end + 1))
    first = paid_by(books.buys("eur", start - 2, settles=start + 1))
    name = ("period_timezone", "another_period")
    # The file ends before it: whoever adds two days sees it.
    planted.to_a_file[key_of(last)] = ("missing_in_stripe", "after_cutoff")
    planted.explained += [
        (key_of(last), *name, "usd", None, last.amount),
        (key_of(first), *name, "eur", first.amount, None),
    ]


def paid_by_bank_transfer(books: Books, planted: Planted) -> None:
    """Outside of Stripe: the invoice says so, or since basil a payment record does; or nothing but
    that no payment is of Stripe."""
    for currency, version, flags, recorded in (
        ("eur", BEFORE_BASIL, {"paid_out_of_band": True, "amount_paid": 0}, False),
        ("eur", NEWEST, {}, True),
        ("usd", NEWEST, {}, False),
    ):
        bill = _billed(books, currency, books.at(8), version)
        who = bill.subscription.customer
        paid = invoice(replace(bill, paid_at=books.at(12), payment=None)) | flags
        books.emissions.append(books.say(who, "invoice.paid", paid, books.at(12)))
        if recorded:
            link = invoice_payment(_payment(books, bill, books.at(12), bill.due), "inpay_outside")
            link["payment"] = {"type": "payment_record", "payment_record": "pr_outside"}
            books.emissions.append(books.say(who, "invoice_payment.paid", link, books.at(12)))
        finding = (f"payment:{bill.id}", "missing_in_stripe", "out_of_band", currency, None)
        planted.explained.append((*finding, bill.due))
    # Of the last only Stripe itself says so: without an API key it is a payment that is not there.
    planted.to_a_file[f"payment:{bill.id}"] = ("missing_in_stripe", "unknown")


def partly_paid(books: Books, planted: Planted) -> None:
    """A third of an invoice that is still open."""
    bill = _billed(books, "usd", books.at(9), NEWEST)
    payment = _payment(books, bill, books.at(10), bill.due // 3)
    books.charged(payment)
    _tell_payment(books, payment)
    finding = (payment.charge, "partial_payment", "open_invoice", "usd", payment.amount, None)
    planted.explained.append(finding)


EXPLAINED = (payouts_and_fees, paid_at_midnight, paid_by_bank_transfer, partly_paid)


def _billed(books: Books, currency: str, at: int, version: str) -> Invoice:
    """An open invoice of somebody who subscribed a month before."""
    life = books.subscribes(currency, at - 31 * DAY, version)
    bill = life.ledger.cycle(life.subscription, stripe_id(books.rng, "in_1", 23), at, 0)
    bill = replace(bill, payment=None)
    told = invoice(bill)
    books.emissions.append(books.say(life.customer, "invoice.finalized", told, at + HOUR))
    return bill


def _payment(books: Books, bill: Invoice, at: int, amount: int) -> Payment:
    return Payment(
        intent=stripe_id(books.rng, "pi_3", 23),
        charge=stripe_id(books.rng, "ch_3", 23),
        customer=bill.subscription.customer,
        amount=amount,
        currency=bill.subscription.customer.currency,
        created=at,
        invoice=bill.id,
    )


def _tell_payment(books: Books, payment: Payment) -> None:
    link = invoice_payment(payment, stripe_id(books.rng, "inpay_1", 23))
    for kind, body in (
        ("payment_intent.succeeded", payment_intent(payment)),
        ("invoice_payment.paid", link),
    ):
        books.emissions.append(books.say(payment.customer, kind, body, payment.created))
