"""The pretend Stripe's reports on the balance say what its webhooks said."""

import csv
import io
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal

from app.demo.balance import itemized, summary
from app.demo.saas import simulate
from app.demo.tally import decimals

NOW = 1_790_000_000
STORY = simulate(seed=3, customers=60, now=NOW)


def lines(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_the_report_adds_up_to_the_simulators_own_sums() -> None:
    found: Counter[str] = Counter()
    for line in lines(itemized(STORY.emissions)):
        currency = line["currency"]
        found[currency] += int(Decimal(line["gross"]).scaleb(decimals(currency)))

    assert dict(found) == STORY.expected.revenue


def test_each_transaction_is_listed_once_and_costs_its_fee() -> None:
    found = lines(itemized(STORY.emissions))

    assert len({line["balance_transaction_id"] for line in found}) == len(found)
    assert {line["reporting_category"] for line in found} == {"charge", "refund"}
    assert all(Decimal(x["gross"]) - Decimal(x["fee"]) == Decimal(x["net"]) for x in found)


def test_the_summary_adds_up_what_came_before_that_moment() -> None:
    until = datetime.fromtimestamp(NOW - 30 * 86_400, UTC)
    found = lines(itemized(STORY.emissions))
    expected: Counter[tuple[str, str]] = Counter()
    for line in found:
        if line["created_utc"] < f"{until:%Y-%m-%d %H:%M:%S}":
            expected[line["reporting_category"], line["currency"]] += 1

    said = lines(summary(STORY.emissions, until))

    assert {(x["reporting_category"], x["currency"]): int(x["count"]) for x in said} == expected
    assert 0 < expected.total() < len(found)
