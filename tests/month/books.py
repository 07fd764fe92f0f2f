"""A month of a pretend SaaS: the webhooks Stripe sends of it, and what Stripe itself has of it.

Both come from the same story, and neither from the other: transactions and their fees, the charges
behind them, and the webhooks in as many API versions as there are. The account's balance is in
dollars, so whatever was paid in another currency settles at a rate.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from app.demo.books import VERSIONS, Customer, Payment, Refund, add_months, stripe_id
from app.demo.catalogue import price
from app.demo.checkout import buy_once, sign_up
from app.demo.envelopes import Emission
from app.demo.life import DAY, Life
from app.demo.market import catalogue, customer
from app.demo.payments import charge, refund
from app.demo.stories import ONE_OFF
from app.demo.telling import Moment
from tests.fake_stripe import FakeStripe
from tests.orders.history import Case
from tests.orders.shapes import dispute
from tests.stripe_past import add_past

Json = dict[str, Any]
BERLIN = ZoneInfo("Europe/Berlin")
NEWEST = VERSIONS[-1]
HOME = "usd"
RATES = {"usd": Decimal(1), "eur": Decimal("1.0837"), "jpy": Decimal("0.00664")}
LATER_RATES = {**RATES, "eur": Decimal("1.0711"), "jpy": Decimal("0.00671")}  # of the month's end
WHOLE = {"jpy": 0}  # decimals; an oracle does not borrow the product's table
BOOKED = ("charge", "refund", "refund_failure", "dispute", "dispute_reversal")


@dataclass(frozen=True, slots=True)
class Moved:
    """Money as the customer saw it: minor units, signed."""

    at: int
    minor: int
    currency: str
    category: str


class Books:
    """The month [start, end) of one account. Acts name their moment by `at(day, hour, ...)`."""

    def __init__(self, start: date, seed: int = 1, account: str = "") -> None:
        self.start = start
        self.end = (start + timedelta(days=31)).replace(day=1)
        self.account = account
        self.rng = Random(f"month:{seed}")
        self.emissions: list[Emission] = []
        self.charges: dict[str, Json] = {}
        self.transactions: dict[str, Json] = {}
        self.moved: list[Moved] = []
        self.shown: dict[str, tuple[int, str, Payment | None]] = {}
        self.people = 0
        opened = self.at(-70)
        self.plans = catalogue(self.rng, opened)
        for plan in (one for priced in self.plans.values() for one in priced.values()):
            told = price(plan, NEWEST, livemode=True)
            self.emissions.append(self._emission("price.created", told, opened))

    def at(self, day: int, hour: int = 12, minute: int = 0, second: int = 0) -> int:
        """Unix seconds of this many days after the month's first, by the clock of Berlin."""
        then = datetime.combine(self.start + timedelta(days=day), time(hour, minute, second))
        return int(then.replace(tzinfo=BERLIN).timestamp())

    @property
    def days(self) -> int:
        return (self.end - self.start).days

    def _emission(self, kind: str, body: Json, at: int) -> Emission:
        return Emission(
            id=stripe_id(self.rng, "evt_1", 23),
            type=kind,
            created=at,
            version=NEWEST,
            livemode=True,
            object=body,
        )

    def say(self, who: Customer, kind: str, body: Json, at: int) -> Emission:
        """A webhook of a customer's, in that one's API version."""
        return replace(self._emission(kind, body, at), version=who.version)

    # --- who comes, and what they do

    def person(self, currency: str, at: int, version: str = "", *, taxed: bool = False) -> Life:
        """Somebody new. Without a version, of the next one."""
        self.people += 1
        version = version or VERSIONS[self.people % len(VERSIONS)]
        rng = Random(f"{self.rng.random()}:{self.people}")
        who = customer(rng, self.people, at, livemode=True, version=version)
        tax = {"tax_rate": stripe_id(rng, "txr_1", 23), "tax_basis_points": 1900}
        none = {"tax_rate": None, "tax_basis_points": 0}
        country = {"usd": "US", "eur": "DE", "jpy": "JP"}[currency]
        who = replace(who, currency=currency, country=country, **(tax if taxed else none))
        life = Life(who, self.plans[currency], rng)
        self.tell(life.arrive())
        return life

    def tell(self, moment: Moment) -> Sequence[Emission]:
        self.emissions += moment.emissions
        return moment.emissions

    def subscribes(self, currency: str, at: int, version: str = "", **person: Any) -> Life:
        life = self.person(currency, at, version, **person)
        self.tell(sign_up(life, life.plans["Pro"]))
        self.charged(life.ledger.payments[-1])
        return life

    def renews(self, currency: str, at: int, version: str = "", **person: Any) -> Life:
        """Subscribed a month before, and pays an hour or so after this moment."""
        life = self.subscribes(currency, add_months(at, -1), version, **person)
        for moment in life.renewals(1):
            self.tell(moment)
        self.charged(life.ledger.payments[-1])
        return life

    def buys(
        self, currency: str, at: int, version: str = "", *, settles: int | None = None
    ) -> Life:
        """A payment at this very second, and its transaction, perhaps later."""
        life = self.person(currency, at - 3600, version)
        life.clock = at - 60
        self.tell(buy_once(life, ONE_OFF[currency]))
        self.charged(life.ledger.payments[-1], settles)
        return life

    def gives_back(self, life: Life, at: int, amount: int | None = None) -> Refund:
        """A part of the last payment, or all of it."""
        self.tell(life.give_back(amount, at))
        payment = life.ledger.payments[-1]
        given = payment.refunds[-1]
        self.move(
            *("txn_" + given.id[3:], given.id, -given.amount, payment.currency, "refund", at),
            rates=LATER_RATES,
            about=payment,
        )
        return given

    def gives_back_in_vain(self, life: Life, at: int, failed: int) -> Refund:
        """A refund that the customer's bank sends back."""
        given = self.gives_back(life, at)
        payment = life.ledger.payments[-1]
        life.clock = failed
        txn = f"txn_{given.id[3:]}_back"
        body = refund(payment, given) | {
            "failure_balance_transaction": txn,
            "failure_reason": "expired_or_canceled_card",
            "status": "failed",
        }
        self.emissions.append(life.teller.emit("refund.failed", body))
        self.move(
            *(txn, given.id, given.amount, payment.currency, "refund_failure", failed),
            rates=LATER_RATES,
            about=payment,
        )
        return given

    def disputed(self, life: Life, at: int, won: int | None = None) -> Case:
        """The bank takes the last payment back, for a fee; and perhaps gives it back."""
        payment = life.ledger.payments[-1]
        case = Case(
            id=stripe_id(self.rng, "dp_1", 23), payment=payment, amount=payment.amount, opened=at
        )
        amount, currency = payment.amount, payment.currency
        out = self.move(
            *(stripe_id(self.rng, "txn_1", 23), case.id, -amount, currency, "dispute", at),
            fee=1500,
            about=payment,
        )
        told = dispute(case) | {"balance_transactions": [out]}
        for how in ("created", "funds_withdrawn"):
            self.emissions.append(self._of(life, f"charge.dispute.{how}", told, at))
        if won:
            back = self.move(
                *(stripe_id(self.rng, "txn_1", 23), case.id, amount, currency),
                *("dispute_reversal", won),
                about=payment,
            )
            told = told | {"balance_transactions": [out, back], "status": "won"}
            for how in ("funds_reinstated", "closed"):
                self.emissions.append(self._of(life, f"charge.dispute.{how}", told, won))
        return case

    def _of(self, life: Life, kind: str, body: Json, at: int) -> Emission:
        return life.teller.emit(kind, body, at=at)

    # --- what Stripe has

    def charged(self, payment: Payment, settles: int | None = None) -> None:
        """A charge as today's API shows it, and its transaction."""
        now = replace(payment, customer=replace(payment.customer, version=NEWEST))
        self.charges[payment.charge] = charge(now)
        minor, currency = payment.amount, payment.currency
        fee = 30 + round(settled(minor, currency, RATES) * Decimal("0.029"))
        at = payment.created if settles is None else settles
        self.move(
            *("txn_" + payment.charge[3:], payment.charge, minor, currency, "charge", at),
            fee=fee,
            about=payment,
        )

    def move(
        self,
        txn: str,
        source: str | None,
        minor: int,
        currency: str,
        category: str,
        at: int,
        *,
        fee: int = 0,
        rates: dict[str, Decimal] = RATES,
        about: Payment | None = None,
    ) -> Json:
        """A balance transaction of this money, which the customer saw in `currency`."""
        amount = settled(minor, currency, rates)
        self.transactions[txn] = {
            "id": txn,
            "object": "balance_transaction",
            "amount": amount,
            "available_on": at + 2 * DAY,
            "created": at,
            "currency": HOME,
            "description": None,
            "exchange_rate": None if currency == HOME else float(rates[currency]),
            "fee": fee,
            "net": amount - fee,
            "reporting_category": category,
            "source": source,
            "status": "available",
            "type": "adjustment" if category.startswith("dispute") else category,
        }
        if category in BOOKED:
            self.moved.append(Moved(at, minor, currency, category))
            self.shown[txn] = (minor, currency, about)
        return self.transactions[txn]

    def noise(self) -> list[str]:
        """Payouts each week, from the first day on, and on the last evening, so that a file has
        both ends; and Stripe's fee for billing: their ids."""
        found = []
        for day in (*range(0, 28, 7), self.days - 1):
            txn = stripe_id(self.rng, "txn_1", 23)
            self.move(txn, None, -400_00 - day, HOME, "payout", self.at(day, 22))
            found.append(txn)
        txn = stripe_id(self.rng, "txn_1", 23)
        self.move(txn, None, -12_34, HOME, "fee", self.at(self.days - 1, 20))
        return [*found, txn]

    # --- both sides, as others see them

    def events(self, pending: Iterable[str] = ()) -> list[Json]:
        """What Stripe sent, oldest first; `pending` ones were never answered."""
        waiting = set(pending)
        ours = {"account": self.account} if self.account else {}
        told = [one.envelope(pending=int(one.id in waiting)) | ours for one in self.emissions]
        return sorted(told, key=lambda one: one["created"])

    def at_stripe(self, stripe: FakeStripe, now: int, pending: Iterable[str] = ()) -> None:
        """The account as the API has it; events are listed for 30 days."""
        events = self.events(pending)
        add_past(_Of(stripe, self.account), events)  # type: ignore[arg-type]
        recent = [one for one in events if one["created"] > now - 30 * DAY]
        for one in (*self.charges.values(), *self.transactions.values(), *recent):
            stripe.add(one, account=self.account)

    def money(self, first: int | None = None, last: int | None = None) -> dict[str, int]:
        """Minor units by currency that customers paid less what they got back, of [first, last)."""
        total: Counter[str] = Counter()
        for one in self.moved:
            if (first is None or one.at >= first) and (last is None or one.at < last):
                total[one.currency] += one.minor
        return dict(sorted(total.items()))

    def of_month(self) -> dict[str, int]:
        return self.money(self.at(0, 0), self.at(self.days, 0))


class _Of:
    """A fake Stripe to which everything is added under one account."""

    def __init__(self, stripe: FakeStripe, account: str) -> None:
        self.add = lambda one: stripe.add(one, account=account)


def settled(minor: int, currency: str, rates: dict[str, Decimal]) -> int:
    """Cents of the account's balance."""
    whole = Decimal(minor).scaleb(-WHOLE.get(currency, 2))
    return int((whole * rates[currency] * 100).to_integral_value())
