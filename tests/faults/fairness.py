"""One destination hangs, another is healthy, and there is one worker: does the healthy one wait?

Webhooks that each owe one delivery to each destination come at a steady pace, once with both
receivers honest and once with one of them answering nobody.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

from app.demo.envelopes import Emission
from app.demo.saas import Webhook
from tests.faults.bridge import SECRET, wait
from tests.faults.checker import read_log
from tests.faults.faults import Director
from tests.faults.load import Load
from tests.faults.report import percentile
from tests.faults.stage import Plan, stage

HANGS, HEALTHY = "amplitude", "webhook"
RATE = 40.0  # webhooks a second
TIMES, AND = 1.5, 0.2  # what the healthy one's p95 may be of its own without the hang; or + seconds
PATIENCE = 60.0  # seconds until the healthy one has all


@dataclass(frozen=True, slots=True, kw_only=True)
class Fairness:
    """Seconds from a delivery being owed to its arrival at the healthy destination."""

    deliveries: int
    alone: float  # p95 with both honest
    beside: float  # p95 with the other one hanging

    @property
    def is_fair(self) -> bool:
        return self.beside <= max(TIMES * self.alone, self.alone + AND)

    def __str__(self) -> str:
        return (
            f"{self.deliveries:,} deliveries to {HEALTHY} by one worker, from owed to arrived:"
            f" p95 {self.alone * 1000:.0f} ms; with {HANGS} hanging {self.beside * 1000:.0f} ms."
        )


def measure(folder: Path, deliveries: int = 1_000) -> Fairness:
    """Both runs, one after the other, each on stores of its own."""
    alone = _p95(folder / "alone", deliveries, hangs=False)
    beside = _p95(folder / "beside", deliveries, hangs=True)
    return Fairness(deliveries=deliveries, alone=alone, beside=beside)


def _p95(folder: Path, deliveries: int, *, hangs: bool) -> float:
    plan = Plan(seed=1, mortal=1, stopping=0, exits=False, share=0.0, lane_workers=2)
    with stage(plan, folder) as built:
        load = Load(built.port, SECRET, folder / "answers.jsonl", seed=1, rate=RATE, customers=1)
        director = Director(built, load, [])
        director.start()
        if hangs:
            built.hang(HANGS)
        worker = built.places[0].process
        assert worker is not None
        wait(lambda: worker.said("worker.ready"), "the worker is ready")
        load.start_senders()
        began = time.monotonic()
        for number in range(deliveries):
            load.post(_expired_checkout(number))
            time.sleep(max(0.0, began + number / RATE - time.monotonic()))
        arrived = f"SELECT count(*) FROM deliveries WHERE destination = '{HEALTHY}'"
        arrived += " AND state = 'delivered'"
        wait(lambda: built.sql(arrived) == [(deliveries,)], "all of it arrived", PATIENCE)
        load.stop()
        log, _ = read_log(built.receivers_log)
        owed: dict[str, float] = {
            row[0]: row[1]
            for row in built.sql(
                "SELECT dedupe_id::text, extract(epoch FROM created_at)::float8 FROM deliveries"
                f" WHERE destination = '{HEALTHY}'"
            )
        }
    seconds = [one.at - owed[one.key] for one in log if one.to == HEALTHY]
    return percentile(seconds, 0.95)


def _expired_checkout(number: int) -> Webhook:
    """A webhook that is told at once: its own session says whose it is."""
    rng = Random(f"fairness:{number}")
    session = {
        "id": f"cs_test_{number:08d}{rng.getrandbits(64):016x}",
        "object": "checkout.session",
        "mode": "subscription",
        "status": "expired",
        "payment_status": "unpaid",
        "amount_total": 1200,
        "currency": "usd",
        "customer": None,
        "subscription": None,
        "payment_intent": None,
        "invoice": None,
        "created": int(time.time()) - 60,
        "expires_at": int(time.time()),
        "livemode": False,
        "metadata": {"br_user_id": f"user-{number}", "br_device_id": f"device-{number}"},
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
    }
    emission = Emission(
        id=f"evt_fair{number:08d}",
        type="checkout.session.expired",
        created=int(time.time()),
        version="2025-03-31.basil",
        livemode=False,
        object=session,
    )
    return Webhook(
        body=emission.body(), event_id=emission.id, type=emission.type, created=emission.created
    )
