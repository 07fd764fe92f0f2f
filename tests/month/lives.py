"""Who lives in a month without a defect."""

from collections.abc import Iterator
from datetime import date, timedelta

from app.demo.life import DAY, Life
from tests.month.books import Books


def last_month(today: date) -> date:
    """The first day of the month before."""
    return (today.replace(day=1) - timedelta(days=1)).replace(day=1)


def lived(start: date, customers: int) -> Books:
    """A month of so many customers: renewals, new ones, one-off payments, refunds, failed refunds,
    disputes won and lost; in dollars, euros and yen."""
    books = Books(start)
    currencies = _around("usd", "eur", "usd", "jpy", "eur")
    for number in range(customers):
        currency, day = next(currencies), 1 + number % 22
        at = books.at(day, 2 + number % 20, number % 60)
        match number % 10:
            case 0 | 1 | 2 | 3:
                books.renews(currency, at, taxed=number % 3 == 0)
            case 4 | 5:
                books.subscribes(currency, at, taxed=number % 3 == 0)
            case 6:
                books.buys(currency, at)
            case 7:
                _gives_back(books, books.renews(currency, at), at)
            case 8:
                life = books.buys(currency, at)
                books.disputed(life, at + DAY, won=at + 3 * DAY if number % 20 == 8 else None)
            case _:
                life = books.renews(currency, at)
                books.gives_back_in_vain(life, at + DAY, failed=at + 4 * DAY)
    return books


def _gives_back(books: Books, life: Life, at: int) -> None:
    part = life.ledger.payments[-1].amount // 3
    books.gives_back(life, at + DAY, part)
    books.gives_back(life, at + 2 * DAY)


def _around(*names: str) -> Iterator[str]:
    while True:
        yield from names
