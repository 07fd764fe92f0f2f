"""An entry and its corrections are one: its money is what they come to together."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from app.core.money import Money
from app.core.reconcile.rows import LedgerEntry, sums


def as_corrected(entries: Iterable[LedgerEntry]) -> list[LedgerEntry]:
    """The entries as they count: one for each currency in which that is not nothing, with the
    entry's own key. What came to nothing is left out."""
    found = list(entries)
    corrections: dict[str, list[LedgerEntry]] = {}
    for one in found:
        if one.corrects is not None:
            corrections.setdefault(one.corrects, []).append(one)
    if not corrections:  # nearly always
        return found
    standing: list[LedgerEntry] = []
    for one in found:
        if one.corrects is None:
            standing += _together(one, corrections.pop(one.key, ()))
    return [*standing, *(one for alone in corrections.values() for one in alone)]


def _together(entry: LedgerEntry, corrections: Iterable[LedgerEntry]) -> Iterator[LedgerEntry]:
    more = list(corrections)
    if not more:
        yield entry
        return
    total = sums(one.money for one in (entry, *more))
    taxes = [one.tax_minor for one in (entry, *more) if one.tax_minor is not None]
    for currency, minor in total.items():
        if minor:
            tax = sum(taxes) if taxes and len(total) == 1 else None
            yield replace(entry, money=Money(minor, currency), tax_minor=tax, corrected=True)
