"""What a dispute's balance transactions are in the dispute's own currency.

They are in the currency of our balance, each converted at its own day's rate. `exchange_rate` is
of minor units: an amount in the dispute's currency, times the rate, is the transaction's
(https://docs.stripe.com/api/balance_transactions/object). Of yen and cents others have read it as
of whole units, which is told apart by which of the two fits the dispute.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from app.core.money import exponent, rounded
from app.core.reading import shapes
from app.core.reading.shapes import Json, Missing

# A rate is written with six decimals, or to six digits: half of the last is its error.
DECIMALS, ERROR = 6, Fraction(5, 1_000_000)
# Without rates: a bank takes months to decide, in which few currencies move by more than a fifth,
# and one that gives back a part gives back clearly less.
NEAR = Fraction(1, 5)


def in_its_currency(dispute: Json) -> Mapping[str, int]:
    """Minor units of the dispute's currency, signed, by balance transaction, in order of time.

    What is within rounding of all that can move is all: what was withdrawn and wholly given back
    comes to exactly nothing. Each amount rests on the transaction and on those before it alone, so
    every webhook event of the dispute says the same. Raises Missing.
    """
    listed = shapes.rows(dispute.get("balance_transactions"))
    way = _Way(shapes.integer(dispute, "amount"), shapes.currency(dispute))
    order = sorted(listed, key=lambda row: (shapes.integer(row, "created"), shapes.text(row, "id")))
    return {shapes.text(row, "id"): way.next(row) for row in order}


@dataclass(slots=True)
class _Way:
    """A dispute, transaction by transaction. `taken`: what is withdrawn and not given back, minor
    units; it is right to `slack`. `first`: of the first withdrawal in another currency, what it is
    of one minor unit of the balance's. `units`: what a rate is to be multiplied by, by currency."""

    contested: int
    currency: str
    taken: int = 0
    slack: Fraction = Fraction()
    first: Fraction | None = None
    units: dict[str, Fraction] = field(default_factory=dict)

    def next(self, row: Json) -> int:
        amount, currency = shapes.integer(row, "amount"), shapes.currency(row)
        if currency == self.currency or not amount:
            minor, off = amount, self.slack
        else:
            minor, off = self._converted(amount, currency, _rate(row.get("exchange_rate")))
        self.taken -= minor
        self.slack = off
        return minor

    def _converted(
        self, amount: int, currency: str, rate: tuple[Fraction, Fraction] | None
    ) -> tuple[int, Fraction]:
        """(minor units, how far they and those before may be from what was meant)"""
        if rate is None:
            found = self._by_size(amount)
        else:
            worth = Fraction(1) / rate[0] * self._unit(currency, amount / rate[0])
            exact = amount * worth
            slack = self.slack + worth + abs(exact) * rate[1] + Fraction(1, 2)
            minor = rounded(exact)
            whole = self._whole(amount)
            found = (whole, Fraction()) if abs(whole - minor) <= slack else (minor, slack)
        if self.first is None and amount < 0:
            self.first = Fraction(found[0], amount)
        return found

    def _whole(self, amount: int) -> int:
        """All that can move that way: what is not withdrawn yet, or all that is."""
        if amount < 0:
            return min(self.taken - self.contested, 0) or -self.contested
        return self.taken if self.taken > 0 else self.contested

    def _by_size(self, amount: int) -> tuple[int, Fraction]:
        """Without a rate the first withdrawal is the dispute's amount, the others are by their size
        against it."""
        whole = self._whole(amount)
        if self.first is None:
            return whole, Fraction()
        exact = amount * self.first
        if amount > 0 and abs(exact - whole) <= whole * NEAR:
            return whole, Fraction()
        return rounded(exact), self.slack

    def _unit(self, currency: str, converted: Fraction) -> Fraction:
        """1, or where the rate is one of whole units the power of ten between them: whichever
        makes of the first transaction what is nearer to the dispute's amount."""
        if currency not in self.units:
            other = Fraction(10) ** (exponent(self.currency) - exponent(currency))
            self.units[currency] = min(
                (Fraction(1), other), key=lambda one: _apart(abs(converted) * one, self.contested)
            )
        return self.units[currency]


def _apart(one: Fraction, other: int) -> Fraction:
    return max(one / other, other / one) if one and other > 0 else Fraction(1)


def _rate(value: object) -> tuple[Fraction, Fraction] | None:
    """(the rate, its error as a part of it); None where there is none that could be one."""
    if value is None:
        return None
    # A small float writes itself as 9.2e-05.
    written = f"{value:.12f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    try:
        rate = shapes.exact(written)
    except Missing:
        raise Missing("balance_transaction.exchange_rate: expected a number") from None
    if rate <= 0:
        return None
    decimals = max(DECIMALS, len(written.partition(".")[2]))
    return rate, max(Fraction(1, 2 * 10**decimals) / rate, ERROR)
