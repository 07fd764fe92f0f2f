"""bridge revenue: the ledger, and the payments that it does not count yet."""

from typing import Annotated

import typer

from app.cli.room import FAILURES, as_json, database, listing, screen
from app.core.money import Money
from app.store import ledger

Json = Annotated[bool, typer.Option("--json", help="Machine-readable, on stdout alone.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="Rows at most.")]

verbs = typer.Typer(no_args_is_help=True, help="The ledger, and what it does not count yet.")


def add_to(cli: typer.Typer) -> None:
    verbs.command("unattributed")(unattributed)
    cli.add_typer(verbs, name="revenue")


@verbs.callback()
def _group() -> None:
    """A single command would stand for its group."""


def unattributed(
    older_than: Annotated[
        int, typer.Option(min=0, help="Known to us for so many seconds at least.")
    ] = 0,
    limit: Limit = 20,
    json_: Json = False,
) -> None:
    """Captured payments that are no revenue yet: nobody speaks for them, or they are a part of an
    invoice that is still open. Times are UTC. Exit code 1 if there are any, for a timer's alarm.
    """
    with database() as connection:
        found = ledger.unattributed_payments(connection, limit, older_than=older_than)
        sums = ledger.unattributed(connection)
    if json_:
        as_json(found)
    else:
        listing(
            found,
            json_,
            "Payments that are no revenue yet (UTC)",
            {
                "captured": lambda row: row["occurred_at"],
                "payment": lambda row: row["payment"],
                "part of": lambda row: row["invoice"],
                "customer": lambda row: row["customer"],
                "mode": lambda row: "live" if row["livemode"] else "test",
                "amount": lambda row: str(Money(row["minor"], row["currency"])),
            },
            "Every captured payment is revenue.",
        )
        for row in sums if found else ():
            mode = "live" if row["livemode"] else "test"
            amount = Money(row["minor"], row["currency"])
            screen.print(f"In all, {mode} mode: {row['payments']:,} of {amount}")
        if found:
            screen.print(ADVICE)
    if found:
        raise typer.Exit(FAILURES)


ADVICE = (
    "Enable invoice_payment.paid and checkout.session.completed on the endpoint, or set"
    " STRIPE_API_KEY: then Stripe is asked. BRIDGE_STANDALONE_PAYMENTS=book is for accounts that"
    " have no invoices at all."
)
