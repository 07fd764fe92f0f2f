"""Revenue entries by SQL, for tests of what finance reads."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from sqlalchemy import Engine, text

from app.store.bulk import insert_rows
from app.store.schema import revenue_entries

ENTRY: Mapping[str, Any] = {
    **{"account": "", "livemode": True, "kind": "payment", "minor": 1200, "currency": "usd"},
    **{"tax_minor": 200, "discount_minor": 0, "customer": "cus_1", "subscription": None},
    **{"invoice": None, "payment_intent": None, "charge": None, "refund": None, "dispute": None},
    **{"out_of_band": False, "origin": "webhook", "webhook_event_id": None},
}


def entry(key: str, day: date | str, **more: Any) -> dict[str, Any]:
    """A live payment of 12.00 USD, 2.00 of it tax, unless said otherwise; at noon UTC of `day`."""
    day = date.fromisoformat(str(day))
    at = datetime.fromisoformat(f"{day}T12:00:00+00:00")
    values = {**ENTRY, "key": key, "occurred_at": at, "recorded_at": at, **more}
    if values["kind"] != "payment":
        values |= {"tax_minor": None, "discount_minor": None}
    return {"posting_date": day, "effective_date": day, **values, **more}


def book(engine: Engine, *entries: Mapping[str, Any]) -> None:
    with engine.begin() as connection:
        insert_rows(connection, revenue_entries, entries)


def posting_dates(engine: Engine) -> dict[str, str]:
    """Of every entry, by its key."""
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT key, posting_date::text FROM revenue_entries"))
        return {row.key: row.posting_date for row in rows}
