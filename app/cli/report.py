"""What `bridge demo` ends with: counted from Postgres and at the receiver, then compared with the
simulator's own sums, which know nothing of the product's readers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.markup import escape
from sqlalchemy import Engine

from app.cli.room import screen, table
from app.core.money import Money
from app.demo.receiver import ReceiverTotals
from app.demo.saas import Expected, Story
from app.finance.reconcile import Report
from app.store import browse, ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One comparison: what the simulator says, and what was found."""

    what: str
    expected: str
    found: str

    @property
    def agrees(self) -> bool:
        return self.expected == self.found


def report(
    engine: Engine,
    story: Story,
    received: ReceiverTotals,
    reconciled: Report,
    *,
    posting: float,
    delivering: float,
) -> bool:
    """Print the tables; True if everything agrees. Times are seconds."""
    with engine.connect() as connection:
        counts = browse.counts(connection)
        entries = ledger.totals(connection)
        delivered = browse.delivered_revenue(connection)
        loose = ledger.unattributed(connection)
        told = browse.told_by_name(connection)
    booked = {currency: minor for currency, _, minor in entries}
    posted = len(story.webhooks)
    screen.print(f"\n{posted:,} webhooks posted in {posting:.1f} s, signed, over HTTP;", end=" ")
    screen.print(f"the last one delivered {delivering:.1f} s later.\n")
    lines = [
        *_inbox(story.expected, counts, posted),
        *_money(story.expected.revenue, booked, delivered, received),
        *_names(story.expected.counts, told, received),
        Line(
            what="payments that nobody claims",
            expected="0",
            found=f"{sum(row['payments'] for row in loose)}",
        ),
        Line(what="defects that the tools saw", expected="0", found=f"{_defects(received)}"),
        *_balance(reconciled),
    ]
    rows = [
        [line.what, line.expected, line.found, "yes" if line.agrees else "NO"] for line in lines
    ]
    table("The simulator's sums and what came out", ["", "simulator", "found", "agrees"], rows)
    agrees = all(line.agrees for line in lines)
    verdict = "[bold green]yes[/bold green]" if agrees else "[bold red]NO[/bold red]"
    screen.print(f"\nStripe = ledger = delivered: {verdict}\n")
    return agrees


def _inbox(expected: Expected, counts: browse.Counts, posted: int) -> Iterator[Line]:
    kept = sum(counts.verdicts.values())
    yield Line(what="webhook events kept", expected=f"{expected.events:,}", found=f"{kept:,}")
    yield Line(
        what="duplicates absorbed", expected=f"{expected.duplicates:,}", found=f"{posted - kept:,}"
    )
    for verdict in ("waiting", "quarantined"):
        found = counts.verdicts.get(verdict, 0)
        yield Line(what=f"webhook events {verdict}", expected="0", found=f"{found:,}")
    for state in ("pending", "skipped", "dead"):
        found = sum(n for (_, one), n in counts.deliveries.items() if one == state)
        yield Line(what=f"deliveries {state}", expected="0", found=f"{found:,}")


def _money(
    expected: Mapping[str, int],
    booked: Mapping[str, int],
    delivered: Mapping[tuple[str, str], int],
    received: ReceiverTotals,
) -> Iterator[Line]:
    tools = {"amplitude": received.amplitude, "webhook": received.webhook}
    for currency in sorted(expected.keys() | booked.keys()):
        money = str(Money(expected.get(currency, 0), currency))
        found = str(Money(booked.get(currency, 0), currency))
        yield Line(what=f"revenue booked, {currency.upper()}", expected=money, found=found)
        for name, tool in tools.items():
            sent = str(Money(delivered.get((name, currency), 0), currency))
            yield Line(what=f"  delivered to {name}", expected=money, found=sent)
            got = str(Money(tool.revenue_minor.get(currency, 0), currency))
            yield Line(what=f"  counted by {name}", expected=money, found=got)


def _names(
    expected: Mapping[str, int], told: Mapping[str, int], received: ReceiverTotals
) -> Iterator[Line]:
    for name in sorted(expected.keys() | told.keys()):
        counts = [told.get(name, 0), received.amplitude.counts.get(name, 0)]
        counts.append(received.webhook.counts.get(name, 0))
        found = f"{counts[0]:,}" if len(set(counts)) == 1 else " / ".join(map(str, counts))
        yield Line(what=escape(name), expected=f"{expected.get(name, 0):,}", found=found)


def _balance(found: Report) -> Iterator[Line]:
    """Stripe's own reports on the balance, by `bridge reconcile`, until yesterday."""
    matched = sum(len(one.transactions) for one in found.results if one.kind == "matched")
    stated = found.snapshot.summary.activities if found.snapshot.summary else None
    expected = sum(one.count for one in (stated or {}).values())
    what = "Stripe's transactions matched"
    yield Line(what=what, expected=f"{expected:,}", found=f"{matched:,}")
    wrong = sum(not one.explained for one in found.results)
    wrong += sum(check.foots is False for check in found.checks)
    yield Line(what="  differences, to the cent", expected="0", found=f"{wrong:,}")
    told = "yes" if found.told.agrees else "NO"
    yield Line(what="  every destination told the same", expected="yes", found=told)


def _defects(received: ReceiverTotals) -> int:
    return sum(len(tool.defects) for tool in (received.amplitude, received.webhook))
