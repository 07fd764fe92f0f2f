"""The stand-in for Google Analytics refuses and dedupes as Google says it does."""

import json
import time
from decimal import Decimal
from typing import Any

import pytest

from tests.vendors.ga4 import API_SECRET, MEASUREMENT_ID, Ga4

KEYS = f"measurement_id={MEASUREMENT_ID}&api_secret={API_SECRET}"
SALE = {"transaction_id": "in_1", "value": 12.99, "currency": "USD", "items": [{"item_id": "p"}]}


def sent(ga4: Ga4, name: str = "purchase", *, keys: str = KEYS, **body: Any) -> tuple[int, str]:
    params = body.pop("params", SALE)
    whole = {"client_id": "1.2", "events": [{"name": name, "params": params}], **body}
    return ga4.answer(f"/mp/collect?{keys}", {}, json.dumps(whole).encode())


def test_a_purchase_counts_once_per_transaction_and_a_refund_as_often_as_it_arrives() -> None:
    ga4 = Ga4()
    for _ in range(2):
        assert sent(ga4) == (204, "")
        sent(ga4, "refund", params={"transaction_id": "in_1", "value": 2.5, "currency": "USD"})
        sent(ga4, "dispute_opened", params={"inquiry": "false"})

    assert (ga4.revenue(), ga4.counted()) == ({"usd": Decimal("7.99")}, 5)
    assert (ga4.dropped, ga4.redated) == ([], [])


def test_what_is_older_than_72_hours_is_moved_and_noted() -> None:
    ga4 = Ga4()
    for hours in (71, 73):
        micros = int((time.time() - hours * 3600) * 1e6)
        sent(ga4, "trial_started", params={}, timestamp_micros=micros)

    assert (ga4.counted(), ga4.redated) == (2, ["trial_started"])


BAD: list[dict[str, Any]] = [
    {"keys": KEYS + "x"},
    {"client_id": "stripe:cus_1"},
    {"user_id": "u" * 257},
    {"timestamp_micros": 1740830400000},
    {"consent": {"ad_user_data": "granted"}},
    {"consent": {"analytics_storage": "GRANTED"}},
    {"events": []},
    {"unheard": 1},
    {"name": "Order Paid"},
    {"name": "session_start"},
    {"name": "ga_sale"},
    {"name": "a" * 41},
    {"params": {**SALE, "transaction_id": ""}},
    {"params": {**SALE, "items": []}},
    {"params": {**SALE, "items": [{"price": 1}]}},
    {"params": {**SALE, "items": [{"item_id": "p"}] * 201}},
    {"params": {**SALE, "value": -1}},
    {"params": {**SALE, "currency": "usd"}},
    {"params": {**SALE, "out_of_band": True}},
    {"params": {**SALE, "reason": "x" * 101}},
    {"params": {**SALE, "session_id": "s_1"}},
    {"params": {**SALE, **{f"p{i}": i for i in range(22)}}},
]


@pytest.mark.parametrize("changes", BAD, ids=repr)
def test_what_is_malformed_is_answered_204_and_not_counted(changes: dict[str, Any]) -> None:
    ga4 = Ga4()

    assert sent(ga4, **changes) == (204, "")
    assert (ga4.counted(), ga4.revenue(), len(ga4.dropped) > 0) == (0, {}, True)


def test_the_validation_server_tells_what_the_other_drops_and_counts_nothing() -> None:
    ga4 = Ga4()
    body = json.dumps({"client_id": "1.2", "events": [{"name": "_bad"}]}).encode()
    status, told = ga4.answer(f"/debug/mp/collect?{KEYS}", {}, body)

    assert (
        status,
        [each["validationCode"] for each in json.loads(told)["validationMessages"]],
    ) == (
        200,
        ["NAME_INVALID", "NAME_RESERVED"],
    )
    assert (ga4.counted(), ga4.dropped) == (0, [])
    assert ga4.answer("/g/collect", {}, b"") == (404, "")
