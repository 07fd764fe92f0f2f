"""Stripe against the ledger, the ledger against every destination, and what a browser lost.

Read only, but for what a run leaves: settlements, and the run with its results. No transaction is
open while Stripe is asked.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Engine

from app.core.reconcile import browser, footing, match
from app.core.reconcile.balance_csv import Summary
from app.core.reconcile.browser import Lost
from app.core.reconcile.categories import BOOKED
from app.core.reconcile.classes import classify, outside_results
from app.core.reconcile.earlier import withdrawn
from app.core.reconcile.footing import Check
from app.core.reconcile.results import Result, classes, totals
from app.core.reconcile.rows import Period, StripeRow
from app.core.reconcile.told import Tally
from app.finance import elsewhere, legs
from app.finance.keep import keep
from app.finance.pair import Paired, pair
from app.finance.snapshot import File, Snapshot
from app.settings import Settings
from app.store import reconciles, settlements
from app.store.identities import Scope
from app.store.reconciles import Verdict
from app.stripe_api import StripeApi


class Incomplete(Exception):
    """The source may lack a part of the period, so nothing can be proved: why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is compared. `api` may be asked why, whatever the source is."""

    period: Period
    account: str
    livemode: bool
    who: str
    browser: File | None = None
    allow_partial: bool = False
    api: StripeApi | None = None
    now: datetime

    @property
    def scope(self) -> Scope:
        return self.account, self.livemode


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that a run found. `results` have every transaction and entry of the period once, the
    differences first; `activity` is Stripe's side by category, in the balance's currency."""

    run: int
    asked: Asked
    snapshot: Snapshot
    transactions: int
    entries: int
    results: list[Result]
    activity: footing.Activities
    checks: list[Check]
    told: Tally
    lost: list[Lost] | None
    warnings: list[str]
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """Of Stripe against the ledger alone."""
        if self.snapshot.lacks:
            return "incomplete"
        return "clean" if self._foots else "differences"

    @property
    def agrees(self) -> bool:
        """Whether all of it is matched or explained, incomplete or not, and was told."""
        return self._foots and self.told.agrees

    @property
    def _foots(self) -> bool:
        wrong = any(one.foots is False for one in self.checks)
        return not wrong and all(one.explained for one in self.results)


def reconcile(engine: Engine, settings: Settings, asked: Asked, snapshot: Snapshot) -> Report:
    """Compare, and keep the run. Raises Incomplete unless a partial source is allowed,
    KnownElsewhere for one of another account or mode, and Unreadable for the browser's file."""
    began = time.monotonic()
    if snapshot.lacks and not asked.allow_partial:
        raise Incomplete(snapshot.lacks)
    period = asked.period
    counted = (
        browser.read(asked.browser.content, asked.browser.name, period) if asked.browser else None
    )
    with engine.connect() as connection:
        elsewhere.check(connection, asked.scope, snapshot.rows)
    paired = pair(engine, asked.api, asked.scope, snapshot, period, asked.now)
    rows, entries = period.inside(snapshot.rows), paired.entries
    results = [one for group in paired.groups for one in classify(group, paired.frame)]
    results += outside_results(match.outside(rows, period), paired.frame)
    if not snapshot.lacks:
        results += withdrawn(rows, paired.frame)
    results.sort(key=lambda one: one.order)
    activity = footing.activity(rows)
    checks = [*footing.of_classes(rows, entries, results), *_stated(snapshot, activity)]
    with engine.connect() as connection:
        told = legs.destinations(connection, settings, asked.scope, period)
        lost = legs.browsers(connection, asked.scope, period, counted) if counted else None
    report = Report(
        run=0,
        asked=asked,
        snapshot=snapshot,
        transactions=len(rows),
        entries=len(entries),
        results=results,
        activity=activity,
        checks=checks,
        told=told,
        lost=lost,
        warnings=list(_warnings(snapshot, rows, results)),
        seconds=0.0,
    )
    run = _keep(engine, report, paired)
    return replace(report, run=run, seconds=time.monotonic() - began)


def _stated(snapshot: Snapshot, activity: footing.Activities) -> list[Check]:
    stated = snapshot.summary or Summary()
    activities, balances = stated.activities, stated.balances
    checks = footing.against_balances(activity, balances) if balances is not None else []
    checks += footing.against_activity(activity, activities) if activities is not None else []
    missing = footing.not_given()
    return [
        *checks,
        *(missing[:1] if balances is None else []),
        *(missing[1:] if activities is None else []),
    ]


def _warnings(
    snapshot: Snapshot, rows: Sequence[StripeRow], results: Sequence[Result]
) -> Iterable[str]:
    if snapshot.lacks:
        yield f"source_incomplete: {snapshot.lacks}. This run proves nothing for a month's close."
    if snapshot.rests_on and not snapshot.lacks:
        yield f"{snapshot.rests_on[0].upper()}{snapshot.rests_on[1:]}."
    unknown = sorted({one.part for one in results if one.reason == "unknown_category"})
    if unknown:
        yield f"Reporting categories that the bridge does not know: {', '.join(unknown)}"
    if any(row.category in BOOKED and row.source is None for row in rows):
        yield "The file has no source_id: refunds and disputes cannot be matched without it."


def _keep(engine: Engine, report: Report, paired: Paired) -> int:
    """The run, and the settlements that it found otherwise."""
    scope, period = report.asked.scope, report.asked.period
    kept = [one for one in report.results if one.kind != "matched"]
    with engine.begin() as connection:
        settlements.take_turns(connection)
        run = reconciles.record(connection, scope, _run(report), kept)
        keep(connection, scope, run, report.snapshot, period, paired.known, paired.groups)
    return run


def _run(report: Report) -> dict[str, Any]:
    """The columns of reconcile_runs."""
    asked, snapshot = report.asked, report.snapshot
    return {
        "who": asked.who,
        "period_start": asked.period.start,
        "period_end": asked.period.end,
        "timezone": asked.period.zone.key,
        "source": snapshot.source,
        "parameters": {
            "allow_partial": asked.allow_partial,
            "summary": snapshot.summary is not None,
            "browser": asked.browser.name if asked.browser else None,
        },
        "snapshot_sha256": snapshot.sha256,
        "transactions": report.transactions,
        "entries": report.entries,
        "classes": classes(report.results),
        "totals": totals(report.results),
        "verdict": report.verdict,
        "delivered": report.told.agrees,
    }
