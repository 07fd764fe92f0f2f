"""What stays in every later run until a person decides: no command of the report ends it. And what
a single run says, as it ends it itself."""

from dataclasses import replace

from app.demo.books import stripe_id
from app.demo.invoices import invoice
from app.demo.life import DAY
from tests.month.books import HOME, Books
from tests.month.planted import (
    CHARGEABLE,
    NEWEST,
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


def changed_behind_the_triggers(books: Books, planted: Planted) -> None:
    """By somebody who may switch them off: every destination was told another amount."""
    payment = paid_by(books.renews("usd", books.at(14)))
    minor, key = payment.amount + 7, key_of(payment)
    statement = "UPDATE revenue_entries SET minor = minor + 7 WHERE key = :key"
    planted.corrupt.append(lambda bench: bench.sql(statement, key=key))
    finding = (key, "amount_difference", "unknown", "usd", payment.amount, minor)
    planted.lasting.append(finding)


def booked_out_of_nothing(books: Books, planted: Planted) -> None:
    """A webhook of an invoice that Stripe has nothing of: of a test that was signed, say."""
    at = books.at(19)
    life = books.subscribes("eur", at - 31 * DAY, NEWEST)
    bill = life.ledger.cycle(life.subscription, stripe_id(books.rng, "in_1", 23), at, 0)
    body = invoice(replace(bill, paid_at=at, payment=None))
    told = books.say(life.customer, "invoice.paid", body, at).envelope()
    planted.corrupt.append(lambda bench: bench.hears_of(told))
    finding = (f"payment:{bill.id}", "missing_in_stripe", "unknown", "eur", None, bill.due)
    planted.lasting.append(finding)


def a_category_of_next_year(books: Books, planted: Planted) -> None:
    txn = stripe_id(books.rng, "txn_1", 23)
    books.move(txn, None, 700, HOME, "stablecoin_yield", books.at(19))
    planted.lasting.append((txn, "out_of_scope", "unknown_category", HOME, 700, None))


def known_with_another_fee(books: Books, planted: Planted) -> None:
    """By a report that somebody has edited: the run that reads it sees nothing, the next one does,
    and puts it right."""
    payment = paid_by(books.renews("usd", books.at(20)))
    txn = books.transactions["txn_" + payment.charge[3:]]
    line = line_of(books, txn | {"fee": txn["fee"] + 7, "net": txn["net"] - 7})
    planted.fees[txn["id"]] = {name: line[name] for name in ("fee", "net")}
    name = (key_of(payment), "fee_difference", "changed", "usd")
    planted.to_a_file[name[0]] = ("matched", "")
    planted.once.append((*name, payment.amount, payment.amount))


LASTING = (
    *(told_after_the_close, changed_behind_the_triggers, booked_out_of_nothing),
    a_category_of_next_year,
)
ONCE = (known_with_another_fee,)
