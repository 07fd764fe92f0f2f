"""March 2025 of an account, with one of every difference that a reconciliation must name.

What Stripe has is made apart from what the bridge was told: balance transactions with their
sources, as objects and as an itemized report; and webhook events.
"""

import csv
import io
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Engine, text

from app.core.money import Money
from app.core.reconcile.rows import Period
from app.process import process
from app.settings import Settings
from tests.fake_stripe import FakeStripe
from tests.test_process import an_intent, an_invoice, event, put

Json = dict[str, Any]
BERLIN = ZoneInfo("Europe/Berlin")
MARCH = Period(start=date(2025, 3, 1), end=date(2025, 4, 1), zone=BERLIN)
NOW = datetime(2025, 4, 5, tzinfo=UTC)
DAY = 86_400
NOON = int(datetime(2025, 3, 10, 12, tzinfo=UTC).timestamp())
MIDNIGHT = int(datetime(2025, 3, 31, 22, tzinfo=UTC).timestamp())  # in Berlin


class Month:
    """Collects both sides. Numbers name the things: in_7, pi_7, ch_7, txn_7."""

    def __init__(self) -> None:
        self.transactions: list[Json] = []
        self.objects: list[Json] = []
        self.events: list[Json] = []

    def tell(self, type_: str, obj: Json, created: int = NOON) -> None:
        self.events.append(event(len(self.events) + 1, type_, obj, created=created))

    def transaction(self, txn: str, source: Json | None, amount: int, **given: Any) -> None:
        values = {
            "object": "balance_transaction",
            "id": txn,
            "amount": amount,
            "fee": 0,
            "currency": "eur",
            "created": NOON,
            "exchange_rate": None,
            "reporting_category": "charge",
            "type": "charge",
            "source": source["id"] if source else None,
            **given,
        }
        self.transactions.append({**values, "net": amount - values["fee"]})
        if source and source not in self.objects:
            self.objects.append(source)

    def charge(self, number: int, amount: int = 1190, **given: Any) -> Json:
        return {
            "object": "charge",
            "id": f"ch_{number}",
            "amount": amount,
            "amount_captured": amount,
            "currency": "eur",
            "payment_intent": f"pi_{number}",
            **given,
        }

    def paid(self, number: int, amount: int = 1190, *, settled: Mapping[str, Any] = {}) -> None:
        """Stripe has a charge; `settled` changes its balance transaction."""
        at = settled.get("created", NOON)
        charge = self.charge(number, amount, created=at)
        values = {"amount": amount, "fee": 47, **settled}
        self.transaction(f"txn_{number}", charge, values.pop("amount"), **values)

    def told(self, number: int, amount: int = 1190, at: int = NOON, **invoice: Any) -> None:
        """The bridge hears of a paid invoice, and of what paid it."""
        self.linked(number, amount, at)
        transitions = {"paid_at": at}
        given = {"amount_paid": amount, "status_transitions": transitions, **invoice}
        self.tell("invoice.paid", an_invoice(f"in_{number}", f"sub_{number}", **given), at)

    def linked(self, number: int, amount: int = 1190, at: int = NOON) -> None:
        """The bridge hears of the payment, and that it pays the invoice."""
        ids = {"id": f"pi_{number}", "latest_charge": f"ch_{number}"}
        self.tell("payment_intent.succeeded", an_intent(**ids, amount_received=amount), at)
        link = {
            "id": f"inpay_{number}",
            "object": "invoice_payment",
            "created": at,
            "invoice": f"in_{number}",
            "status": "paid",
            "payment": {"type": "payment_intent", "payment_intent": f"pi_{number}"},
        }
        self.tell("invoice_payment.paid", link, at)

    def refund(self, number: int, amount: int = 250, *, of: int = 1) -> Json:
        return {
            "object": "refund",
            "id": f"re_{number}",
            "amount": amount,
            "created": NOON,
            "currency": "eur",
            "charge": f"ch_{of}",
            "payment_intent": f"pi_{of}",
            "status": "succeeded",
        }

    # --- what comes of it

    def live(self, engine: Engine, settings: Settings) -> None:
        """The bridge hears all that it is told, and processes it."""
        put(engine, *self.events)
        while process(engine, settings):
            pass

    def at_stripe(self, stripe: FakeStripe) -> None:
        for one in (*self.objects, *self.transactions):
            stripe.add(one)

    def as_csv(self) -> bytes:
        """Stripe's itemized balance report of all transactions, in whole units; and of the days
        before, so that the month is whole."""
        sources = {one["id"]: one for one in self.objects}
        out = io.StringIO()
        lines = csv.DictWriter(out, COLUMNS)
        lines.writeheader()
        for one in (FEBRUARY, *self.transactions):
            lines.writerow(_line(one, sources.get(one["source"], {})))
        return out.getvalue().encode("utf-8-sig")


FEBRUARY: Json = {
    **{"id": "txn_feb", "amount": -700, "fee": 0, "net": -700, "currency": "gbp", "source": None},
    **{"created": NOON - 11 * DAY, "reporting_category": "payout"},
}
COLUMNS = (
    *("balance_transaction_id", "created_utc", "currency", "gross", "fee", "net"),
    *("reporting_category", "source_id", "description", "customer_facing_amount"),
    *("customer_facing_currency", "charge_id", "payment_intent_id"),
)


def _line(one: Json, source: Json) -> dict[str, str]:
    def major(minor: int) -> str:
        return f"{Money(minor, one['currency']).major:f}"

    is_charge = source.get("object") == "charge"
    shown = Money(source["amount"], source["currency"]) if source else None
    return {
        "balance_transaction_id": one["id"],
        "created_utc": f"{datetime.fromtimestamp(one['created'], UTC):%Y-%m-%d %H:%M:%S}",
        "currency": one["currency"],
        "gross": major(one["amount"]),
        "fee": major(one["fee"]),
        "net": major(one["net"]),
        "reporting_category": one["reporting_category"],
        "source_id": one["source"] or "",
        "description": '=HYPERLINK("https://example.com")',
        "customer_facing_amount": f"{shown.major:f}" if shown else "",
        "customer_facing_currency": shown.currency if shown else "",
        "charge_id": source.get("charge", "") or (source["id"] if is_charge else ""),
        "payment_intent_id": source.get("payment_intent", ""),
    }


def clean() -> Month:
    """An invoice, its refund, a failed refund, a dispute won, JPY, another currency of settlement,
    a partial capture, and a payout: all of it told."""
    month = Month()
    month.paid(1)
    month.told(1)
    month.transaction("txn_re1", month.refund(1), -250, reporting_category="refund", type="refund")
    month.tell("refund.created", month.refund(1))
    failed = {**month.refund(2), "status": "failed", "failure_reason": "unknown"}
    month.transaction("txn_re2", failed, -250, reporting_category="refund", type="refund")
    back = {"reporting_category": "refund_failure", "type": "refund_failure"}
    month.transaction("txn_back", failed, 250, **back)
    month.tell("refund.failed", failed, NOON + DAY)
    _disputed(month)
    month.paid(3, 5000, settled={"currency": "usd", "amount": 5400, "exchange_rate": 1.08})
    month.told(3, 5000)
    yen = month.charge(4, 1299, currency="jpy")
    month.transaction("txn_4", yen, 1299, currency="jpy", fee=40)
    month.told(4, 1299, currency="jpy", total=1299, amount_due=1299)
    _captured(month)
    payout = {"reporting_category": "payout", "type": "payout"}
    month.transaction("txn_po", None, -9000, created=MIDNIGHT - 3600, **payout)
    month.transaction("txn_fee", None, -500, reporting_category="fee", type="stripe_fee")
    return month


def _disputed(month: Month) -> None:
    out = {"id": "txn_d", "amount": -1190, "fee": 2000, "currency": "eur", "created": NOON}
    won = {"id": "txn_w", "amount": 1190, "fee": 0, "currency": "eur", "created": NOON + DAY}
    dispute = {
        "object": "dispute",
        "id": "dp_1",
        "amount": 1190,
        "created": NOON,
        "currency": "eur",
        "charge": "ch_1",
        "payment_intent": "pi_1",
        "status": "won",
        "balance_transactions": [out, won],
    }
    adjustment = {"type": "adjustment", "created": NOON}
    month.transaction("txn_d", dispute, -1190, fee=2000, reporting_category="dispute", **adjustment)
    adjustment["created"] = NOON + DAY
    month.transaction("txn_w", dispute, 1190, reporting_category="dispute_reversal", **adjustment)
    month.tell("charge.dispute.funds_reinstated", dispute, NOON + DAY)


def _captured(month: Month) -> None:
    """Authorized 14.00 and captured 10.00, by a checkout."""
    month.transaction("txn_5", month.charge(5, 1400, amount_captured=1000), 1400, fee=47)
    rest = month.refund(5, 400, of=5)
    month.transaction(
        "txn_5r", rest, -400, reporting_category="partial_capture_reversal", type="refund"
    )
    ids = {"id": "pi_5", "latest_charge": "ch_5"}
    month.tell("payment_intent.succeeded", an_intent(**ids, amount_received=1000))
    session = {
        "id": "cs_5",
        "object": "checkout.session",
        "mode": "payment",
        "customer": "cus_1",
        "payment_intent": "pi_5",
        "payment_status": "paid",
        "metadata": {"user_id": "user_7"},
    }
    month.tell("checkout.session.completed", session)


def book(engine: Engine, key: str, minor: int, **given: Any) -> None:
    """An entry that no code of ours would make."""
    values = {
        "key": key,
        "kind": "payment",
        "minor": minor,
        "currency": "eur",
        "tax_minor": 0,
        "invoice": None,
        "payment_intent": None,
        "refund": None,
        "posting": date(2025, 3, 10),
        "livemode": True,
        "at": datetime.fromtimestamp(NOON, UTC),
        **given,
    }
    with engine.begin() as connection:
        connection.execute(
            text("""
                INSERT INTO revenue_entries (account, livemode, key, kind, minor, currency,
                    tax_minor, invoice, payment_intent, refund, occurred_at, effective_date,
                    posting_date, origin)
                VALUES ('', :livemode, :key, :kind, :minor, :currency, :tax_minor, :invoice,
                    :payment_intent, :refund, :at, '2025-03-10', :posting, 'webhook')
            """),
            values,
        )


def planted(engine: Engine, settings: Settings) -> Month:
    """The clean month with a defect of every kind from number 11 on, lived by the bridge."""
    month = clean()
    month.paid(11)  # nobody told
    month.paid(12)
    month.linked(12)
    lacking = {"total": None, "status_transitions": {"paid_at": NOON}}
    month.tell("invoice.paid", an_invoice("in_12", "sub_12", **lacking))
    month.paid(13)
    month.told(13)  # and a copy is booked below
    month.paid(14)
    month.told(14, 119_000, total=119_000, amount_due=119_000)
    month.transaction("txn_re15", month.refund(15), -250, reporting_category="refund")
    month.paid(16)
    month.told(16)  # an earlier run knew another fee
    month.paid(17, settled={"created": MIDNIGHT - 2})
    month.told(17, at=MIDNIGHT + 3)
    month.paid(18)
    month.linked(18)
    by_bank: Json = {"paid_out_of_band": True, "amount_paid": 0, "status": "paid"}
    by_bank["status_transitions"] = {"paid_at": NOON}
    month.tell("invoice.paid", an_invoice("in_19", "sub_19", **by_bank))
    month.paid(20, 400)
    month.linked(20, 400)
    unpaid = {"status": "open", "amount_paid": 0, "amount_due": 1190, "status_transitions": {}}
    month.tell("invoice.finalized", an_invoice("in_20", "sub_20", **unpaid))
    month.paid(21)
    ids = {"id": "pi_21", "latest_charge": "ch_21"}
    month.tell("payment_intent.succeeded", an_intent(**ids, amount_received=1190))
    month.paid(22)
    month.linked(22)
    month.paid(23, settled={"currency": "usd", "amount": 1290, "exchange_rate": 1.084})
    month.linked(23)
    month.transaction("txn_news", None, 700, reporting_category="stablecoin_yield", type="yield")
    month.live(engine, settings)
    book(engine, "payment:pi_13", 1190, payment_intent="pi_13")
    book(engine, "refund:re_15", 250, kind="refund", refund="re_15")
    book(engine, "payment:in_18", 1190, invoice="in_18", posting=date(2025, 4, 1))
    book(engine, "payment:in_22", 1000, invoice="in_22", tax_minor=190)
    book(engine, "payment:in_23", 1290, invoice="in_23", currency="usd")
    book(engine, "payment:in_24", 1190, invoice="in_24")
    book(engine, "payment:in_24", 1190, invoice="in_24", livemode=False)
    with engine.begin() as connection:
        connection.execute(
            text("""
                INSERT INTO settlements (account, livemode, id, created, category, gross, fee, net,
                    currency, effective_date, posting_date)
                VALUES ('', true, 'txn_16', :at, 'charge', 1190, 46, 1144, 'eur', '2025-03-10',
                    '2025-03-10')
            """),
            {"at": datetime.fromtimestamp(NOON, UTC)},
        )
    return month
