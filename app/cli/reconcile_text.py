"""A reconciliation on one screen, and as one JSON document."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from rich.markup import escape

from app.cli.books import OWN
from app.cli.reconcile_legs import next_of_delivery, print_browser, print_delivered
from app.cli.reconcile_verdict import print_footing, print_not_footing, print_verdict
from app.cli.room import count, screen, show, table
from app.core.money import Money
from app.core.reconcile.results import Result, classes, totals
from app.core.reconcile.rows import plain
from app.finance.reconcile import Report

BIGGEST = 10  # differences that are named on the screen
STEPS = 20  # next steps that are


def print_report(report: Report) -> None:
    """Header, totals, classes, the biggest differences, footing, the other legs, the verdict."""
    _header(report)
    rows = [
        [row["part"], *_amounts(row), "yes" if row["difference"] == 0 else "NO"]
        for row in totals(report.results)
    ]
    _table(
        "Money, as the customer was charged", ["", "Stripe", "ledger", "difference", "agrees"], rows
    )
    _settled(report)
    found = [
        [
            row["class"],
            row["reason"],
            f"{row['count']:,}",
            *_amounts(row),
            "explained" if row["explained"] else "DIFFERENCE",
        ]
        for row in classes(report.results)
    ]
    columns = ["class", "reason", "count", "Stripe", "ledger", "difference", ""]
    _table("Classes", columns, found)
    print_not_footing(report)
    _biggest(report)
    print_footing(report)
    print_delivered(report)
    print_browser(report)
    print_verdict(report)


def _header(report: Report) -> None:
    asked, snapshot = report.asked, report.snapshot
    mode = "live" if asked.livemode else "test"
    period = asked.period
    screen.print(
        f"[bold]Reconciliation {report.run}[/bold]  {escape(asked.account or 'own account')},"
        f" {mode}, {period.start} up to {period.end} ({period.zone.key})"
    )
    screen.print(
        f"{report.transactions:,} transactions by {snapshot.source}, {report.entries:,} ledger"
        f" entries, snapshot {snapshot.sha256[:12]}, {report.seconds:.1f} s"
    )
    for warning in report.warnings:
        screen.print(f"[bold yellow]![/bold yellow] {escape(show(warning))}")


def _amounts(row: Mapping[str, Any]) -> list[str]:
    return [str(Money(row[name], row["currency"])) for name in ("stripe", "ledger", "difference")]


def _table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    if rows:
        table(title, columns, rows)


def _settled(report: Report) -> None:
    rows = [
        [category, f"{one.count:,}", *(str(Money(minor, currency)) for minor in _sums(one))]
        for (category, currency), one in report.activity.items()
    ]
    _table("Stripe, in our balance's currency", ["category", "count", "gross", "fee", "net"], rows)


def _sums(one: Any) -> tuple[int, int, int]:
    return one.gross, one.fee, one.net


def _biggest(report: Report) -> None:
    found = [one for one in report.results if not one.explained]
    rows = [
        [
            one.subject,
            str(Money(one.delta, one.currency)),
            one.stripe_date or one.ledger_date,
            f"{one.kind} {one.reason}".strip() + (f": {one.note}" if one.note else ""),
        ]
        for one in found[:BIGGEST]
    ]
    if rows:
        columns = ["what", "Stripe - ledger", "day", "why"]
        of = count(len(found), "difference")
        table(f"The biggest of {of}" if len(found) > len(rows) else of, columns, rows)
        _next_steps(found)
    if len(found) > BIGGEST:
        screen.print("All of them, each with its step: --csv DIR, --xlsx FILE or --json.")


def _next_steps(found: Iterable[Result]) -> None:
    """Each once, on a line of its own, so that it can be copied."""
    steps = Counter(one.next_step for one in found if one.next_step)
    screen.print("[bold]What to do[/bold], and for how many of them:")
    for step, number in steps.most_common(STEPS):
        screen.print(f"{number:>6,}  {escape(show(step))}")
    if len(steps) > STEPS:
        screen.print(f"        and {len(steps) - STEPS:,} more")


def as_plain(report: Report) -> dict[str, Any]:
    """The whole report for JSON; what simply matched is only counted."""
    asked = report.asked
    return {
        "run": report.run,
        "account": asked.account or OWN,
        "livemode": asked.livemode,
        "from": asked.period.start,
        "to": asked.period.end,
        "timezone": asked.period.zone.key,
        "source": report.snapshot.source,
        "snapshot_sha256": report.snapshot.sha256,
        "transactions": report.transactions,
        "entries": report.entries,
        "verdict": report.verdict,
        "agrees": report.agrees,
        "warnings": report.warnings,
        "totals": totals(report.results),
        "classes": classes(report.results),
        "results": [_plain(one) for one in report.results if one.kind != "matched"],
        "footing": [
            {
                "sum": one.name,
                "currency": one.currency,
                "expected": one.expected,
                "found": one.found,
                "foots": one.foots,
                "note": one.note,
            }
            for one in report.checks
        ],
        "settled": [
            {"category": category, "currency": currency, "count": one.count}
            | dict(zip(("gross", "fee", "net"), _sums(one), strict=True))
            for (category, currency), one in report.activity.items()
        ],
        "delivered": list(_plain_deliveries(report)),
        "wrong_amounts": [
            {
                "destination": one.destination,
                "entry": one.key,
                "owed": plain(one.owed),
                "told": {"major": str(one.told), "currency": one.currency},
            }
            for one in report.told.wrong
        ],
        "browser": None
        if report.lost is None
        else [
            {
                "day": one.day,
                "channel": one.channel,
                "ours": one.ours,
                "browser": one.browser,
                "lost": one.lost,
                "lost_percent": one.percent,
            }
            for one in report.lost
        ],
    }


def _plain(one: Result) -> dict[str, Any]:
    return {
        "class": one.kind,
        "reason": one.reason,
        "part": one.part,
        "currency": one.currency,
        "stripe": one.stripe,
        "ledger": one.ledger,
        "difference": one.delta,
        "subject": one.subject,
        "transactions": one.transactions,
        "entries": one.entries,
        "stripe_date": one.stripe_date,
        "ledger_date": one.ledger_date,
        "note": one.note,
        "next": one.next_step,
        "explained": one.explained,
    }


def _plain_deliveries(report: Report) -> Iterable[dict[str, Any]]:
    for (name, currency), place in sorted(report.told.destinations.items()):
        yield {
            "destination": name,
            "currency": currency,
            "owed": {"count": place.owed.count, "minor": place.owed.minor},
            "states": {
                state: {"count": one.count, "minor": one.minor}
                for state, one in sorted(place.states.items())
            },
            "told": str(place.told),
            "amounts_wrong": place.wrong,
            "amounts_not_known": place.unsaid,
            "next": next_of_delivery(name, place),
        }
    for (state, currency), one in sorted(report.told.untold.items()):
        yield {
            "destination": None,
            "currency": currency,
            "states": {state: {"count": one.count, "minor": one.minor}},
        }
