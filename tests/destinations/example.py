"""One analytics event for the destinations' tests; a test names only what it is about."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from app.core.analytics import AnalyticsEvent, Identity
from app.core.money import Money

DEDUPE_ID = UUID("00000000-0000-5000-8000-000000000001")
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # the specification's own example
WHO = {"user_id": "user_7", "device_id": "dev_7"}


def an_event(
    *,
    name: str = "payment_succeeded",
    ids: Mapping[str, str] = WHO,
    properties: Mapping[str, Any] = {"product_id": "prod_pro"},
    revenue: Money | None = Money(1299, "usd"),  # noqa: B008 - frozen
) -> AnalyticsEvent:
    return AnalyticsEvent(
        key="payment:in_1",
        account="acct_1",
        livemode=True,
        name=name,
        occurred_at=datetime(2025, 3, 1, 12, tzinfo=UTC),
        identity=Identity(ids=ids, source="subscription.metadata"),
        properties=properties,
        revenue=revenue,
    )
