"""The door: webhooks a second that are verified, committed and answered, beside Postgres alone."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench import reference
from bench.client import Load, bodies, elsewhere, load
from bench.room import SECRET, Room, web

WARM_UP = 0.5  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One turn of the reference and one of the door, right after each other."""

    connections: int
    reference: float  # rows a second
    rate: float  # 200s a second
    p50: float  # milliseconds
    p99: float
    others: dict[str, int]  # answers that were no 200, by status

    @property
    def ratio(self) -> float:
        return self.rate / self.reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Medians over the rounds at one number of connections."""

    connections: int
    rate: float
    p50: float
    p99: float
    reference: float
    ratio: float
    others: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    reference: str
    processes: int
    load_average: float  # before the first round: how busy others keep the machine
    levels: list[Level]
    rounds: list[Round]


def measure(
    room: Room, *, connections: Sequence[int], rounds: int, seconds: float, processes: int = 1
) -> Door:
    """The levels take turns inside every round, each beside a reference of its own."""
    busy = os.getloadavg()[0]
    with web(room, processes) as port:
        elsewhere(load, port, SECRET, max(connections), WARM_UP)
        done = [_round(room, port, level, seconds) for _ in range(rounds) for level in connections]
    return Door(
        reference=reference.name(),
        processes=processes,
        load_average=busy,
        levels=[_level(level, done) for level in connections],
        rounds=done,
    )


def _round(room: Room, port: int, connections: int, seconds: float) -> Round:
    room.empty()
    alone = reference.rate(room.stores.database_url, connections, seconds, bodies()[0][1])
    room.empty()
    run: Load = elsewhere(load, port, SECRET, connections, seconds)
    taken = sorted(run.milliseconds) or [0.0]
    return Round(
        connections=connections,
        reference=alone,
        rate=len(run.milliseconds) / run.seconds,
        p50=percentile(taken, 0.5),
        p99=percentile(taken, 0.99),
        others={str(status): n for status, n in run.answers.items() if status != 200},
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Of values in ascending order."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _level(connections: int, rounds: Sequence[Round]) -> Level:
    own = [one for one in rounds if one.connections == connections]
    others: Counter[str] = Counter()
    for one in own:
        others.update(one.others)
    return Level(
        connections=connections,
        rate=median(one.rate for one in own),
        p50=median(one.p50 for one in own),
        p99=median(one.p99 for one in own),
        reference=median(one.reference for one in own),
        ratio=median(one.ratio for one in own),
        others=dict(others),
    )
