"""The kinds of customers a SaaS has. Each story is read from top to bottom until today comes."""

from collections.abc import Callable, Iterator

from app.demo.checkout import buy_once, sign_up
from app.demo.life import DAY, Life
from app.demo.telling import Moment

Story = Callable[[Life], Iterator[Moment]]
ONE_OFF = {"usd": 9900, "eur": 8950, "jpy": 14_800}


def steady(life: Life) -> Iterator[Moment]:
    """Subscribes and stays; now and then a payment fails once."""
    yield sign_up(life, life.plans[life.rng.choice(("Starter", "Pro"))])
    yield from life.renewals(1, credit=life.rng.choice((0, 0, 0, 500)))
    if life.rng.random() < 0.15:
        yield from life.failing_renewal(1, recovers=True)
    yield from life.renewals()


def yearly(life: Life) -> Iterator[Moment]:
    """Pays once for the year."""
    yield sign_up(life, life.plans["Pro Yearly"])


def trial_converts(life: Life) -> Iterator[Moment]:
    """Tries for two weeks, then pays."""
    yield sign_up(life, life.plans["Pro"], trial_days=14)
    yield from life.renewals()


def trial_then_yearly(life: Life) -> Iterator[Moment]:
    """Tries, then pays a year."""
    yield sign_up(life, life.plans["Pro Yearly"], trial_days=7)
    yield from life.renewals()


def trial_recovers(life: Life) -> Iterator[Moment]:
    """The very first payment, at the trial's end, fails once."""
    yield sign_up(life, life.plans["Starter"], trial_days=14)
    yield from life.failing_renewal(1, recovers=True)
    yield from life.renewals()


def trial_left(life: Life) -> Iterator[Moment]:
    """Cancels during the trial and is gone at once."""
    yield sign_up(life, life.plans["Pro"], trial_days=14)
    yield life.cancel_now()


def trial_runs_out(life: Life) -> Iterator[Moment]:
    """Cancels during the trial, to the trial's end."""
    yield sign_up(life, life.plans["Starter"], trial_days=14)
    yield life.schedule_cancel()
    yield life.end()


def upgrades(life: Life) -> Iterator[Moment]:
    """Starter becomes Pro in the middle of a month."""
    yield sign_up(life, life.plans["Starter"])
    yield from life.renewals(life.rng.randrange(2))
    yield life.change(life.plans["Pro"])
    yield from life.renewals()


def downgrades(life: Life) -> Iterator[Moment]:
    """Pro becomes Starter; some come back to Pro later."""
    yield sign_up(life, life.plans["Pro"])
    yield from life.renewals(1)
    yield life.change(life.plans["Starter"])
    yield from life.renewals(1)
    if life.rng.random() < 0.3:
        yield life.change(life.plans["Pro"])
    yield from life.renewals()


def team(life: Life) -> Iterator[Moment]:
    """Pays per seat; seats come and go."""
    seats = life.rng.randrange(3, 9)
    yield sign_up(life, life.plans["Team"], quantity=seats)
    yield life.change(quantity=seats + life.rng.randrange(1, 4))
    yield from life.renewals(1)
    yield life.change(quantity=seats - 1)
    yield from life.renewals()


def leaves(life: Life) -> Iterator[Moment]:
    """Cancels to the end of a paid month."""
    yield sign_up(life, life.plans["Starter"])
    yield from life.renewals(life.rng.randrange(1, 3))
    yield life.schedule_cancel()
    yield life.end()


def leaves_at_once(life: Life) -> Iterator[Moment]:
    """Cancels now and gets the last payment back."""
    yield sign_up(life, life.plans["Pro"])
    yield from life.renewals(life.rng.randrange(2))
    yield life.cancel_now()
    yield life.give_back()


def changes_mind(life: Life) -> Iterator[Moment]:
    """Cancels, then undoes it before the month is over."""
    yield sign_up(life, life.plans["Pro"])
    yield life.schedule_cancel()
    yield life.uncancel()
    yield from life.renewals()


def recovers(life: Life) -> Iterator[Moment]:
    """A renewal fails once or twice, then goes through."""
    yield sign_up(life, life.plans["Pro"])
    yield from life.failing_renewal(life.rng.randrange(1, 3), recovers=True)
    yield from life.renewals()


def lost_to_dunning(life: Life) -> Iterator[Moment]:
    """A renewal fails until Stripe gives up and ends the subscription."""
    yield sign_up(life, life.plans["Starter"])
    yield from life.renewals(life.rng.randrange(2))
    yield from life.failing_renewal(4, recovers=False)


def refunded(life: Life) -> Iterator[Moment]:
    """Gets a part of a payment back, then another part, and stays."""
    yield sign_up(life, life.plans["Pro"])
    yield from life.renewals(1)
    part = life.ledger.payments[-1].amount // 3
    yield life.give_back(part)
    yield life.give_back(part // 2)
    yield from life.renewals()


def buys_once(life: Life) -> Iterator[Moment]:
    """No subscription: a payment or two, one of them perhaps given back."""
    yield buy_once(life, ONE_OFF[life.customer.currency], guest=life.rng.random() < 0.3)
    if life.rng.random() < 0.3:
        yield life.give_back()
    life.clock += life.rng.randrange(20 * DAY, 60 * DAY)
    yield buy_once(life, ONE_OFF[life.customer.currency] * 2)


def comes_back(life: Life) -> Iterator[Moment]:
    """Pays, leaves, and subscribes anew some weeks later."""
    yield from leaves(life)
    life.clock += life.rng.randrange(10 * DAY, 30 * DAY)
    yield sign_up(life, life.plans["Pro"])
    yield from life.renewals()


# How many of a hundred customers live like this. Everyone is there before anyone is there twice.
SHARES: dict[Story, int] = {
    comes_back: 5,
    lost_to_dunning: 5,
    upgrades: 9,
    downgrades: 5,
    team: 8,
    leaves: 8,
    leaves_at_once: 4,
    changes_mind: 4,
    recovers: 6,
    refunded: 4,
    trial_converts: 12,
    trial_recovers: 2,
    trial_then_yearly: 2,
    trial_left: 4,
    trial_runs_out: 4,
    buys_once: 6,
    yearly: 3,
    steady: 12,
}
