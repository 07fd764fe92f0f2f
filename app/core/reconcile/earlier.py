"""What earlier runs kept of Stripe's transactions and this one's source says otherwise, or not."""

from collections.abc import Iterable, Iterator

from app.core.money import Money
from app.core.reconcile.frame import Frame
from app.core.reconcile.results import Result, Said
from app.core.reconcile.rows import KeptRow, StripeRow

STEP = (
    "Stripe never changes a transaction: one of the two sources was altered. Its API is right. This"
    " source counts from now on; run it again with the right one."
)


def changed(row: StripeRow, frame: Frame) -> Said | None:
    """Of a transaction that earlier was settled as something else."""
    was = frame.evidence.earlier.get(row.id)
    if was is None or was.row.settled_as(row):
        return None
    fees = Money(was.row.fee, was.row.currency), Money(row.fee, row.currency)
    had, has = (f"a fee of {fee}" for fee in fees)
    if (was.row.gross, was.row.currency) != (row.gross, row.currency):
        had = f"{Money(was.row.gross, was.row.currency)} and {had}"
        has = f"{Money(row.gross, row.currency)} and {has}"
    note = f"{row.id}: {was} had {had}, this source has {has}"
    return Said("fee_difference", "changed", False, note, STEP)


def withdrawn(rows: Iterable[StripeRow], frame: Frame) -> Iterator[Result]:
    """Of the period's transactions that earlier runs kept and that are not among its `rows`, by
    id. They are of neither side's sums."""
    period = frame.period
    kept = {one.row.id: one for one in frame.evidence.earlier.values()}
    here = {row.id for row in rows} if kept else set()
    for row in sorted(period.inside(one.row for one in kept.values()), key=lambda one: one.id):
        if row.id not in here:
            yield Result(
                kind="fee_difference",
                reason="withdrawn",
                part=row.category,
                currency=row.currency,
                stripe=None,
                ledger=None,
                subject=row.id,
                transactions=(row.id,),
                stripe_date=row.day(period.zone),
                note=_gone(kept[row.id]),
                next_step=STEP,
            )


def _gone(was: KeptRow) -> str:
    gross, fee = Money(was.row.gross, was.row.currency), Money(was.row.fee, was.row.currency)
    return f"{was} had it with {gross} and a fee of {fee}; this source does not have it"
