"""Money: an integer in Stripe's minor unit and a currency. Never a float, never a mixed sum."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

# https://docs.stripe.com/currencies#zero-decimal, and its "special cases": Stripe writes ISK and
# UGX with two decimals although ISO 4217 says none, so no library's table can serve here.
ZERO_DECIMAL = frozenset(
    {"bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga"}
    | {"pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"}
)
THREE_DECIMAL = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})


def exponent(currency: str) -> int:
    """How many decimals Stripe's integer amounts have in this (lower-case ISO) currency."""
    if currency in ZERO_DECIMAL:
        return 0
    return 3 if currency in THREE_DECIMAL else 2


@dataclass(frozen=True, slots=True)
class Money:
    """`minor` is signed (a refund is negative); `currency` is lower-case ISO 4217."""

    minor: int
    currency: str

    @property
    def major(self) -> Decimal:
        """In whole units, with exactly the currency's decimals: Money(1299, "usd") is 12.99."""
        return Decimal(self.minor).scaleb(-exponent(self.currency))

    @property
    def number(self) -> float:
        """`major` as JSON and analytics tools have numbers; sums are never made of these."""
        return float(self.major)

    def __neg__(self) -> "Money":
        return Money(-self.minor, self.currency)

    def __str__(self) -> str:
        return f"{self.major:,} {self.currency.upper()}"


def rounded(exact: Fraction) -> int:
    """The nearest whole number; a half goes away from zero, as on invoices."""
    nearest = (2 * abs(exact.numerator) + exact.denominator) // (2 * exact.denominator)
    return nearest if exact >= 0 else -nearest


def share(part: int, of: int, whole: int) -> int:
    """`part * of / whole`, rounded half away from zero: the share of a tax in a partial amount."""
    return rounded(Fraction(part * of, whole)) if whole else 0
