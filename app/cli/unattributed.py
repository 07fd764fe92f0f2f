"""bridge revenue unattributed: captured money that is no revenue yet."""

from typing import Annotated

import typer

from app.cli.books import OWN
from app.cli.room import FAILURES, as_json, count, database, listing, screen
from app.core.money import Money
from app.store import ledger

Json = Annotated[bool, typer.Option("--json", help="Machine-readable, on stdout alone.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="Rows at most.")]


def add_to(verbs: typer.Typer) -> None:
    verbs.command("unattributed")(unattributed)


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
        as_json([{**row, "account": row["account"] or OWN} for row in found])
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
            screen.print(f"In all, {mode} mode: {count(row['payments'], 'payment')} of {amount}")
        if found:
            screen.print(ADVICE)
    if found:
        raise typer.Exit(FAILURES)


ADVICE = (
    "Enable invoice_payment.paid and checkout.session.completed on the endpoint, or set"
    " STRIPE_API_KEY: then Stripe is asked. BRIDGE_STANDALONE_PAYMENTS=book is for accounts that"
    " have no invoices at all."
)
