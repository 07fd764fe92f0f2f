"""Subscription snapshots and catalogue -> what each subscription was worth a month, and when."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import structlog
from sqlalchemy import Connection, Engine

from app.core.facts import CatalogueItem
from app.core.reading.catalogue import coupon_items, discount_items, price_items
from app.core.reading.shapes import Json, rows
from app.core.worth.discounts import Key
from app.core.worth.last_stated import Stated, last_stated
from app.core.worth.mrr import Worth, worth
from app.release import release
from app.settings import Settings
from app.store import (
    analytics_events,
    catalogue,
    identities,
    subscription_states,
    subscriptions,
    work,
)
from app.store.catalogue import ItemKey
from app.store.identities import Scope, Scoped
from app.store.subscription_states import Lacking
from app.store.subscriptions import Second
from app.stripe_api import StripeApi, StripeMissing, StripeRefused, StripeUnavailable

BATCH = 200
CHUNK = 1000  # seconds of subscriptions in memory at once: a coupon may be on all of them
QUESTIONS = 50  # to Stripe's API in one go
AGAIN = 0  # the row of work that is no webhook event's: only to look once more
SOON = 60.0  # seconds until Stripe may be in reach again
ASK_AGAIN = 86_400.0  # seconds until Stripe is asked again for what it did not have
MISSHAPEN = (ArithmeticError, AttributeError, KeyError, TypeError, ValueError)

log = structlog.get_logger()


def measure(engine: Engine, settings: Settings, api: StripeApi | None = None) -> int:
    """Measure what up to 200 webhook events changed; how many, 0 when there was nothing.

    With an API, what the catalogue lacks is asked for, outside any transaction, and counted as
    well; without, what depends on it stays unknown.
    """
    with engine.begin() as connection:
        if not subscription_states.begin(connection):
            return 0
        due = subscription_states.claim(connection, BATCH)
        # What is committed after this point brought its own row of work: it is measured then, so
        # that what this batch does not see yet is not forgotten.
        changed = catalogue.changed_by(connection, due)
        seconds = subscriptions.seconds_of(connection, due)
        _measure(connection, seconds | subscription_states.depending(connection, changed))
        subscription_states.finish(connection, due)
    return len(due) + (_complete(engine, settings, api) if api else 0)


def _measure(connection: Connection, seconds: Collection[Second]) -> None:
    waiting = iter(sorted(seconds))
    while chunk := list(islice(waiting, CHUNK)):
        stated = subscriptions.stated(connection, chunk)
        lasts = {second: last_stated(said) for second, said in stated.items()}
        worths = _worths(connection, lasts)
        subscription_states.write(
            connection, {second: (last, worths[second]) for second, last in lasts.items()}
        )


def _worths(connection: Connection, lasts: Mapping[Second, Stated]) -> dict[Second, Worth]:
    """Measured until nothing new is asked of the catalogue: a discount leads to its coupon, and
    that to its products, so three or four rounds for all."""
    known: dict[Scope, dict[Key, Json]] = defaultdict(dict)
    looked_up: set[ItemKey] = set()
    while True:
        worths = {
            second: _worth(last, known[second[0], second[1]]) for second, last in lasts.items()
        }
        asked = {
            (account, livemode, *key)
            for (account, livemode, _, _), found in worths.items()
            for key in found.asked
        }
        if asked <= looked_up:
            return worths
        for key, body in catalogue.known(connection, asked - looked_up).items():
            account, livemode, kind, item_id = key
            known[account, livemode][kind, item_id] = body
        looked_up |= asked


def _worth(last: Stated, known: Mapping[Key, Json]) -> Worth:
    """One that cannot be read is unknown, and does not keep the others waiting."""
    try:
        return worth(last.snapshot, last.at, known)
    except MISSHAPEN as error:
        log.error("measure.misshapen", webhook_event=last.event_id, error=type(error).__name__)
        return Worth(minor=None)


# --- what only Stripe's API can say


@dataclass
class Answers:
    """What Stripe's API was asked for, and what it said."""

    checked: set[ItemKey] = field(default_factory=set)
    items: list[tuple[Scope, None, CatalogueItem]] = field(default_factory=list)


def _complete(engine: Engine, settings: Settings, api: StripeApi) -> int:
    """Ask for what is missing, add it, and measure what depends on it; how many were asked for."""
    with engine.connect() as connection:
        lacking = subscription_states.lacking(connection, QUESTIONS, ASK_AGAIN)
    answers = _answers(api, lacking)
    if answers.checked:
        with engine.begin() as connection:
            subscription_states.await_turn(connection)
            known = {(*scope, item.id) for scope, _, item in answers.items}
            identities.lock(connection, known)  # before the catalogue's rows, as `process` does
            catalogue.add(connection, answers.items)
            catalogue.check(connection, answers.checked)
            keys = {(*scope, item.kind, item.id) for scope, _, item in answers.items}
            _measure(connection, subscription_states.depending(connection, keys))
            _tell(connection, settings, known)
    if lacking:
        unasked = {one.key for one in lacking} - answers.checked
        with engine.begin() as connection:
            work.put(connection, work.MEASURE, [AGAIN], SOON if unasked else ASK_AGAIN)
    return len(answers.checked)


def _tell(connection: Connection, settings: Settings, known: Collection[Scoped]) -> None:
    """Changes of plan whose prices are known now are up or down, and may leave."""
    waiting = analytics_events.waiting_for(connection, known)
    if waiting:
        release(connection, settings, told=[], held=waiting, refs=identities.Refs())


def _answers(api: StripeApi, lacking: Sequence[Lacking]) -> Answers:
    """Each object is asked for once. What Stripe does not have, or refuses to show, counts as
    asked for; while it is out of reach of an account, the rest of that waits."""
    questions: dict[tuple[Scope, str, str], set[ItemKey]] = defaultdict(set)
    for one in lacking:
        account, livemode, kind, item_id = one.key
        name = kind.partition(".")[0]
        about = one.subscription if name == "discount" else item_id
        questions[(account, livemode), name, about].add(one.key)
    answers, away = Answers(), set[Scope]()
    for (scope, name, about), keys in questions.items():
        if scope in away:
            continue
        try:
            found = _ask(api, name, about, scope[0])
        except StripeUnavailable as error:
            log.warning("measure.stripe_unavailable", reason=str(error))
            away.add(scope)
            continue
        except (StripeMissing, StripeRefused) as error:
            log.warning("measure.stripe_has_not", reason=str(error))
            found = {}
        answers.checked |= keys
        # A test mode key answers for test mode; a coupon's id may stand for another one there.
        if found.get("livemode") is scope[1]:
            answers.items += [(scope, None, item) for item in _items(found)]
    return answers


def _ask(api: StripeApi, name: str, about: str, account: str) -> dict[str, Any]:
    ask = {"price": api.price, "coupon": api.coupon, "discount": api.subscription}[name]
    return ask(about, account)


def _items(found: Json) -> Iterator[CatalogueItem]:
    """All catalogue items in an answer; a subscription brings its discounts and its items'."""
    now = datetime.now(UTC)
    read = {"price": price_items, "coupon": coupon_items}.get(str(found.get("object")))
    if read:
        yield from read(found, now)
    for holder in (found, *rows(found.get("items"))):
        for discount in rows(holder.get("discounts")):
            yield from discount_items(discount, now)
