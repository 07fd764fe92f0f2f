"""The other legs of a reconciliation: the ledger against what destinations were told, and against
what a browser counted."""

from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal

from sqlalchemy import Connection

from app.core.money import Money
from app.core.reconcile import browser
from app.core.reconcile.browser import Conversions, Lost
from app.core.reconcile.rows import Period
from app.core.reconcile.told import Tally, Telling, tally
from app.destinations.base import Destination
from app.settings import Settings
from app.store import comparison
from app.store.identities import Scope


def destinations(connection: Connection, settings: Settings, scope: Scope, period: Period) -> Tally:
    """What each was owed of the period's entries, and was told. Read as a stream."""
    return tally(_tellings(connection, settings, scope, period))


def _tellings(
    connection: Connection, settings: Settings, scope: Scope, period: Period
) -> Iterator[Telling]:
    pages = {one.name: one for one in settings.destinations}
    net_of_tax = settings.revenue == "net_of_tax"
    for row in comparison.tellings(connection, scope, period.start, period.end):
        key, minor, currency, tax, event, why, name, state, reason, payload = row
        page = pages.get(name)
        yield Telling(
            key=key,
            owed=Money(minor - (tax or 0) if net_of_tax else minor, currency),
            event=event,
            why=why,
            destination=name,
            state=state,
            reason=reason,
            told=_told(page, payload) if page and payload is not None else None,
        )


def _told(page: Destination, payload: bytes) -> tuple[Decimal, str] | None:
    """None as well where the payload was frozen by another kind of page, under the same name."""
    try:
        return page.told(payload)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return None


def browsers(
    connection: Connection,
    scope: Scope,
    period: Period,
    counted: Mapping[tuple[date, str], Conversions],
) -> list[Lost]:
    """`counted`: what a browser counted, by day and channel."""
    found = comparison.conversions(connection, scope, period.start, period.end)
    ours = (
        (day, browser.channel(source, medium), count, money)
        for day, source, medium, count, money in found
    )
    return browser.compare(counted, ours)
