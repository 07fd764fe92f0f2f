"""Stripe's itemized balance report of a month: whole units, and columns nobody asked for.

Columns: https://docs.stripe.com/reports/report-types/balance
"""

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal

from tests.month.books import BERLIN, HOME, WHOLE, Books, Json

COLUMNS = (
    *("balance_transaction_id", "created_utc", "created", "available_on", "currency", "gross"),
    *("fee", "net", "reporting_category", "source_id", "description", "customer_facing_amount"),
    *("customer_facing_currency", "customer_id", "charge_id", "payment_intent_id", "invoice_id"),
    *("connected_account_id", "a_column_of_next_year"),
)
AMOUNTS = (("gross", "amount"), ("fee", "fee"), ("net", "net"))


def as_csv(
    books: Books, around: int = 0, changed: Mapping[str, Json] = {}, others: Iterable[Json] = ()
) -> bytes:
    """Stripe's itemized balance report of the month, and of so many days around it. `changed`
    columns by transaction, and lines of `others`."""
    out = io.StringIO()
    lines = csv.DictWriter(out, COLUMNS, restval="")
    lines.writeheader()
    bounds = books.at(-around, 0), books.at(books.days + around, 0)
    for txn in books.transactions.values():
        if bounds[0] <= txn["created"] < bounds[1]:
            lines.writerow(line_of(books, txn) | changed.get(txn["id"], {}))
    lines.writerows(others)
    return out.getvalue().encode("utf-8-sig")


def line_of(books: Books, txn: Json) -> Json:
    minor, currency, payment = books.shown.get(txn["id"], (0, "", None))
    created = datetime.fromtimestamp(txn["created"], UTC)
    return {
        "balance_transaction_id": txn["id"],
        "created_utc": f"{created:%Y-%m-%d %H:%M:%S}",
        "created": f"{created.astimezone(BERLIN):%Y-%m-%d %H:%M:%S}",
        "currency": txn["currency"],
        **{name: major(txn[key], HOME) for name, key in AMOUNTS},
        "reporting_category": txn["reporting_category"],
        "source_id": txn["source"] or "",
        "customer_facing_amount": major(abs(minor), currency) if currency else "",
        "customer_facing_currency": currency,
        "charge_id": payment.charge if payment else "",
        "payment_intent_id": payment.intent if payment else "",
        "invoice_id": (payment.invoice or "") if payment else "",
    }


def major(minor: int, currency: str) -> str:
    return f"{Decimal(minor).scaleb(-WHOLE.get(currency, 2)):f}"
