"""Defects that the next steps of the report repair: what never came, was not read, or not taken."""

from dataclasses import replace

from app.demo.life import DAY
from tests.month.books import Books
from tests.month.planted import (
    NEWEST,
    Planted,
    key_of,
    last_told,
    no_event,
    paid_by,
    since,
)


def payments_nobody_told_of(books: Books, planted: Planted) -> None:
    """One of the month's first day, which Stripe's event list has no more, and one of its last."""
    for currency, at in (("eur", books.at(0)), ("jpy", books.at(books.days - 1))):
        payment = paid_by(books.renews(currency, at))
        planted.withheld |= last_told(books)
        planted.mendable.append(no_event(payment.charge, currency, payment.amount))


def a_payment_of_an_old_invoice(books: Books, planted: Planted) -> None:
    """Its invoice is of three days before: the first attempt to collect it failed."""
    start = books.at(2)
    life = books.subscribes("usd", start - 31 * DAY)
    life.sub = replace(life.subscription, period_end=start)
    for moment in life.failing_renewal(1, recovers=True):
        books.tell(moment)
    payment = paid_by(life)
    books.charged(payment)
    told = [one for one in books.emissions[-5:] if one.created == payment.created]
    planted.withheld |= {one.id for one in told if not one.type.startswith("customer.")}
    planted.mendable.append(no_event(payment.charge, "usd", payment.amount))


def a_refund_nobody_told_of(books: Books, planted: Planted) -> None:
    life = books.renews("usd", books.at(3))
    kinds = ("refund.created", "refund.updated", "charge.refunded")
    planted.withheld |= since(books, lambda: books.gives_back(life, books.at(5), 700), *kinds)
    planted.mendable.append(no_event(paid_by(life).refunds[-1].id, "usd", -700))


def a_refund_that_came_back_silently(books: Books, planted: Planted) -> None:
    """The refund was told, and days later not that it failed."""
    life = books.buys("eur", books.at(2, 9))
    act = lambda: books.gives_back_in_vain(life, books.at(3), failed=books.at(9))  # noqa: E731
    planted.withheld |= since(books, act, "refund.failed")
    given = paid_by(life).refunds[-1]
    planted.mendable.append(no_event(given.id, "eur", given.amount))


def a_dispute_won_silently(books: Books, planted: Planted) -> None:
    """Its loss was told, and a week later not that it was won."""
    life = books.buys("usd", books.at(1, 9))
    act = lambda: books.disputed(life, books.at(2), won=books.at(9))  # noqa: E731
    kinds = ("charge.dispute.funds_reinstated", "charge.dispute.closed")
    planted.withheld |= since(books, act, *kinds)
    case = books.emissions[-1].object["id"]
    planted.mendable.append(no_event(case, "usd", paid_by(life).amount))


def a_payment_that_could_not_be_read(books: Books, planted: Planted) -> None:
    payment = paid_by(books.renews("eur", books.at(6)))
    planted.broken.add(payment.invoice or "")
    finding = (payment.charge, "missing_in_ledger", "event_failed", "eur", payment.amount, None)
    planted.mendable.append(finding)


def a_payment_nobody_claims(books: Books, planted: Planted) -> None:
    """The webhook of its Checkout Session never came."""
    act = lambda: books.buys("usd", books.at(books.days - 2), NEWEST)  # noqa: E731
    planted.withheld |= since(books, act, "checkout.session.completed")
    charge = books.emissions[-2].object
    finding = (charge["latest_charge"], "unattributed", "", "usd", charge["amount"], None)
    planted.mendable.append(finding)


def a_delivery_that_was_refused(books: Books, planted: Planted) -> None:
    """Nothing is wrong between Stripe and the ledger: the second leg says it."""
    planted.refused.add(key_of(paid_by(books.renews("usd", books.at(7)))))


MENDABLE = (
    *(payments_nobody_told_of, a_payment_of_an_old_invoice, a_refund_nobody_told_of),
    *(a_refund_that_came_back_silently, a_dispute_won_silently, a_payment_that_could_not_be_read),
    *(a_payment_nobody_claims, a_delivery_that_was_refused),
)
