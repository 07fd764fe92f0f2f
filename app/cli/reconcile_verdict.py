"""Whether a reconciliation's sums foot, and what all of it comes to, on the screen."""

from collections.abc import Iterator

from rich.markup import escape

from app.cli.room import count, screen, show
from app.core.money import Money
from app.core.reconcile.footing import Check
from app.finance.reconcile import Report


def print_not_footing(report: Report) -> None:
    """Before the steps: a summary that does not agree is of other days, or the file lacks some."""
    for one in report.checks:
        if one.foots is False:
            screen.print(f"[bold red]NO[/bold red]  {escape(show(_wrong(one)))}")


def _wrong(one: Check) -> str:
    expected, found = (Money(minor or 0, one.currency) for minor in (one.expected, one.found))
    return f"{one.name}: {expected} is {found} here"


def print_footing(report: Report) -> None:
    footed = sum(one.foots is True for one in report.checks)
    agree = "sum agrees" if footed == 1 else "sums agree"
    screen.print(f"Footing: {footed:,} {agree} to the minor unit.")
    for one in report.checks:
        if one.foots is None:
            of = " ".join([one.name, *([one.currency.upper()] if one.currency else [])])
            screen.print(f"not checked: {escape(of)}: {one.note}")


def print_verdict(report: Report) -> None:
    if report.agrees and report.verdict == "clean":
        screen.print("[bold green]Stripe = ledger = delivered[/bold green], as far as it was owed.")
        if unsaid := sum(place.unsaid for place in report.told.destinations.values()):
            those = count(unsaid, "delivery", "deliveries")
            why = "their destinations are not set here, or do not say amounts"
            screen.print(f"Amounts of {those} were not compared: {why}.")
    elif report.agrees:
        screen.print(
            "[bold yellow]All that is there agrees; the source is incomplete.[/bold yellow]"
        )
    else:
        screen.print(f"[bold red]{escape(' '.join(_what_fails(report)))}[/bold red]")


def _what_fails(report: Report) -> Iterator[str]:
    if open_ := sum(not one.explained for one in report.results):
        yield f"{count(open_, 'difference')}."
    if wrong := [_wrong(one) for one in report.checks if one.foots is False]:
        more = f", and {len(wrong) - 1:,} more" if len(wrong) > 1 else ""
        yield f"The sums do not foot: {show(wrong[0])}{more}."
    if not report.told.agrees:
        yield "What destinations were told differs: see above."
