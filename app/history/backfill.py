"""History that Stripe's event list has no more: its objects, told as the webhook events that would
have told it, and kept through the same door."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import structlog
from sqlalchemy import Connection, Engine

from app.core import backfill as told
from app.core.backfill import Heard, Said
from app.core.envelope import NotAnEvent, open_envelope
from app.core.reading.shapes import Json, Missing
from app.history.listing import Pace, pages
from app.store import audit, gaps, identities, subscriptions, webhook_events
from app.store.gaps import Place, Range
from app.store.webhook_events import BACKFILL, Arrived
from app.stripe_api import StripeApi, StripeMissing, StripeRefused, StripeUnavailable

Part = Literal["subscriptions", "sessions", "invoices", "charges", "refunds", "disputes"]
NO_ANSWER = (StripeMissing, StripeRefused, StripeUnavailable)
MISSHAPEN = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
IN_CURRENCIES = ("data.currency_options", "data.currency_options.tiers")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class List:
    """One of Stripe's lists. The catalogue is read whole: what is sold today may be old."""

    part: Part
    name: str
    made: Callable[[Json], Iterator[Said]] | None  # None: of subscriptions, with what was heard
    params: Mapping[str, Any] = field(default_factory=dict)
    dated: bool = True

    @property
    def path(self) -> str:
        return f"/v1/{self.name}"


LISTS = (
    List(
        "subscriptions",
        "prices",
        told.of_price,
        {"expand": ["data.tiers", *IN_CURRENCIES]},
        dated=False,
    ),
    List(
        "subscriptions",
        "coupons",
        told.of_coupon,
        {"expand": ["data.applies_to", IN_CURRENCIES[0]]},
        dated=False,
    ),
    List(
        "subscriptions",
        "subscriptions",
        None,
        {"status": "all", "expand": ["data.discounts", "data.items.data.discounts"]},
    ),
    List("sessions", "checkout/sessions", told.of_session, {"status": "complete"}),
    List("invoices", "invoices", told.of_invoice, {"expand": ["data.payments"]}),
    List(
        "charges",
        "charges",
        told.of_charge,
        {"expand": ["data.balance_transaction", "data.payment_intent"]},
    ),
    List("refunds", "refunds", told.of_refund, {"expand": ["data.failure_balance_transaction"]}),
    List("disputes", "disputes", told.of_dispute),
)
PARTS: tuple[Part, ...] = tuple(dict.fromkeys(one.part for one in LISTS))


@dataclass(frozen=True, kw_only=True)
class Backfill:
    """What is asked for: objects created in [since, until). `told` hears (list, objects) after
    each page."""

    engine: Engine
    api: StripeApi
    livemode: bool
    since: datetime
    until: datetime
    parts: Sequence[Part] = PARTS
    account: str | None = None  # None: our own and every connected one that was heard
    pace: Pace = field(default_factory=Pace)
    dry_run: bool = False
    told: Callable[[str, int], object] = lambda _name, _read: None


@dataclass
class Filled:
    """What came of it: objects read by list, and webhook events by type that were `kept` now or
    `known` before. `failures` says, by account, why it is not done; `strangers` are accounts of
    which nothing was ever kept and nothing was found."""

    read: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    known: Counter[str] = field(default_factory=Counter)
    unreadable: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)
    strangers: list[str] = field(default_factory=list)
    out_of_reach: bool = False


def backfill(wanted: Backfill) -> Filled:
    """Read the lists and keep what they say; one that was interrupted goes on where it was.

    Each page is kept with its place in one transaction. Raises Stopped. An account that Stripe
    does not answer for is left, and its place stays.
    """
    filled = Filled()
    with wanted.engine.connect() as connection:
        seen = gaps.accounts(connection, wanted.livemode)
    for account in seen if wanted.account is None else [wanted.account]:
        of = Range(
            account=account, livemode=wanted.livemode, since=wanted.since, until=wanted.until
        )
        before = filled.read.total()
        try:
            _account(wanted, filled, of)
            if account not in seen and filled.read.total() == before:
                filled.strangers.append(account)
        except NO_ANSWER as error:
            filled.failures[account] = str(error)
            log.warning("backfill.not_done", account=account, reason=str(error))
            if isinstance(error, StripeUnavailable):
                filled.out_of_reach = True
                break  # so are the others
    return filled


def _account(wanted: Backfill, filled: Filled, of: Range) -> None:
    for one in LISTS:
        if one.part in wanted.parts:
            _list(wanted, filled, of, one)
    if not wanted.dry_run:
        with wanted.engine.begin() as connection:
            gaps.forget_places(connection, of)
            if set(wanted.parts) == set(PARTS):
                gaps.read_whole(connection, of)


def _list(wanted: Backfill, filled: Filled, of: Range, one: List) -> None:
    with wanted.engine.connect() as connection:
        place = Place() if wanted.dry_run else gaps.place(connection, of, one.name)
    if place.finished:
        return
    if not one.dated:
        place = Place()  # it is short, and coupons can be deleted: a place among them may be gone
    created = {"gte": int(of.since.timestamp()), "lt": int(of.until.timestamp())}
    params = {**one.params, **({"created": created} if one.dated else {})}
    listed = pages(
        *(wanted.api, one.path, wanted.pace), account=of.account, after=place.after, **params
    )
    for page in listed:
        place = Place(page[-1]["id"], place.read + len(page))
        _keep(wanted, filled, of, one, page, place)
        filled.read[one.name] += len(page)
        wanted.told(one.name, len(page))
    if not wanted.dry_run:
        with wanted.engine.begin() as connection:
            gaps.move(connection, of, one.name, replace(place, finished=True))


def _keep(
    wanted: Backfill, filled: Filled, of: Range, one: List, page: Sequence[Json], place: Place
) -> None:
    with wanted.engine.begin() as connection:
        made = _made(connection, filled, of, one, page)
        arrived = [each for said in made if (each := _arrived(said, of, filled))]
        if wanted.dry_run:
            before = webhook_events.kept_of(connection, {each.key for each in arrived})
            new = [each.key not in before for each in arrived]
        else:
            new = webhook_events.keep_all(connection, arrived)
            gaps.move(connection, of, one.name, place)
    for each, is_new in zip(arrived, new, strict=True):
        (filled.kept if is_new else filled.known)[each.envelope.type] += 1


def _made(
    connection: Connection, filled: Filled, of: Range, one: List, page: Sequence[Json]
) -> list[Said]:
    """What these objects say. One that is not as Stripe promises holds up no other."""
    made = one.made or _of_subscriptions(connection, of, page)
    found: list[Said] = []
    for obj in page:
        try:
            found += made(obj)
        except MISSHAPEN as error:
            filled.unreadable[one.name] += 1
            reason = str(error) if isinstance(error, Missing) else type(error).__name__
            log.warning("backfill.unreadable", list=one.name, object=str(obj["id"]), reason=reason)
    return found


def _of_subscriptions(
    connection: Connection, of: Range, page: Sequence[Json]
) -> Callable[[Json], Iterator[Said]]:
    """With what was first heard of each, and the time of asking."""
    scope = (of.account, of.livemode)
    heard = subscriptions.first_heard(connection, {(*scope, str(obj["id"])) for obj in page})
    by_id: dict[str, Heard] = {key[2]: first for key, first in heard.items()}
    now = identities.now(connection)
    return lambda obj: told.of_subscription(obj, by_id.get(str(obj["id"])), now)


def _arrived(said: Said, of: Range, filled: Filled) -> Arrived | None:
    raw = json.dumps(said.event(of.account, of.livemode)).encode()
    try:
        return Arrived(open_envelope(raw), raw, BACKFILL)
    except NotAnEvent as error:
        filled.unreadable[said.type] += 1
        log.warning("backfill.unreadable", list=said.type, object=said.about, reason=str(error))
        return None


def note(wanted: Backfill, filled: Filled, who: str, why: str) -> None:
    """The audit line."""
    asked = {
        "from": wanted.since.isoformat(),
        "to": wanted.until.isoformat(),
        "parts": list(wanted.parts),
        "account": wanted.account,
        "livemode": wanted.livemode,
    }
    with wanted.engine.begin() as connection:
        audit.note(connection, who, "backfill", why, asked, filled.kept.total())
