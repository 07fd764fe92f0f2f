"""One run: load, faults, the end of both, and the verdict."""

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tests.faults.bridge import SECRET
from tests.faults.checker import Received, check, read_log
from tests.faults.faults import FAULTS, PAST_LEASE, Director, Fault
from tests.faults.load import Load
from tests.faults.report import Injected, Report, errors_in, report
from tests.faults.stage import Plan, Stage, stage

PROGRESS = 10.0  # seconds between two lines
POSTED_WITHIN = 120.0  # seconds that what is begun may take to be posted and acknowledged
# What a worker has in hand is passed over: each would wait for the other.
DUE_NOW = """
    UPDATE work w SET due_at = clock_timestamp() FROM (
        SELECT lane, ref_id FROM work WHERE NOT leased AND due_at > clock_timestamp()
        FOR UPDATE SKIP LOCKED
    ) waiting WHERE (w.lane, w.ref_id) = (waiting.lane, waiting.ref_id)
"""
END_HOLDS = """
    UPDATE analytics_events e SET held_until = clock_timestamp() FROM (
        SELECT id FROM analytics_events WHERE state = 'held' AND held_until > clock_timestamp()
        FOR UPDATE SKIP LOCKED
    ) held WHERE e.id = held.id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """`patience`: seconds after the faults' end in which all must be delivered; `hurried`: waits
    that the database's clock ends (holds, backoff) are cut short then, for a short run."""

    plan: Plan
    minutes: float
    rate: float
    customers: int = 30
    faults: Sequence[str] = tuple(fault.name for fault in FAULTS)
    hastened: float = 1.0  # how much oftener than usual
    patience: float = 900.0
    hurried: bool = False


def run(wanted: Wanted, folder: Path) -> Report:
    """The run's report; everything it started is gone. Its raw record stays in `folder`."""
    with stage(wanted.plan, folder) as built:
        load = Load(
            built.port,
            SECRET,
            folder / "answers.jsonl",
            seed=wanted.plan.seed,
            rate=wanted.rate,
            customers=wanted.customers,
        )
        director = Director(built, load, _chosen(wanted))
        _play(wanted, built, load, director)
        verdict = check(
            load.expected, list(load.acknowledged.values()), built.receivers_log, built.database
        )
        log, _ = read_log(built.receivers_log)
        told = report(
            seed=wanted.plan.seed,
            minutes=wanted.minutes,
            injected=_injected(wanted, director, log),
            verdict=verdict,
            answers=load.answers,
            acknowledged=[one.at for one in load.acknowledged.values()],
            notes=director.notes + _others(load, director, folder),
        )
    _keep(told, director, folder)
    return told


def _chosen(wanted: Wanted) -> list[Fault]:
    return [
        replace(fault, every=fault.every / wanted.hastened)
        for fault in FAULTS
        if fault.name in wanted.faults
    ]


def _play(wanted: Wanted, built: Stage, load: Load, director: Director) -> None:
    """Load and faults for so long; then calm, and patience."""
    began, line = time.monotonic(), _Progress(load, director)
    ends = began + wanted.minutes * 60
    director.start()
    load.start()
    try:
        director.run(lambda: line.go_on(time.monotonic() < ends - _tail(wanted)))
        load.finish()
        given_up = ends + POSTED_WITHIN
        director.run(
            lambda: (
                line.go_on(not (load.told and time.monotonic() > ends))
                or time.monotonic() > given_up
            )
        )
        director.end()
        calm = time.monotonic() + wanted.patience
        director.run(lambda: line.go_on(load.waiting > 0) or time.monotonic() > calm)
        if wanted.hurried:
            _hurry(built, director, calm)
        director.run(lambda: line.go_on(_is_left(built)) or time.monotonic() > calm)
    finally:
        director.end()
        load.stop()


def _tail(wanted: Wanted) -> float:
    """Seconds that the stories under way take to their end, about."""
    return min(45.0, 20 * wanted.minutes)


def _hurry(built: Stage, director: Director, until: float) -> None:
    """End the waits that only a clock would end, once all is processed that they may wait for."""
    processing = "SELECT count(*) FROM work WHERE lane = 'process'"
    director.run(lambda: built.sql(processing) == [(0,)] or time.monotonic() > until)
    for _ in range(3):
        built.sql(END_HOLDS)
        built.sql(DUE_NOW)
        built.sql("DELETE FROM destinations_health")
        pause = time.monotonic() + 2
        director.run(lambda: time.monotonic() > pause)  # noqa: B023


def _is_left(built: Stage) -> bool:
    """Whether anything is still to be processed, released or delivered."""
    return built.sql("SELECT count(*) FROM work") != [(0,)]


class _Progress:
    """A line now and then, on stderr."""

    def __init__(self, load: Load, director: Director) -> None:
        self._load, self._director = load, director
        self._began = self._said = time.monotonic()

    def go_on(self, wanted: bool) -> bool:
        """True if it is time to stop, that is, if it is no longer wanted to go on."""
        now = time.monotonic()
        if now - self._said > PROGRESS:
            self._said = now
            times = Counter(one.fault for one in self._director.instances)
            told = " ".join(
                f"{name} {number}" for name, number in sorted(times.items(), key=_order)
            )
            left = self._director.count("SELECT count(*) FROM work WHERE lane <> 'release'")
            sys.stderr.write(
                f"{now - self._began:5.0f} s  acknowledged {len(self._load.acknowledged):,}"
                f"  waiting {self._load.waiting}  left {left}  {told}\n"
            )
            sys.stderr.flush()
        return not wanted


def _order(named: tuple[str, int]) -> int:
    return int(named[0].removeprefix("F"))


def _injected(wanted: Wanted, director: Director, log: Sequence[Received]) -> list[Injected]:
    """Every kind of fault that ran, with its times; of F1 and F13 also those that no course is."""
    times: dict[str, list[tuple[float, float]]] = {}
    for one in director.instances:
        times.setdefault(one.fault, []).append((one.begin, one.end or one.begin))
    misbehaved = sorted({(one.at, one.at) for one in log if one.answer != "200"})
    if misbehaved:
        times["F13"] = times.get("F13", []) + misbehaved
    whats = {fault.name: fault.what for fault in FAULTS} | {
        "F3": f"worker stopped for {PAST_LEASE:.0f} s or more between POST and finish",
        "F13": "500, 429, hang, drip, cut, garbage, redirect, part of a batch",
    }
    return [
        Injected(name=name, what=whats[name], times=sorted(times[name]))
        for name in sorted(times, key=lambda name: _order((name, 0)))
    ]


def _others(load: Load, director: Director, folder: Path) -> Counter[str]:
    """More figures: how it was answered, where workers died, what they logged."""
    found: Counter[str] = Counter()
    for answer in load.answers:
        found[f"answered {answer.status or 'not at all'} {answer.word}".strip()] += 1
    for one in director.instances:
        if one.fault == "F1":
            found[f"killed {one.detail or 'at random'}"] += 1
    found["ends of processes that no fault explains"] = len(director.surprises)
    return found + Counter({f"logged {what}": n for what, n in errors_in(folder).items()})


def _keep(told: Report, director: Director, folder: Path) -> None:
    """The table, the verdict and what was injected, beside the raw logs."""
    (folder / "table.md").write_text(told.text())
    with (folder / "faults.jsonl").open("w") as lines:
        for one in director.instances:
            lines.write(json.dumps(asdict(one)) + "\n")
        for surprise in director.surprises:
            lines.write(json.dumps({"surprise": surprise}) + "\n")
    problems = {
        kind: [asdict(one) for one in getattr(told.verdict, kind)]
        for kind in ("lost", "undelivered", "doubled", "wrong")
    }
    summary = {"revenue": told.verdict.revenue, "notes": told.notes, **problems}
    (folder / "verdict.json").write_text(json.dumps(summary, indent=2, default=str))
