"""The measurements run and say what they promise; how fast is not for tests."""

from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy import Engine

from app.local.stores import Stores
from bench import door, drain, finance, latency, reconcile, reference, tables, views
from bench.client import bodies
from bench.room import Room


@pytest.fixture
def room(stores: Stores, engine: Engine, tmp_path: Path) -> Room:
    """On the tests' own stores."""
    return Room(stores=stores, folder=tmp_path, engine=engine)


Result = (
    door.Door | drain.Drain | latency.Latency | finance.Finance | reconcile.Reconcile | views.Views
)


def shown(result: Result) -> str:
    console = Console(width=160)
    with console.capture() as captured:
        console.print(tables.table(result))
    return captured.get()


def test_door(room: Room) -> None:
    result = door.measure(room, connections=[2], rounds=1, seconds=0.3)
    [level] = result.levels
    assert level.others == {}
    assert level.rate > 0
    assert level.ratio == pytest.approx(level.rate / level.reference)
    assert 0 < level.p50 <= level.p99
    assert result.reference in shown(result)


def test_door_without_pgbench(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "_pgbench", lambda: None)
    assert reference.name() != "pgbench"
    assert reference.rate(room.stores.database_url, 2, 0.2, bodies()[0][1]) > 0


def test_drain(room: Room) -> None:
    result = drain.measure(room, events=60, targets=[("amplitude", "webhook")])
    alone, worker = result.runs
    assert (alone.what, worker.what) == ("process", "worker")
    assert alone.events == worker.events == 60
    assert alone.rate > 0
    assert alone.cpu_us > 0
    assert worker.deliveries > 0
    assert "amplitude, webhook" in shown(result)


def test_latency(room: Room) -> None:
    result = latency.measure(room, rate=20, seconds=0.5)
    assert (result.sent, result.missing, result.others) == (10, 0, 0)
    assert result.p50 <= result.p99
    assert "latency" in shown(result)


def test_finance(room: Room) -> None:
    result = finance.measure(room, entries=2_000, forms=("csv",), rounds=1)
    [export] = result.exports
    assert (result.entries, export.form) == (2_000, "csv")
    assert export.fifth_mib > 0
    assert export.ratio > 0
    assert "ratio" in shown(result)


def test_reconcile(room: Room) -> None:
    result = reconcile.measure(room, entries=2_000, transactions=1_000)
    steps = ["start", "read the file", "compare"]
    assert [step.name for step in result.first] == [*steps, "write CSV", "write XLSX"]
    assert [step.name for step in result.again] == steps
    assert all(step.seconds > 0 and step.peak_mib > 0 for step in result.first)
    assert "made by SQL" in shown(result)


def test_views(room: Room) -> None:
    result = views.measure(room, entries=2_000, subscriptions=100)
    assert [one.name for one in result.views] == list(views.READ)
    assert all(one.rows > 0 and one.seconds > 0 for one in result.views)
    assert "dq_summary" in shown(result)
