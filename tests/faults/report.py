"""What a run came to, per fault: a table in Markdown, and the raw numbers beside it."""

import json
import os
import platform
import subprocess
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from tests.faults.bridge import ROOT
from tests.faults.checker import Problem, Verdict
from tests.faults.load import Answer

BEFORE, AFTER = 1.0, 5.0  # seconds around a fault that still count as its own
BEGIN, END = "<!-- longest run: begin -->", "<!-- longest run: end -->"
DOCS = ROOT / "docs" / "reliability.md"
COLUMNS = (
    "fault", "", "times", "acknowledged", "lost", "undelivered", "duplicate sends",
    "distinct effects", "fenced writes", "recovery p99, s", "answer p99, s",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Injected:
    """One kind of fault: the unix times of each time's begin and end."""

    name: str
    what: str
    times: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What happened around one kind of fault: from `BEFORE` each begin to `AFTER` its end. Faults
    overlap, so the rows do not add up."""

    fault: str
    what: str
    times: int
    acknowledged: int
    lost: int
    undelivered: int
    duplicate_sends: int
    distinct_effects: int
    fenced: int
    recovery: float
    answer: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    seed: int
    minutes: float
    commit: str
    rows: Sequence[Row]
    verdict: Verdict
    answers: Sequence[Answer]
    notes: Mapping[str, int]

    def table(self) -> str:
        """The rows in Markdown, the whole run last."""
        lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
        for row in self.rows:
            cells = (
                row.fault, row.what, f"{row.times:,}", f"{row.acknowledged:,}", row.lost,
                row.undelivered, f"{row.duplicate_sends:,}", f"{row.distinct_effects:,}",
                f"{row.fenced:,}", f"{row.recovery:.1f}", f"{row.answer:.2f}",
            )  # fmt: skip
            lines.append("| " + " | ".join(map(str, cells)) + " |")
        return "\n".join(lines)

    def text(self) -> str:
        """What goes into the documentation: where it comes from, the table, the sums."""
        ended = "kept" if self.verdict.kept_the_promise else "BROKEN"
        posted = len(self.answers)
        refused = sum(not 200 <= one.status < 300 for one in self.answers)
        where = f"{os.cpu_count()} cores, Python {platform.python_version()}"
        revenue = ", ".join(
            f"{currency} {minor}" for currency, minor in self.verdict.revenue["ledger"].items()
        )
        told = [
            f"`.venv/bin/python -m tests.faults --minutes {self.minutes:g} --seed {self.seed}`,"
            f" commit {self.commit}, {where}: promise {ended}.",
            f"{posted:,} POSTs, {refused:,} of them answered otherwise than 2xx and sent again;"
            f" {self.verdict.acknowledged:,} webhook events acknowledged,"
            f" {ambiguous(self.answers):,} of them after a commit whose outcome was unknown."
            f" Revenue, in minor units, the same in the ledger and at both receivers: {revenue}.",
            self.table(),
            "; ".join(f"{name}: {number}" for name, number in sorted(self.notes.items())) + ".",
        ]
        return "\n\n".join(told) + "\n"


def report(
    *,
    seed: int,
    minutes: float,
    injected: Sequence[Injected],
    verdict: Verdict,
    answers: Sequence[Answer],
    acknowledged: Iterable[float],
    notes: Mapping[str, int],
) -> Report:
    """Put the run's own record beside the checker's verdict. All times are unix times."""
    moments = _Moments(verdict, answers, sorted(acknowledged))
    rows = [moments.row(each) for each in injected]
    return Report(
        seed=seed,
        minutes=minutes,
        commit=_commit(),
        rows=[*rows, moments.whole(sum(len(each.times) for each in injected), rows)],
        verdict=verdict,
        answers=answers,
        notes=notes,
    )


class _Moments:
    """Everything that happened, by its time."""

    def __init__(
        self,
        verdict: Verdict,
        answers: Sequence[Answer],
        acknowledged: Sequence[float],
    ) -> None:
        self._verdict = verdict
        self._answers = sorted(answers, key=lambda one: one.at)
        self._answered = [one.at for one in self._answers]
        self._acknowledged, self._fenced = acknowledged, sorted(verdict.fenced)
        self._again, self._effects = sorted(verdict.again), sorted(verdict.effects)
        spans = sorted(verdict.spans, key=lambda span: span.begin)
        self._begins = [span.begin for span in spans]
        self._latest = list(accumulate((span.end for span in spans), max))

    def row(self, injected: Injected) -> Row:
        windows = merged(injected.times)
        return Row(
            fault=injected.name,
            what=injected.what,
            times=len(injected.times),
            acknowledged=within(self._acknowledged, windows),
            lost=within(_times(self._verdict.lost), windows),
            undelivered=within(_times(self._verdict.undelivered), windows),
            duplicate_sends=within(self._again, windows),
            distinct_effects=within(self._effects, windows),
            fenced=within(self._fenced, windows),
            recovery=percentile([self.recovery(end) for _, end in injected.times], 0.99),
            answer=self._slowest(windows),
        )

    def whole(self, times: int, rows: Sequence[Row]) -> Row:
        return Row(
            fault="all",
            what="the whole run",
            times=times,
            acknowledged=len(self._acknowledged),
            lost=len(self._verdict.lost),
            undelivered=len(self._verdict.undelivered),
            duplicate_sends=len(self._again),
            distinct_effects=len(self._effects),
            fenced=len(self._fenced),
            recovery=max((row.recovery for row in rows), default=0.0),
            answer=percentile([one.seconds for one in self._answers], 0.99),
        )

    def recovery(self, end: float) -> float:
        """Seconds from the end of a fault until all that was in hand then was done."""
        before = bisect_right(self._begins, end)
        return max(0.0, self._latest[before - 1] - end) if before else 0.0

    def _slowest(self, windows: Sequence[tuple[float, float]]) -> float:
        found: list[float] = []
        for begin, end in windows:
            first, last = bisect_left(self._answered, begin), bisect_right(self._answered, end)
            found += [one.seconds for one in self._answers[first:last]]
        return percentile(found, 0.99)


def merged(times: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The windows of these faults, none overlapping another."""
    windows: list[tuple[float, float]] = []
    for first, last in sorted(times):
        begin, until = first - BEFORE, last + AFTER
        if windows and begin <= windows[-1][1]:
            windows[-1] = windows[-1][0], max(windows[-1][1], until)
        else:
            windows.append((begin, until))
    return windows


def within(moments: Sequence[float], windows: Iterable[tuple[float, float]]) -> int:
    """How many of these (sorted) lie in a window."""
    return sum(bisect_right(moments, end) - bisect_left(moments, begin) for begin, end in windows)


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def ambiguous(answers: Iterable[Answer]) -> int:
    """Webhook events that were refused, and yet were kept: their first 2xx says `duplicate`."""
    refused: set[str] = set()
    accepted: set[str] = set()
    found = 0
    for one in sorted(answers, key=lambda one: one.at + one.seconds):
        if not 200 <= one.status < 300:
            refused.add(one.event_id)
        elif one.event_id not in accepted:
            accepted.add(one.event_id)
            found += one.word == "duplicate" and one.event_id in refused
    return found


def errors_in(folder: Path) -> Counter[str]:
    """How often each warning or error was logged, by event and kind."""
    found: Counter[str] = Counter()
    for log in folder.glob("*.log"):
        for text in log.read_text(errors="replace").splitlines():
            if '"level": "warning"' in text or '"level": "error"' in text:
                line = _json(text)
                found[f"{line.get('event')} {line.get('error', '')}".strip()] += 1
    return found


def _json(text: str) -> dict[str, str]:
    """A line of a log; what a killed process left half written is none."""
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


def _times(problems: Iterable[Problem]) -> list[float]:
    return sorted(one.at for one in problems if one.at is not None)


def _commit() -> str:
    git = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.check_output([*git, "rev-parse", "--short=12", "HEAD"], text=True).strip()
        changed = subprocess.check_output([*git, "status", "--porcelain"], text=True).strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head} with changes" if changed else head


def write_docs(told: Report, page: Path = DOCS) -> None:
    """Put the run into its place in the documentation. Raises ValueError if there is none."""
    text = page.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for it")
    page.write_text(f"{before}{BEGIN}\n{told.text()}{END}{after}")
