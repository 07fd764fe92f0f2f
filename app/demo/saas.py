"""Half a year of a pretend SaaS: the webhooks Stripe would have sent, and what they add up to.

The sums are written down as the story happens, by nothing that the product uses to read
webhooks: whoever finds the same numbers in the webhooks has read them right.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from random import Random

from app.demo.books import VERSIONS, Coupon, Json, stripe_id
from app.demo.catalogue import coupon, price, product
from app.demo.envelopes import Emission
from app.demo.life import DAY, Life
from app.demo.market import Catalogue, catalogue, coupons, customer
from app.demo.stories import SHARES, steady
from app.demo.stories import Story as Kind
from app.demo.telling import Moment

SPAN = 183 * DAY
DUPLICATES = 0.08
LATE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One POST of Stripe's. A duplicate is the same event again, with other `pending_webhooks`."""

    body: bytes
    event_id: str
    type: str
    created: int
    duplicate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What must come out: `revenue` is payments less refunds, in minor units by currency;
    `counts` are analytics events by name; a failed payment counts once for each attempt."""

    events: int
    duplicates: int
    revenue: Mapping[str, int]
    payments: int
    refunds: int
    counts: Mapping[str, int]
    customers_without_identity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """`webhooks` in the order in which they are to be posted, which is not Stripe's order;
    `emissions` are what they tell, each once."""

    webhooks: list[Webhook]
    emissions: list[Emission]
    expected: Expected


def simulate(*, seed: int, customers: int, now: int, livemode: bool = False) -> Story:
    """Tell the half year until `now`. The same arguments tell the same story, to the byte."""
    rng = Random(f"saas:{seed}")
    plans, offers = catalogue(rng, now - SPAN - DAY), coupons(rng, now - SPAN - DAY)
    moments: list[Moment] = []
    kinds = _kinds(rng, customers)
    for number, kind in enumerate(kinds):
        life_rng = Random(f"saas:{seed}:{number}")
        life = _life(life_rng, number, now, plans, offers, livemode)
        moments += takewhile(lambda moment: moment.at <= now, _lived(life, kind))
    emissions = [*_shop(rng, plans, offers, now, livemode)]
    emissions += [emission for moment in moments for emission in moment.emissions]
    webhooks = _posted(rng, emissions)
    duplicates = len(webhooks) - len(emissions)
    nameless = 1 if customers else 0
    expected = _sums(moments, len(emissions), duplicates, nameless)
    return Story(webhooks=webhooks, emissions=emissions, expected=expected)


def _kinds(rng: Random, customers: int) -> list[Kind]:
    """Customer 0 is the nameless one; then one of each kind, then by their shares."""
    rest = rng.choices(list(SHARES), weights=list(SHARES.values()), k=customers)
    return [steady, *SHARES, *rest][:customers]


def _life(
    rng: Random,
    number: int,
    now: int,
    plans: Catalogue,
    offers: tuple[Coupon, ...],
    livemode: bool,
) -> Life:
    """The first ones come early, so that each kind of story is told to its end."""
    earliest, latest = (0.0, 0.15) if number <= len(SHARES) else (0.0, 0.97)
    created = now - SPAN + int(SPAN * rng.uniform(earliest, latest) ** 1.4)
    known = number > 0
    who = customer(rng, number, created, livemode=livemode, known=known, offers=offers)
    return Life(who, plans[who.currency], rng)


def _lived(life: Life, kind: Kind) -> Iterator[Moment]:
    yield life.arrive()
    yield from kind(life)


def _shop(
    rng: Random, plans: Catalogue, offers: tuple[Coupon, ...], now: int, livemode: bool
) -> Iterator[Emission]:
    """What Stripe says of the catalogue: created before the first customer, touched up monthly."""

    def told(kind: str, body: Json, created: int, previous: Json | None = None) -> Emission:
        return Emission(
            id=stripe_id(rng, "evt_1", 23),
            type=kind,
            created=created,
            version=VERSIONS[-1],
            livemode=livemode,
            object=body,
            previous=previous,
        )

    opening = now - SPAN - DAY
    for plan in plans["usd"].values():
        yield told("product.created", product(plan, livemode), opening)
        for month in range(1, 6):
            at = opening + month * 30 * DAY
            body = product(plan, livemode) | {"updated": at}
            yield told("product.updated", body, at, {"updated": opening})
    for priced in plans.values():
        for plan in priced.values():
            yield told("price.created", price(plan, VERSIONS[-1], livemode), opening)
    for offer in offers:
        yield told("coupon.created", coupon(offer, livemode), opening)


def _posted(rng: Random, emissions: list[Emission]) -> list[Webhook]:
    """As they arrive: mostly at once, some minutes late, some twice; never in Stripe's order."""
    arrivals: list[tuple[float, int, Webhook]] = []
    for place, emission in enumerate(emissions):
        delay = rng.uniform(30, 900) if rng.random() < LATE else rng.uniform(0, 8)
        arrival = emission.created + delay
        arrivals.append((arrival, place, _webhook(emission, pending=2)))
        if rng.random() < DUPLICATES:
            again = arrival + rng.uniform(1, 7_200)
            arrivals.append((again, place, _webhook(emission, pending=1, duplicate=True)))
    return [webhook for _, _, webhook in sorted(arrivals, key=lambda arrival: arrival[:2])]


def _webhook(emission: Emission, pending: int, duplicate: bool = False) -> Webhook:
    return Webhook(
        body=emission.body(pending),
        event_id=emission.id,
        type=emission.type,
        created=emission.created,
        duplicate=duplicate,
    )


def _sums(moments: list[Moment], events: int, duplicates: int, nameless: int) -> Expected:
    counts = Counter(fact for moment in moments for fact in moment.facts)
    revenue: Counter[str] = Counter()
    for moment in moments:
        revenue[moment.currency] += moment.money
    return Expected(
        events=events,
        duplicates=duplicates,
        revenue={currency: minor for currency, minor in sorted(revenue.items()) if minor},
        payments=counts["payment_succeeded"],
        refunds=counts["refund_created"],
        counts=dict(sorted(counts.items())),
        customers_without_identity=nameless,
    )
