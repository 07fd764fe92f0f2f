"""What stays in every later run: the ledger never changes an entry."""

from collections.abc import Callable
from dataclasses import replace

from app.demo.books import stripe_id
from app.demo.checkout import buy_once
from app.demo.invoices import invoice
from app.demo.payments import invoice_payment
from tests.books import book, entry
from tests.month.books import HOME, RATES, Books, settled
from tests.month.planted import (
    CHARGEABLE,
    NEWEST,
    Corrupt,
    Planted,
    key_of,
    paid_by,
    since,
)
from tests.month.report import line_of


def told_after_the_close(books: Books, planted: Planted) -> None:
    """Explained, and it lasts: the next month has it."""
    act = lambda: books.buys("eur", books.at(11))  # noqa: E731
    planted.late |= since(books, act, *CHARGEABLE)
    made = [one.object for one in books.emissions[-2:] if one.type == "payment_intent.succeeded"]
    amount, key = made[0]["amount"], f"payment:{made[0]['id']}"
    finding = (key, "late_adjustment", "closed_period", "eur", amount, amount)
    planted.explained.append(finding)


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
    planted.lasting.append((*finding, payment.amount))


def booked_in_another_unit(books: Books, planted: Planted) -> None:
    _falsified(books, planted, "eur", 13, "unit_scale", lambda minor, _: minor * 100)


def booked_without_tax(books: Books, planted: Planted) -> None:
    _falsified(books, planted, "usd", 14, "tax_in_or_out", lambda minor, tax: minor - tax)


def booked_with_the_other_sign(books: Books, planted: Planted) -> None:
    life = books.renews("jpy", books.at(15))
    given = books.gives_back(life, books.at(16), 500)
    key = f"refund:{given.id}"
    planted.corrupt.append(_update(key, "minor = -minor"))
    planted.lasting.append((key, "amount_difference", "sign", "jpy", -500, 500))


def booked_as_it_settled(books: Books, planted: Planted) -> None:
    """The dollars of the balance instead of the customer's euros."""
    payment = paid_by(books.renews("eur", books.at(17)))
    key, cents = key_of(payment), settled(payment.amount, "eur", RATES)
    planted.corrupt.append(_update(key, f"minor = {cents}, currency = '{HOME}'"))
    name = (key, "currency_difference", "settled_amount")
    planted.lasting += [
        (*name, "eur", payment.amount, None),
        (*name, HOME, None, cents),
    ]


def booked_out_of_nothing(books: Books, planted: Planted) -> None:
    """No code of ours makes it, and Stripe has nothing of the kind."""
    key = f"payment:in_{stripe_id(books.rng, '', 20)}"
    made = entry(key, books.start.replace(day=19), minor=4321, currency="eur", invoice=key[8:])
    planted.corrupt.append(lambda bench: book(bench.engine, made))
    planted.lasting.append((key, "missing_in_stripe", "unknown", "eur", None, 4321))


def a_category_of_next_year(books: Books, planted: Planted) -> None:
    txn = stripe_id(books.rng, "txn_1", 23)
    books.move(txn, None, 700, HOME, "stablecoin_yield", books.at(19))
    planted.lasting.append((txn, "out_of_scope", "unknown_category", HOME, 700, None))


def known_with_another_fee(books: Books, planted: Planted) -> None:
    """By a report that somebody has edited: the run that reads it sees nothing, later ones do."""
    payment = paid_by(books.renews("usd", books.at(20)))
    txn = books.transactions["txn_" + payment.charge[3:]]
    line = line_of(books, txn | {"fee": txn["fee"] + 7, "net": txn["net"] - 7})
    planted.fees[txn["id"]] = {name: line[name] for name in ("fee", "net")}
    name = (key_of(payment), "fee_difference", "changed", "usd")
    planted.to_a_file[name[0]] = ("matched", "")
    planted.lasting.append((*name, payment.amount, payment.amount))


LASTING = (
    *(told_after_the_close, put_on_an_invoice_later, booked_in_another_unit, booked_without_tax),
    *(booked_with_the_other_sign, booked_as_it_settled, booked_out_of_nothing),
    *(a_category_of_next_year, known_with_another_fee),
)


def _falsified(
    books: Books,
    planted: Planted,
    currency: str,
    day: int,
    reason: str,
    wrong: Callable[[int, int], int],
) -> None:
    """An entry of a renewal with another amount; `wrong` is of it and its tax."""
    payment = paid_by(books.renews(currency, books.at(day), taxed=True))
    tax = payment.amount - round(payment.amount / 1.19)
    minor, key = wrong(payment.amount, tax), key_of(payment)
    planted.corrupt.append(_update(key, f"minor = {minor}"))
    finding = (key, "amount_difference", reason, currency, payment.amount, minor)
    planted.lasting.append(finding)


def _update(key: str, change: str) -> Corrupt:
    statement = f"UPDATE revenue_entries SET {change} WHERE key = :key"
    return lambda bench: bench.sql(statement, key=key)
