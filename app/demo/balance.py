"""Stripe's reports on the balance of the pretend shop: every transaction, and their sums.

Columns and their names: https://docs.stripe.com/reports/report-types/balance
"""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal

from app.demo.books import Json
from app.demo.envelopes import Emission
from app.demo.tally import decimals

COLUMNS = (
    *("balance_transaction_id", "created_utc", "currency", "gross", "fee", "net"),
    *("reporting_category", "source_id", "charge_id", "payment_intent_id"),
    *("customer_facing_amount", "customer_facing_currency"),
)
SUMMED = ("reporting_category", "currency", "count", "gross", "fee", "net")


def itemized(emissions: Iterable[Emission]) -> bytes:
    """A line for each payment and refund, in the order of time."""
    lines = sorted(_lines(emissions), key=lambda line: (line["created_utc"], line["source_id"]))
    return _csv(COLUMNS, lines)


def summary(emissions: Iterable[Emission], until: datetime) -> bytes:
    """What is before that moment, added up by category and currency."""
    sums: defaultdict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    for line in _lines(emissions):
        if line["created_utc"] < _written(until):
            of = line["reporting_category"], line["currency"]
            sums[*of, "count"] += 1
            for name in ("gross", "fee", "net"):
                sums[*of, name] += Decimal(line[name])
    groups = sorted({(category, currency) for category, currency, _ in sums})
    rows = [[*of, *(sums[*of, name] for name in SUMMED[2:])] for of in groups]
    return _csv(SUMMED, [dict(zip(SUMMED, row, strict=True)) for row in rows])


def _lines(emissions: Iterable[Emission]) -> Iterator[Json]:
    for one in emissions:
        told = one.object
        if one.type == "payment_intent.succeeded":
            charge = told.get("latest_charge") or told["charges"]["data"][0]["id"]
            yield _line(told, "charge", charge, charge, told["id"], told["amount_received"])
        elif one.type == "refund.created":
            at, intent = told["charge"], told["payment_intent"]
            yield _line(told, "refund", told["id"], at, intent, -told["amount"])


def _line(told: Json, category: str, source: str, charge: str, intent: str, minor: int) -> Json:
    """Cards cost 2.9 % and 30 of the smallest unit; what goes back costs nothing more."""
    currency = told["currency"]
    fee = round(minor * 0.029) + 30 if minor > 0 else 0
    return {
        "balance_transaction_id": "txn_" + source[3:],
        "created_utc": _written(datetime.fromtimestamp(told["created"], UTC)),
        "currency": currency,
        "gross": _whole(minor, currency),
        "fee": _whole(fee, currency),
        "net": _whole(minor - fee, currency),
        "reporting_category": category,
        "source_id": source,
        "charge_id": charge,
        "payment_intent_id": intent,
        "customer_facing_amount": _whole(abs(minor), currency),
        "customer_facing_currency": currency,
    }


def _written(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"


def _whole(minor: int, currency: str) -> str:
    return f"{Decimal(minor).scaleb(-decimals(currency)):f}"


def _csv(columns: Iterable[str], lines: Iterable[Json]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(columns))
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue().encode()
