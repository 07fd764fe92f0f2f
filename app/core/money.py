"""Money: an integer in Stripe's minor unit and a currency. Never a float, never a mixed sum."""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

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

    def __neg__(self) -> "Money":
        return Money(-self.minor, self.currency)

    def __str__(self) -> str:
        return f"{self.major:,} {self.currency.upper()}"


def share(part: int, of: int, whole: int) -> int:
    """`part * of / whole`, rounded half away from zero: the share of a tax in a partial amount."""
    if whole == 0:
        return 0
    exact = Decimal(part) * Decimal(of) / Decimal(whole)
    return int(exact.quantize(Decimal(1), rounding=ROUND_HALF_UP))
