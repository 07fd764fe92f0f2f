"""The results as tables for people."""

from rich.table import Table

from bench.door import Door
from bench.drain import Drain
from bench.finance import Finance
from bench.latency import Latency
from bench.reconcile import Reconcile
from bench.views import Views


def table(result: Door | Drain | Latency | Finance | Reconcile | Views) -> Table:
    match result:
        case Door():
            return _door(result)
        case Drain():
            return _drain(result)
        case Latency():
            return _latency(result)
        case Finance():
            return _finance(result)
        case Reconcile():
            return _reconcile(result)
        case Views():
            return _views(result)


def _door(result: Door) -> Table:
    shown = _table(
        f"door, {result.processes} web process(es), beside {result.reference}",
        result.load_average,
        ("connections", "webhooks/s", "p50 ms", "p99 ms", "reference/s", "ratio", "not 200"),
    )
    for one in result.levels:
        shown.add_row(
            str(one.connections),
            f"{one.rate:,.0f}",
            f"{one.p50:.1f}",
            f"{one.p99:.1f}",
            f"{one.reference:,.0f}",
            f"{one.ratio:.2f}",
            str(sum(one.others.values())),
        )
    return shown


def _drain(result: Drain) -> Table:
    shown = _table(
        "drain",
        result.load_average,
        ("what", "to", "events", "events/s", "CPU us/event", "deliveries", "held"),
    )
    for one in result.runs:
        shown.add_row(
            one.what,
            ", ".join(one.destinations),
            f"{one.events:,}",
            f"{one.rate:,.0f}",
            f"{one.cpu_us:,.0f}",
            f"{one.deliveries:,}",
            f"{one.held:,}",
        )
    return shown


def _latency(result: Latency) -> Table:
    shown = _table(
        f"latency at {result.rate:g}/s, from the 200 to the arrival",
        result.load_average,
        ("webhooks", "p50 ms", "p99 ms", "door's answer p50 ms", "missing", "not 200"),
    )
    shown.add_row(
        str(result.sent),
        f"{result.p50:.1f}",
        f"{result.p99:.1f}",
        f"{result.answer_p50:.1f}",
        str(result.missing),
        str(result.others),
    )
    return shown


def _finance(result: Finance) -> Table:
    shown = _table(
        f"{result.entries:,} revenue entries, made by SQL: summed in {result.summary:.1f} s, a"
        f" month looked at to close it in {result.close:.1f} s; booking {result.booking_us:.1f} us"
        f" an entry, {result.unguarded_us:.1f} without the guard",
        result.load_average,
        ("export", "entries", "seconds", "MiB at 20 %", "MiB at 100 %", "ratio"),
    )
    for one in result.exports:
        shown.add_row(
            one.form,
            f"{one.entries:,}",
            f"{one.seconds:.1f}",
            f"{one.fifth_mib:.1f}",
            f"{one.whole_mib:.1f}",
            f"{one.ratio:.3f}",
        )
    return shown


def _reconcile(result: Reconcile) -> Table:
    shown = _table(
        f"a month of {result.transactions:,} transactions against {result.entries:,} revenue"
        f" entries and {result.transactions:,} deliveries, all made by SQL",
        result.load_average,
        ("run", "step", "seconds", "our CPU s", "peak MiB by then"),
    )
    for run, steps in (("first", result.first), ("again", result.again)):
        for one in steps:
            amounts = f"{one.seconds:.1f}", f"{one.cpu:.1f}", f"{one.peak_mib:,.0f}"
            shown.add_row(run, one.name, *amounts)
    return shown


def _views(result: Views) -> Table:
    shown = _table(
        f"views over {result.entries:,} revenue entries and 24 months of"
        f" {result.subscriptions:,} subscriptions, made by SQL",
        result.load_average,
        ("view", "rows", "seconds"),
    )
    for one in result.views:
        shown.add_row(one.name, f"{one.rows:,}", f"{one.seconds:.1f}")
    return shown


def _table(title: str, load_average: float, columns: tuple[str, ...]) -> Table:
    shown = Table(title=title, caption=f"load average before: {load_average:.1f}")
    for place, column in enumerate(columns):
        shown.add_column(column, justify="left" if place == 0 else "right")
    return shown
