"""Entries that are wrong, as they come about: the commands of the report put them right."""

from collections.abc import Callable
from dataclasses import replace

from app.core.facts import Entry
from app.core.money import Money
from app.demo.books import stripe_id
from app.demo.checkout import buy_once
from app.demo.invoices import invoice
from app.demo.payments import invoice_payment
from tests.month.books import HOME, RATES, Books, settled
from tests.month.planted import NEWEST, Planted, key_of, paid_by


def put_on_an_invoice_later(books: Books, planted: Planted) -> None:
    """A one-off payment of a Checkout, booked by itself, that somebody then attaches to an invoice:
    Stripe allows it (https://docs.stripe.com/api/invoices/attach_payment)."""
    life = books.subscribes("usd", books.at(4), NEWEST)
    life.clock = books.at(5)
    bill = life.ledger.cycle(life.subscription, stripe_id(books.rng, "in_1", 23), life.clock, 0)
    books.tell(buy_once(life, bill.due))
    payment = paid_by(life)
    books.charged(payment)
    attached = replace(payment, invoice=bill.id)
    link = invoice_payment(attached, stripe_id(books.rng, "inpay_1", 23))
    at = books.at(6)
    paid = invoice(replace(bill, paid_at=at, payment=attached))
    for kind, body in (("invoice_payment.paid", link), ("invoice.paid", paid)):
        books.emissions.append(books.say(life.customer, kind, body, at))
        planted.next_day.add(books.emissions[-1].id)
    finding = (f"payment:{payment.intent}", "duplicate_in_ledger", "payment", "usd", None)
    planted.correctable.append((*finding, payment.amount))


def booked_in_another_unit(books: Books, planted: Planted) -> None:
    def wrong(entry: Entry) -> Entry:
        minor, tax = entry.money.minor * 100, (entry.tax_minor or 0) * 100
        return replace(entry, money=Money(minor, entry.money.currency), tax_minor=tax)

    _misread(books, planted, "eur", 13, "unit_scale", lambda minor, _: minor * 100, wrong)


def booked_without_tax(books: Books, planted: Planted) -> None:
    def wrong(entry: Entry) -> Entry:
        minor = entry.money.minor - (entry.tax_minor or 0)
        return replace(entry, money=Money(minor, entry.money.currency))

    _misread(books, planted, "usd", 14, "tax_in_or_out", lambda minor, tax: minor - tax, wrong)


def booked_with_the_other_sign(books: Books, planted: Planted) -> None:
    life = books.renews("jpy", books.at(15))
    key = f"refund:{books.gives_back(life, books.at(16), 500).id}"
    planted.misread[key] = lambda entry: replace(entry, money=-entry.money)
    planted.correctable.append((key, "amount_difference", "sign", "jpy", -500, 500))


def booked_as_it_settled(books: Books, planted: Planted) -> None:
    """The dollars of the balance instead of the customer's euros."""
    payment = paid_by(books.renews("eur", books.at(17)))
    key, cents = key_of(payment), settled(payment.amount, "eur", RATES)
    planted.misread[key] = lambda entry: replace(entry, money=Money(cents, HOME))
    name = (key, "currency_difference", "settled_amount")
    planted.correctable += [
        (*name, "eur", payment.amount, None),
        (*name, HOME, None, cents),
    ]


CORRECTABLE = (
    *(put_on_an_invoice_later, booked_in_another_unit, booked_without_tax),
    *(booked_with_the_other_sign, booked_as_it_settled),
)


def _misread(
    books: Books,
    planted: Planted,
    currency: str,
    day: int,
    reason: str,
    booked: Callable[[int, int], int],
    wrong: Callable[[Entry], Entry],
) -> None:
    """A renewal that is booked with another amount, and told so; `booked` is of it and its tax."""
    payment = paid_by(books.renews(currency, books.at(day), taxed=True))
    tax = payment.amount - round(payment.amount / 1.19)
    planted.misread[key_of(payment)] = wrong
    minor = booked(payment.amount, tax)
    finding = (key_of(payment), "amount_difference", reason, currency, payment.amount, minor)
    planted.correctable.append(finding)
