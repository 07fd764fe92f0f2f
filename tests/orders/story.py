"""What a customer does, and when: acts in business time, and how Hypothesis draws them.

A life knows nothing of webhooks. `history` lives it, `shapes` tells it as Stripe would, and
`expect` says what must come out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

from hypothesis import strategies as st

HOUR, DAY = 3_600, 86_400
BEGINNING = 1_740_823_800  # 2025-03-01 10:10 UTC

SHAPES: Mapping[str, str] = {
    "pre-basil": "2023-10-16",
    "basil": "2025-06-30.basil",
    "clover": "2025-09-30.clover",
    "endive": "2026-10-28.endive",
}
CURRENCIES = ("usd", "eur", "jpy", "kwd", "ugx", "isk")

# Where the checkout page saved the visitor's ids. The object is the subscription or the payment.
Saved = Literal["session", "same", "different", "object", "nowhere"]
PlanName = Literal["basic", "plus", "yearly"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    """A checkout in subscription mode; `after` seconds since the act before, as everywhere."""

    after: int
    plan: PlanName = "basic"
    seats: int = 1
    trial_days: int = 0
    saved: Saved = "same"


@dataclass(frozen=True, slots=True, kw_only=True)
class Buy:
    """A checkout in payment mode: one payment, no invoice. `amount` in hundreds of minor units."""

    after: int
    amount: int = 99
    saved: Saved = "same"


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew:
    """The next period of a living subscription begins, and how it is paid."""

    which: int = 0
    paid: Literal["at once", "in parts", "after a failure", "after two failures", "never"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Another plan or one more or one less seat; `back_after` seconds it is undone.

    `billing`: what costs more is invoiced at once, or everything waits for the next invoice.
    """

    after: int
    which: int = 0
    what: Literal["plan", "more seats", "fewer seats"] = "plan"
    billing: Literal["now", "pending"] = "now"
    back_after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Cancelled at once; or at the period's end, and perhaps the customer thinks better of it."""

    after: int
    which: int = 0
    when: Literal["now", "period end", "period end, undone"] = "now"


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveBack:
    """Refunds of one payment, each this share of it in percent; all may fail days later."""

    after: int
    which: int = 0
    shares: tuple[int, ...] = (100,)
    settles: Literal["at once", "later", "fails", "pends and fails"] = "at once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """The customer's bank takes a payment back, and is refused in the end or not.

    `home`: the account's balance is in another currency than the payment.
    """

    after: int
    which: int = 0
    ends: Literal["won", "lost", "open"] = "won"
    home: bool = False


Act = Subscribe | Buy | Renew | Change | Cancel | GiveBack | Dispute


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One customer's acts, and the API version in which the account hears of them."""

    shape: str
    currency: str
    acts: tuple[Act, ...]
    taxed: bool = False
    livemode: bool = True

    def __str__(self) -> str:
        head = f"{self.shape}, {self.currency}{', taxed' if self.taxed else ''}"
        return "\n".join([head, *(f"  {act}" for act in self.acts)])


SOON = st.integers(10 * 60, 2 * HOUR)
LATER = st.integers(2 * DAY, 20 * DAY)
PAUSE = SOON | LATER
SAVED: st.SearchStrategy[Saved] = st.sampled_from(
    ("session", "same", "different", "object", "nowhere", "nowhere")
)


def _any(*choices: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(choices)


SUBSCRIBE = st.builds(
    Subscribe,
    after=LATER,
    plan=_any("basic", "plus", "basic", "plus", "yearly"),
    seats=st.integers(1, 3),
    trial_days=_any(0, 0, 5, 14),
    saved=SAVED,
)
BUY = st.builds(Buy, after=LATER, amount=st.integers(1, 400), saved=SAVED)
RENEW = st.builds(
    Renew,
    which=st.integers(0, 1),
    paid=_any("at once", "in parts", "after a failure", "after two failures", "never"),
)
CHANGE = st.builds(
    Change,
    after=PAUSE,
    which=st.integers(0, 1),
    what=_any("plan", "more seats", "fewer seats"),
    billing=_any("now", "pending"),
    back_after=st.none() | st.integers(60, HOUR) | st.integers(HOUR, 2 * DAY),
)
CANCEL = st.builds(
    Cancel,
    after=PAUSE,
    which=st.integers(0, 1),
    when=_any("now", "period end", "period end, undone"),
)
GIVE_BACK = st.builds(
    GiveBack,
    after=PAUSE,
    which=st.integers(0, 5),
    shares=_any((100,), (40,), (30, 50), (20, 20, 60)),
    settles=_any("at once", "later", "fails", "pends and fails"),
)
DISPUTE = st.builds(
    Dispute,
    after=PAUSE,
    which=st.integers(0, 5),
    ends=_any("won", "lost", "open"),
    home=st.booleans(),
)


LEAVE = st.builds(Cancel, after=PAUSE, which=st.integers(0, 1), when=st.just("now"))
CHAPTERS: st.SearchStrategy[tuple[Act, ...]] = st.one_of(
    st.tuples(LEAVE, SUBSCRIBE),  # comes back, perhaps on another device
    st.tuples(RENEW, RENEW),
    st.tuples(RENEW, GIVE_BACK),
    st.tuples(CHANGE, RENEW),
    st.tuples(BUY, GIVE_BACK),
    st.tuples(CHANGE),
    st.tuples(CANCEL),
    st.tuples(SUBSCRIBE),
    st.tuples(DISPUTE),
)


@st.composite
def lives(draw: st.DrawFn) -> Life:
    """Some checkouts, perhaps on several devices, then some chapters."""
    begins = draw(st.lists(st.one_of(SUBSCRIBE, SUBSCRIBE, BUY), min_size=1, max_size=3))
    count = draw(st.integers(0, 2))
    chapters = draw(st.lists(CHAPTERS, min_size=count, max_size=count))
    return Life(
        shape=draw(st.sampled_from(tuple(SHAPES))),
        currency=draw(st.sampled_from(CURRENCIES)),
        acts=(*begins, *chain.from_iterable(chapters)),
        taxed=draw(st.booleans()),
        livemode=draw(st.booleans()),
    )
