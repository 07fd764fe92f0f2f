"""The two sides of a comparison: Stripe's balance transactions and the ledger's entries.

Values, never changed. They are not frozen, as they are made by the hundred thousand and a frozen
one takes three times as long; so it is with groups, results and tellings.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from app.core.money import Money
from app.core.reading import shapes
from app.core.reading.dispute_amounts import in_its_currency
from app.core.reading.shapes import Json, id_of
from app.core.reconcile.categories import BOOKED, KINDS, category


@dataclass(slots=True, kw_only=True)
class StripeRow:
    """One balance transaction. `gross`, `fee` and `net` are minor units of `currency`, that of our
    balance, signed as Stripe signs: a refund's gross is negative, a fee is positive.

    `shown` is the same money as the customer saw it, signed as `gross`; None where the source does
    not say and the balance's currency need not be the customer's.
    """

    id: str
    created: datetime
    category: str
    gross: int
    fee: int
    net: int
    currency: str
    shown: Money | None
    source: str | None = None
    charge: str | None = None
    payment_intent: str | None = None
    invoice: str | None = None
    connected_account: str | None = None
    exchange_rate: Decimal | None = None

    @property
    def money(self) -> Money:
        """What it is compared by: the customer's money where that is known."""
        return self.shown or Money(self.gross, self.currency)

    def settled_as(self, other: "StripeRow") -> bool:
        """Whether the other says the same of our balance."""
        mine = self.gross, self.fee, self.currency
        return mine == (other.gross, other.fee, other.currency)

    def beside(self, kept: "StripeRow") -> "StripeRow":
        """What is to be kept after `kept`: that very one if this says nothing else. Sources say
        more and less of a transaction; what only one says stays, unless they contradict."""
        if self == kept:
            return kept
        if any(getattr(self, name) != getattr(kept, name) for name in ALWAYS_SAID):
            return self
        names = PERHAPS_SAID if self.category in BOOKED else PERHAPS_SAID - {"shown"}
        said = [(name, getattr(self, name), getattr(kept, name)) for name in names]
        if any(new != old for _, new, old in said if new is not None and old is not None):
            return self
        more = {name: new for name, new, old in said if new is not None and old is None}
        return replace(kept, **more) if more else kept

    def day(self, zone: ZoneInfo) -> date:
        return self.created.astimezone(zone).date()


ALWAYS_SAID = ("created", "category", "gross", "fee", "currency")
PERHAPS_SAID = frozenset(
    {"shown", "source", "charge", "payment_intent", "invoice", "exchange_rate"}
)


@dataclass(slots=True)
class KeptRow:
    """A transaction as an earlier run kept it: which one, and by what source; 0 and "" are of a
    run before that was noted."""

    row: StripeRow
    run: int
    source: str

    def __str__(self) -> str:
        return f"run {self.run} ({self.source})" if self.run else "an earlier run"


@dataclass(slots=True, kw_only=True)
class LedgerEntry:
    """A revenue entry, as the ledger has it: presentment minor units, signed. `corrects` is the key
    of the entry that it corrects; `corrected`: its money is the sum with its corrections."""

    key: str
    kind: str
    money: Money
    occurred_at: datetime
    effective_date: date
    posting_date: date
    origin: str = "webhook"
    tax_minor: int | None = None
    invoice: str | None = None
    payment_intent: str | None = None
    charge: str | None = None
    refund: str | None = None
    dispute: str | None = None
    out_of_band: bool | None = None
    corrects: str | None = None
    corrected: bool = False

    @property
    def part(self) -> str:
        return KINDS.get(self.kind, "other")


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """The days [start, end) of the reporting time zone."""

    start: date
    end: date
    zone: ZoneInfo

    def has(self, day: date) -> bool:
        return self.start <= day < self.end

    def bounds(self, days: int = 0) -> tuple[datetime, datetime]:
        """Its first moment and the first after it, UTC, with so many days more on either side."""
        first, last = (
            datetime.fromordinal(one.toordinal() + more).replace(tzinfo=self.zone).astimezone(UTC)
            for one, more in ((self.start, -days), (self.end, days))
        )
        return first, last

    def inside(self, rows: Iterable[StripeRow]) -> list[StripeRow]:
        """Those of the rows that are of the period."""
        first, last = self.bounds()
        return [row for row in rows if first <= row.created < last]


def from_api(found: Json) -> StripeRow:
    """A balance transaction whose `source` was expanded. Raises Missing where a promised field is
    not there."""
    source = shapes.mapping(found.get("source"))
    row_id = shapes.text(found, "id")
    gross, fee, net = (shapes.integer(found, name) for name in ("amount", "fee", "net"))
    if net != gross - fee:
        raise shapes.Missing("balance_transaction.net: expected amount less fee")
    currency = shapes.currency(found)
    kind = category(found.get("reporting_category"), found.get("type"))
    rate = found.get("exchange_rate")
    charge = source if source.get("object") == "charge" else {}
    return StripeRow(
        id=row_id,
        created=shapes.time(found, "created"),
        category=kind,
        gross=gross,
        fee=fee,
        net=net,
        currency=currency,
        shown=_shown(found, gross, currency, source),
        source=id_of(found.get("source")),
        charge=id_of(charge) or id_of(source.get("charge")),
        payment_intent=id_of(source.get("payment_intent")),
        invoice=id_of(charge.get("invoice")),
        exchange_rate=None if rate is None else Decimal(str(rate)),
    )


def _shown(found: Json, gross: int, currency: str, source: Json) -> Money | None:
    """In the customer's currency, as the charge, refund or dispute has it."""
    if source.get("object") not in ("charge", "refund", "dispute"):
        return Money(gross, currency)
    theirs = shapes.currency(source)
    if theirs == currency:
        return Money(gross, currency)  # and right for the parts of a partial capture, too
    if source["object"] == "dispute":
        return Money(_disputed(source, found), theirs)
    rate = found.get("exchange_rate")
    size = min(
        sorted(
            {
                shapes.integer(source, name)
                for name in ("amount", "amount_captured")
                if name in source
            }
        ),
        key=lambda minor: abs(minor * Decimal(str(rate or 0)) - abs(gross)),
    )
    return Money(size if gross >= 0 else -size, theirs)


def _disputed(dispute: Json, found: Json) -> int:
    """As the ledger has it, which reads the same list: perhaps from before this transaction."""
    listed = shapes.rows(dispute.get("balance_transactions"))
    if all(row.get("id") != found["id"] for row in listed):
        listed = [*listed, found]
    return in_its_currency({**dispute, "balance_transactions": listed})[found["id"]]


def digest(rows: Iterable[StripeRow]) -> str:
    """SHA-256 of the rows, in the order of their ids: the same by API and by CSV."""
    lines = sorted(
        f"{row.id} {int(row.created.timestamp())} {row.category}"
        f" {row.gross} {row.fee} {row.net} {row.currency}\n"
        for row in rows
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def sums(amounts: Iterable[Money]) -> dict[str, int]:
    """Minor units by currency, in the currencies' order; currencies never mix."""
    totals: dict[str, int] = {}
    for money in amounts:
        totals[money.currency] = totals.get(money.currency, 0) + money.minor
    return totals if len(totals) < 2 else dict(sorted(totals.items()))


def come_to(rows: Iterable[StripeRow], money: Money) -> bool:
    """Whether these transactions sum to just this, and to nothing in another currency."""
    return sums([row.money for row in rows]) == {money.currency: money.minor}


def plain(money: Money | None) -> dict[str, Any] | None:
    """For JSON: exact in both units."""
    if money is None:
        return None
    return {"minor": money.minor, "currency": money.currency, "major": f"{money.major:f}"}
