"""Long runs: `python3 -m tests.orders --examples 5000`, and `--all-orders` for two short lives."""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from random import Random
from time import monotonic

import hypothesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st

from app.local.stores import EmbeddedStores
from app.settings import Settings
from app.store.migrate import migrate
from tests.orders.expect import expected
from tests.orders.history import live
from tests.orders.run import Bench, differences
from tests.orders.story import Buy, GiveBack, Life, Subscribe, lives

SHOWN = 3  # reports of differences, the shortest ones
SIX: Sequence[tuple[str, Life, Sequence[str]]] = (
    (
        "a subscription begins",
        Life(shape="basil", currency="usd", acts=(Subscribe(after=86_400, saved="session"),)),
        (
            "checkout.session.completed",
            "customer.subscription.created",
            "invoice.paid",
            "invoice.payment_succeeded",
            "payment_intent.succeeded",
            "invoice_payment.paid",
        ),
    ),
    (
        "a one-off payment is refunded, and the refund fails",
        Life(
            shape="basil",
            currency="usd",
            acts=(Buy(after=86_400, saved="session"), GiveBack(after=3_600, settles="fails")),
        ),
        (
            "checkout.session.completed",
            "payment_intent.succeeded",
            "charge.succeeded",
            "refund.created",
            "charge.refunded",
            "refund.failed",
        ),
    ),
)


@dataclass
class Figures:
    """What a run did so far."""

    began: float = field(default_factory=monotonic)
    examples: int = 0
    webhooks: int = 0
    orders: int = 0
    differing: int = 0

    def line(self) -> str:
        seconds = monotonic() - self.began
        return (
            f"{self.examples} examples, {self.webhooks} webhooks, {self.orders} orders,"
            f" {self.differing} with differences, {seconds:.1f} s"
        )


@contextmanager
def bench() -> Iterator[Bench]:
    """A bridge on a Postgres of its own, gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        stores = EmbeddedStores(Path(folder), valkey=False)
        try:
            url = stores.start().database_url
            migrate(url)
            here = Bench(Settings(database_url=url, data_dir=Path(folder)))
            yield here
            here.close()
        finally:
            stores.stop()


def any_orders(here: Bench, examples: int, seed: int, figures: Figures) -> list[Sequence[str]]:
    """So many lives, each in its own order and in another; what differed, shortest first."""
    found: list[Sequence[str]] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(lives(), st.integers(0, 2**32))
    def tell(life: Life, order: int) -> None:
        told = here.tell(life, order)
        figures.examples += 1
        figures.webhooks += told.webhooks
        figures.orders += 2
        figures.differing += bool(told.differences)
        if told.differences:
            found.append(told.differences)
        progress(figures)

    tell()
    return sorted(found, key=len)


def all_orders(here: Bench, figures: Figures) -> list[Sequence[str]]:
    """Every order of two lives of six webhooks each."""
    found: list[Sequence[str]] = []
    for title, life, types in SIX:
        told = [one for one in here.webhooks(life) if one.type in types]
        assert sorted(one.type for one in told) == sorted(types), title
        straight = here.in_order(told)
        said = [*here.unexpected(expected(live(life)), straight)]
        if said:
            found.append([title, *said])
        figures.examples += 1
        figures.webhooks += len(told)
        for number, order in enumerate(permutations(told)):
            mixed = here.in_disorder(order, Random(number))
            said = [*differences(straight, mixed)]
            figures.orders += 1
            figures.differing += bool(said)
            if said:
                found.append([title, *(one.type for one in order), *said])
            progress(figures)
    return found


def progress(figures: Figures) -> None:
    end = "" if sys.stderr.isatty() else "\n"
    if sys.stderr.isatty() or figures.orders % 200 == 0:
        sys.stderr.write(f"\r{figures.line()}{end}")
        sys.stderr.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.orders", description=__doc__)
    parser.add_argument("--examples", type=int, default=1_000, help="lives to tell")
    parser.add_argument("--seed", type=int, default=0, help="which lives")
    parser.add_argument("--all-orders", action="store_true", help="all orders of two short lives")
    asked = parser.parse_args()
    figures = Figures()
    with bench() as here:
        if asked.all_orders:
            found = all_orders(here, figures)
        else:
            found = any_orders(here, asked.examples, asked.seed, figures)
    for report in found[:SHOWN]:
        sys.stdout.write("\n" + "\n".join(report) + "\n")
    sys.stdout.write(f"\n{figures.line()}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
