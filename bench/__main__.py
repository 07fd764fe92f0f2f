"""The command line of the measurements: `python -m bench --help`."""

from dataclasses import asdict
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from bench import door, drain, finance, latency, reconcile, tables, views
from bench.room import room

AMPLITUDE, BOTH = ("amplitude",), ("amplitude", "webhook")

cli = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
screen = Console(highlight=False)
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Rounds = Annotated[int, typer.Option(min=1, help="Rounds; the medians are shown.")]
Seconds = Annotated[float, typer.Option(min=0.1, help="Seconds of each turn.")]
Events = Annotated[int, typer.Option(min=20, help="Webhook events to drain.")]


@cli.command("door")
def _door(
    connections: Annotated[list[int], typer.Option(help="May be repeated.")] = [8, 32],  # noqa: B006
    rounds: Rounds = 3,
    seconds: Seconds = 4.0,
    processes: Annotated[int, typer.Option(min=1, help="Web processes.")] = 1,
    json: Json = False,
) -> None:
    """Webhooks a second at the door, beside the same inserts by Postgres alone."""
    with room() as own:
        _show(
            json,
            door=door.measure(
                own, connections=connections, rounds=rounds, seconds=seconds, processes=processes
            ),
        )


@cli.command("drain")
def _drain(events: Events = 6_000, json: Json = False) -> None:
    """Webhook events a second through process and deliver."""
    with room() as own:
        _show(json, drain=drain.measure(own, events=events, targets=[AMPLITUDE, BOTH]))


@cli.command("latency")
def _latency(
    rate: Annotated[float, typer.Option(min=0.1, help="Webhooks a second.")] = 10.0,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long.")] = 20.0,
    json: Json = False,
) -> None:
    """Milliseconds from the 200 to the arrival at the analytics tool."""
    with room() as own:
        _show(json, latency=latency.measure(own, rate=rate, seconds=seconds))


@cli.command("finance")
def _finance(
    entries: Annotated[int, typer.Option(min=2_000, help="Revenue entries, by SQL.")] = 1_000_000,
    form: Annotated[list[str], typer.Option(help="May be repeated.")] = [*finance.FORMS],  # noqa: B006
    json: Json = False,
) -> None:
    """Seconds to sum, close and export a large ledger, and the memory that exports take."""
    with room() as own:
        _show(json, finance=finance.measure(own, entries=entries, forms=tuple(form)))


@cli.command("views")
def _views(
    entries: Annotated[int, typer.Option(min=2_000, help="Revenue entries, by SQL.")] = 1_000_000,
    subscriptions: Annotated[
        int, typer.Option(min=100, help="Subscriptions of 24 months, by SQL.")
    ] = 10_000,
    json: Json = False,
) -> None:
    """Seconds to read the views of the schema analytics."""
    with room() as own:
        _show(json, views=views.measure(own, entries=entries, subscriptions=subscriptions))


@cli.command("reconcile")
def _reconcile(
    entries: Annotated[int, typer.Option(min=2_000, help="Revenue entries, by SQL.")] = 1_000_000,
    transactions: Annotated[
        int, typer.Option(min=1_000, help="Those of the month, and Stripe's of it, by SQL.")
    ] = 100_000,
    json: Json = False,
) -> None:
    """Seconds, CPU and memory of each step of a month's reconciliation with a large ledger."""
    if transactions >= entries:
        raise typer.BadParameter("--entries are more than --transactions, which are among them.")
    with room() as own:
        found = reconcile.measure(own, entries=entries, transactions=transactions)
        _show(json, reconcile=found)


@cli.command("all")
def _all(json: Json = False) -> None:
    """The first three, one after the other."""
    with room() as own:
        _show(
            json,
            door=door.measure(own, connections=[8, 32], rounds=3, seconds=4.0),
            drain=drain.measure(own, events=6_000, targets=[AMPLITUDE, BOTH]),
            latency=latency.measure(own, rate=10.0, seconds=20.0),
        )


def _show(json: bool, **results: Any) -> None:
    if json:
        told = {name: asdict(result) for name, result in results.items()}
        typer.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2))
        return
    for result in results.values():
        screen.print(tables.table(result))


if __name__ == "__main__":
    cli(prog_name="python -m bench")
