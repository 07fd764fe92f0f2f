"""A bridge with two destinations and the month's Stripe, worked by its command line."""

import json
import shlex
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner, Result

from app.cli import cli, correct
from app.core.envelope import open_envelope
from app.demo.receiver import AMPLITUDE_KEY, WEBHOOK_SECRET, Receiver, receiver
from app.drain import Drain
from app.local.stores import Stores
from app.settings import Settings, load
from app.store.migrate import set_reporting_zone
from app.store.webhook_events import Arrived, keep_all
from tests.fake_stripe import FakeStripe, fake_stripe
from tests.month.books import Books, Json

KEY = "rk_live_plantedPLANTED0123456789"
Finding = tuple[str, str, str, str, int | None, int | None]
PATIENCE = 60.0  # seconds


@dataclass
class Bench:
    """One bridge: what it is told, and what its verbs say."""

    engine: Engine
    stripe: FakeStripe
    tools: Receiver
    env: dict[str, str]
    folder: Path

    @property
    def settings(self) -> Settings:
        """The workers'. They have no API key: Stripe is asked by the verbs alone."""
        return load({name: value for name, value in self.env.items() if name != "STRIPE_API_KEY"})

    def hears(
        self, books: Books, *, but: Collection[str] = (), only: Collection[str] | None = None
    ) -> None:
        """Stripe posts its webhooks, `but` some, or `only` some; all that follows is done."""
        wanted = {one.id for one in books.emissions} - set(but) if only is None else set(only)
        told = [one for one in books.events() if one["id"] in wanted]
        bodies = [json.dumps(one).encode() for one in told]
        with self.engine.begin() as connection:
            keep_all(connection, [Arrived(open_envelope(one), one, "webhook") for one in bodies])
        self.works()

    def hears_of(self, told: Json) -> None:
        """One webhook that is in nobody's books."""
        body = json.dumps(told).encode()
        with self.engine.begin() as connection:
            keep_all(connection, [Arrived(open_envelope(body), body, "webhook")])
        self.works()

    def works(self) -> None:
        """A worker, until nothing is left to do; no hold is waited for."""
        due = text("UPDATE work SET due_at = clock_timestamp()")
        left = text("SELECT count(*) FROM work")
        drain = Drain(self.engine, self.settings, lambda: True)
        until = monotonic() + PATIENCE
        while monotonic() < until:
            with self.engine.begin() as connection:
                connection.execute(due)
            drain.run()
            with self.engine.begin() as connection:
                if not connection.execute(left).scalar_one():
                    break
            sleep(0.05)
        drain.stop()

    def runs(self, *words: str, key: bool = True) -> Result:
        """A verb of the command line, in this process."""
        unset = {name: None for name in ("STRIPE_API_KEY", "COLUMNS") if name not in self.env}
        env: dict[str, str | None] = {**unset, **self.env}
        if not key:
            env["STRIPE_API_KEY"] = None
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.setattr(correct, "WAIT", 0.0)  # the worker comes after it
            return CliRunner().invoke(cli, list(words), env=env, catch_exceptions=False)

    def reconciles(self, books: Books, *words: str, code: int, key: bool = True) -> "Said":
        """`bridge reconcile --json` of the month."""
        days = ("--from", str(books.start), "--to", str(books.end))
        done = self.runs("reconcile", *days, *words, "--json", key=key)
        assert done.exit_code == code, done.output
        return Said(json.loads(done.stdout_bytes))

    def file(self, name: str, content: bytes) -> str:
        (self.folder / name).write_bytes(content)
        return name

    def sql(self, statement: str, **values: object) -> None:
        """As a replica, which may change what the ledger's triggers guard."""
        with self.engine.begin() as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            done = connection.execute(text(statement), values)
            assert done.rowcount == 1, statement

    def one(self, query: str, **values: object) -> Any:
        with self.engine.connect() as connection:
            return connection.execute(text(query), values).scalar_one()

    def ledger(self) -> dict[str, int]:
        """Minor units by currency, of everything."""
        query = "SELECT trim(currency), sum(minor)::bigint FROM revenue_entries GROUP BY 1"
        with self.engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(text(query)) if row[1]}


@dataclass(frozen=True)
class Said:
    """What a reconciliation said, as JSON."""

    found: Json

    @property
    def named(self) -> list[Finding]:
        """All that did not simply match."""
        names = ("subject", "class", "reason", "currency", "stripe", "ledger")
        return _sorted(tuple(one[name] for name in names) for one in self.found["results"])

    @property
    def differences(self) -> list[Finding]:
        open_ = {one["subject"] for one in self.found["results"] if not one["explained"]}
        return [one for one in self.named if one[0] in open_]

    @property
    def steps(self) -> dict[str, str]:
        """The next step, by what it is of."""
        return {one["subject"]: one["next"] for one in self.found["results"]}

    @property
    def corrected(self) -> int:
        """How many entries match since they were corrected."""
        return sum(one["count"] for one in self.found["classes"] if one["reason"] == "corrected")

    def commands(self) -> list[list[str]]:
        """The next steps that are commands, each once."""
        steps = {*self.steps.values(), *(one.get("next", "") for one in self.found["delivered"])}
        said = sorted(step for step in steps if step.startswith("bridge "))
        return [shlex.split(step)[1:] for step in said]

    def sums(self, side: str) -> dict[str, int]:
        """Minor units by currency of all parts: of `stripe` or `ledger`."""
        total: dict[str, int] = {}
        for one in self.found["totals"]:
            total[one["currency"]] = total.get(one["currency"], 0) + one[side]
        return dict(sorted(total.items()))

    def delivered(self, destination: str) -> dict[str, int]:
        """Minor units by currency that were delivered to it."""
        rows = [one for one in self.found["delivered"] if one["destination"] == destination]
        states = {one["currency"]: one["states"]["delivered"]["minor"] for one in rows}
        return dict(sorted(states.items()))

    @property
    def dead(self) -> dict[str, int]:
        """How many deliveries are dead, by destination."""
        found: dict[str, int] = {}
        for one in self.found["delivered"]:
            if dead := one["states"].get("dead"):
                name = one["destination"]
                found[name] = found.get(name, 0) + dead["count"]
        return found

    @property
    def told_wrong(self) -> set[str]:
        """Entries of which a destination was told another amount."""
        return {one["entry"] for one in self.found["wrong_amounts"]}

    def but(self, *names: str) -> Json:
        return {name: value for name, value in self.found.items() if name not in names}


def _sorted(found: Any) -> list[Finding]:
    return sorted(found, key=lambda one: tuple(map(str, one)))


def named(*findings: Finding) -> list[Finding]:
    return _sorted(findings)


@contextmanager
def bench(engine: Engine, stores: Stores, folder: Path) -> Iterator[Bench]:
    with engine.begin() as connection:
        set_reporting_zone(connection, "Europe/Berlin")
    with receiver() as tools, fake_stripe(key=KEY) as stripe:
        env = {
            "DATABASE_URL": stores.database_url,
            "REDIS_URL": stores.redis_url,
            "BRIDGE_TIMEZONE": "Europe/Berlin",
            "BRIDGE_ALLOW_LOCAL_URLS": "true",
            "BRIDGE_DEST_AMPLITUDE_API_KEY": AMPLITUDE_KEY,
            "BRIDGE_DEST_AMPLITUDE_URL": tools.amplitude_url,
            "BRIDGE_DEST_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "BRIDGE_DEST_WEBHOOK_URL": tools.webhook_url,
            "STRIPE_API_KEY": KEY,
            "STRIPE_API_BASE": stripe.base,
        }
        yield Bench(engine, stripe, tools, env, folder)
