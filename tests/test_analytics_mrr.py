"""Recurring revenue in the schema `analytics`: its roll-forward, retention and trials, against
sheets worked out by hand and a simulated SaaS."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, text

from app.demo.saas import simulate
from app.release import release_ended_holds
from app.settings import Settings
from app.store.migrate import set_reporting_zone
from tests.core.test_mrr import item, price, tiered
from tests.test_measure import Told, measured, snapshot, tell
from tests.test_measure import at as kept_at
from tests.test_process import event, processed
from tests.test_simulated_saas import drained, post

JAN, FEB, MAR, APR = (date(2025, month, 1) for month in (1, 2, 3, 4))
# now() ends every series, so stories are of the past and months are asked for by name.
MONTHS = "('2025-01-01', '2025-02-01', '2025-03-01', '2025-04-01')"


def rows(engine: Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


class Story:
    """Subscriptions as Stripe states them, one after the other."""

    def __init__(self) -> None:
        self.told: list[Told] = []

    def say(self, when: str, customer: str, minor: int, **changes: Any) -> None:
        """The customer's subscription is worth so much from then on; 0: it ended."""
        values: dict[str, Any] = {"items": [item(price(minor))], "customer": customer}
        if not minor:
            ended = {"status": "canceled", "churn": "voluntary", "items": [item(price())]}
            values = {**values, **ended}
        values = {**values, "subscription": f"sub_{customer}", **changes}
        moment = datetime.fromisoformat(when).replace(tzinfo=UTC)
        self.told.append((kept_at(moment, len(self.told) + 1, livemode=True), snapshot(**values)))

    def measured(self, engine: Engine, settings: Settings) -> None:
        tell(engine, *self.told)
        measured(engine, settings)


@pytest.fixture
def sheet(engine: Engine, settings: Settings) -> None:
    """What the tests' sheets are worked out from, in cents a month.

              january     february    march                   april
    A         +1000 (5.)              2000 (10.)
    B         +3000 (8.)  1500 (20.)
    C         +500 (10.)              left (15.)              back with 800 (2.)
    D                     +2000 (3.)                          lost to failed payments (9.)
    E                     +700 (5.), left (25.)
    G         +1000 (15.)             a second of 600 (1.),
                                      the first left (20.)
    F, euro   +900 (20.)
    """
    story = Story()
    story.say("2025-01-05", "A", 1000)
    story.say("2025-01-08", "B", 3000)
    story.say("2025-01-10", "C", 500)
    story.say("2025-01-15", "G", 1000)
    story.say("2025-01-20", "F", 900, currency="eur", items=[item(price(900, currency="eur"))])
    story.say("2025-02-03", "D", 2000)
    story.say("2025-02-05", "E", 700)
    story.say("2025-02-20", "B", 1500)
    story.say("2025-02-25", "E", 0)
    story.say("2025-03-01", "G", 600, subscription="sub_G2")
    story.say("2025-03-10", "A", 2000)
    story.say("2025-03-15", "C", 0)
    story.say("2025-03-20", "G", 0)
    story.say("2025-04-02", "C", 800, subscription="sub_C2")
    story.say("2025-04-06", "D", 2000, status="past_due")
    story.say("2025-04-09", "D", 0, churn="involuntary")
    story.measured(engine, settings)


@pytest.mark.usefixtures("sheet")
def test_the_roll_forward_is_the_sheets(engine: Engine) -> None:
    query = f"""
        SELECT month, start_minor, new_minor, reactivation_minor, expansion_minor,
            contraction_minor, churn_voluntary_minor, churn_involuntary_minor, unknown_minor,
            end_minor, start_customers, end_customers, unknown_customers, complete
        FROM analytics.mrr_rollforward WHERE currency = 'usd' AND month IN {MONTHS} ORDER BY month
    """
    assert rows(engine, query) == [
        (JAN, 0, 5500, 0, 0, 0, 0, 0, 0, 5500, 0, 4, 0, True),
        (FEB, 5500, 2700, 0, 0, -1500, -700, 0, 0, 6000, 4, 5, 0, True),
        (MAR, 6000, 0, 0, 1600, -1000, -500, 0, 0, 6100, 5, 4, 0, True),
        (APR, 6100, 0, 800, 0, 0, 0, -2000, 0, 4900, 4, 4, 0, True),
    ]
    euro = "SELECT DISTINCT end_minor FROM analytics.mrr_rollforward WHERE currency = 'eur'"
    assert rows(engine, euro) == [(900,)]


@pytest.mark.usefixtures("sheet")
def test_retention_is_the_sheets(engine: Engine) -> None:
    """february: of A 1000, B 3000, C 500, G 1000 = 5500 there are 1000 + 1500 + 500 + 1000 = 4000.
        Churned MRR is B's 1500 and E's 700.
    march: of A 1000, B 1500, C 500, D 2000, G 1000 = 6000 there are 2000 + 1500 + 0 + 2000 + 600 =
        6100; each at most as before: 1000 + 1500 + 0 + 2000 + 600 = 5100. One of five is lost.
    april: of A 2000, B 1500, D 2000, G 600 = 6100 there are 4100. C is back, and in no cohort.
    """
    query = f"""
        SELECT month, cohort_customers, lost_customers, gross_mrr_churn, net_mrr_churn,
            net_revenue_retention, gross_revenue_retention, customer_churn, arpa_minor, ltv_minor,
            quick_ratio
        FROM analytics.retention_monthly WHERE currency = 'usd' AND month IN {MONTHS}
        ORDER BY month
    """
    part = {
        "2200/5500": Decimal("0.400000"),
        "4000/5500": Decimal("0.727273"),
        "2700/2200": Decimal("1.227273"),
        "1500/6000": Decimal("0.250000"),
        "-100/6000": Decimal("-0.016667"),
        "6100/6000": Decimal("1.016667"),
        "5100/6000": Decimal("0.850000"),
        "1600/1500": Decimal("1.066667"),
        "2000/6100": Decimal("0.327869"),
        "1200/6100": Decimal("0.196721"),
        "4100/6100": Decimal("0.672131"),
    }
    euros = [Decimal(f"{each}.00") for each in (1375, 1200, 1525, 1225)]
    assert rows(engine, query) == [
        (JAN, 0, 0, None, None, None, None, None, euros[0], None, None),
        (
            *(FEB, 4, 0, part["2200/5500"], part["2200/5500"], part["4000/5500"]),
            *(part["4000/5500"], 0, euros[1], None, part["2700/2200"]),
        ),
        (
            *(MAR, 5, 1, part["1500/6000"], part["-100/6000"], part["6100/6000"]),
            *(part["5100/6000"], Decimal("0.2"), euros[2], Decimal(7625), part["1600/1500"]),
        ),
        (
            *(APR, 4, 1, part["2000/6100"], part["1200/6100"], part["4100/6100"]),
            *(part["4100/6100"], Decimal("0.25"), euros[3], Decimal(4900), Decimal("0.4")),
        ),
    ]


@pytest.mark.usefixtures("sheet")
def test_mrr_by_day_is_what_it_was_at_the_end_of_that_day(engine: Engine) -> None:
    query = """
        SELECT day, mrr_minor, customers, new_minor, contraction_minor, churn_voluntary_minor
        FROM analytics.mrr_daily
        WHERE currency = 'usd' AND day IN ('2025-01-04', '2025-01-05', '2025-01-09', '2025-02-20',
            '2025-02-24', '2025-02-25', '2025-12-31') ORDER BY day
    """
    assert rows(engine, query) == [
        (date(2025, 1, 5), 1000, 1, 1000, 0, 0),
        (date(2025, 1, 9), 4000, 2, 0, 0, 0),
        (date(2025, 2, 20), 6700, 6, 0, -1500, 0),
        (date(2025, 2, 24), 6700, 6, 0, 0, 0),
        (date(2025, 2, 25), 6000, 5, 0, 0, -700),
        (date(2025, 12, 31), 4900, 4, 0, 0, 0),
    ]
    customers = """
        SELECT customer, mrr_minor FROM analytics.mrr_monthly_by_customer
        WHERE currency = 'usd' AND month = '2025-03-01' ORDER BY customer
    """
    assert rows(engine, customers) == [("A", 2000), ("B", 1500), ("D", 2000), ("G", 600)]


def test_the_roll_forward_closes_through_what_is_not_known(
    engine: Engine, settings: Settings
) -> None:
    story = Story()
    story.say("2025-01-05", "A", 1000)
    story.say("2025-01-07", "A", 1, subscription="sub_A2", items=[item(tiered("volume"))])
    story.say("2025-02-03", "A", 400, subscription="sub_A2")
    story.say("2025-02-09", "A", 900, subscription="sub_A2")
    story.measured(engine, settings)

    query = """
        SELECT month, new_minor, expansion_minor, unknown_minor, end_minor, unknown_customers
        FROM analytics.mrr_rollforward WHERE month < '2025-04-01' ORDER BY month
    """
    assert rows(engine, query) == [
        (JAN, 1000, 0, 0, 1000, 1),
        (FEB, 0, 500, 400, 1900, 0),
        (MAR, 0, 0, 0, 1900, 0),
    ]
    retention = "SELECT month, cohort_customers FROM analytics.retention_monthly WHERE month < :m"
    assert rows(engine, retention.replace(":m", "'2025-04-01'")) == [(JAN, 0), (FEB, 0), (MAR, 1)]
    assert rows(engine, "SELECT * FROM analytics.dq_rollforward") == []


def test_days_and_months_are_those_of_the_reporting_zone(
    engine: Engine, settings: Settings
) -> None:
    story = Story()
    story.say("2025-01-31T22:59:59", "A", 1000)
    story.say("2025-01-31T23:00:00", "B", 2000)
    story.measured(engine, settings)
    by_month = f"""
        SELECT month, start_minor, new_minor, end_minor FROM analytics.mrr_rollforward
        WHERE month IN {MONTHS} ORDER BY month LIMIT 2
    """
    assert rows(engine, by_month) == [(JAN, 0, 3000, 3000), (FEB, 3000, 0, 3000)]

    with engine.begin() as connection:
        set_reporting_zone(connection, "America/New_York")
        set_reporting_zone(connection, "Europe/Berlin")
    assert rows(engine, "SELECT timezone FROM analytics.reporting") == [("Europe/Berlin",)]
    assert rows(engine, by_month) == [(JAN, 0, 1000, 1000), (FEB, 1000, 2000, 3000)]
    assert rows(engine, "SELECT day, mrr_minor FROM analytics.mrr_daily LIMIT 2") == [
        (date(2025, 1, 31), 1000),
        (date(2025, 2, 1), 3000),
    ]
    # Whatever the zone of the session that asks.
    with engine.connect() as connection:
        connection.execute(text("SET TIME ZONE 'Pacific/Auckland'"))
        again = connection.execute(text(by_month)).all()
    assert again == [(JAN, 0, 1000, 1000), (FEB, 1000, 2000, 3000)]


def test_a_zone_that_postgres_does_not_know_is_refused(engine: Engine) -> None:
    with engine.connect() as connection, pytest.raises(Exception, match="Mars/Olympus"):
        set_reporting_zone(connection, "Mars/Olympus")
    assert rows(engine, "SELECT timezone FROM analytics.reporting") == [("UTC",)]


# --- trials


def trial(number: int, type_: str, at: datetime, **changes: Any) -> dict[str, Any]:
    """A webhook event of sub_<number>, whose trial of march 2025 ends on the 15th."""
    values = {
        "id": f"sub_{number}",
        "object": "subscription",
        "customer": f"cus_{number}",
        "status": "trialing",
        "currency": "usd",
        "start_date": int(datetime(2025, 3, 1, tzinfo=UTC).timestamp()),
        "trial_start": int(datetime(2025, 3, 1, tzinfo=UTC).timestamp()),
        "trial_end": int(datetime(2025, 3, 15, tzinfo=UTC).timestamp()),
        "items": {"data": [item(price())]},
        **changes,
    }
    said: dict[str, Any] = {"id": f"evt_{number}_{type_}", "created": int(at.timestamp())}
    return event(number, f"customer.subscription.{type_}", values, **said)


def paid_trial(number: int) -> dict[str, Any]:
    end = int(datetime(2025, 3, 15, tzinfo=UTC).timestamp())
    line = {
        "amount": 1000,
        "period": {"start": end, "end": end + 31 * 86_400},
        "parent": {"subscription_item_details": {"subscription": f"sub_{number}"}},
    }
    invoice = {
        "id": f"in_{number}",
        "object": "invoice",
        "created": end,
        "customer": f"cus_{number}",
        "currency": "usd",
        "billing_reason": "subscription_cycle",
        "total": 1000,
        "amount_due": 1000,
        "amount_paid": 1000,
        "status": "paid",
        "status_transitions": {"paid_at": end + 3600},
        "parent": {"subscription_details": {"subscription": f"sub_{number}"}},
        "lines": {"data": [line]},
    }
    return event(number, "invoice.paid", invoice, created=end + 3600)


def test_the_trial_funnel_is_the_sheets(engine: Engine, settings: Settings) -> None:
    """Seven trials start in march: 1 and 2 pay, 3 cancels on the 5th, 4 is not paid for and ends, 5
    ends and nothing is heard, 6 and 7 have not ended yet, but 7 cancelled: 2 of 5 are converted."""
    begin, end = datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 3, 15, tzinfo=UTC)
    far = int((datetime.now(UTC) + timedelta(days=9)).timestamp())
    unpaid = {"reason": "payment_failed"}
    asked = {"reason": "cancellation_requested"}
    events = [trial(number, "created", begin) for number in (1, 2, 3, 4, 5)]
    events += [trial(number, "created", begin, trial_end=far) for number in (6, 7)]
    events += [trial(number, "updated", end, status="active") for number in (1, 2)]
    events += [paid_trial(1), paid_trial(2)]
    for number, when, why, more in (
        (3, begin + timedelta(days=4), asked, {}),
        (4, end + timedelta(minutes=30), unpaid, {}),
        (7, begin + timedelta(days=9), asked, {"trial_end": far}),
    ):
        gone = {"status": "canceled", "ended_at": int(when.timestamp()), **more}
        events.append(trial(number, "deleted", when, cancellation_details=why, **gone))
    processed(engine, settings, *events)
    with engine.begin() as connection:
        connection.execute(text("UPDATE work SET due_at = clock_timestamp()"))
    while release_ended_holds(engine, settings):
        pass

    outcomes = "SELECT subscription, matured, outcome FROM analytics.trials ORDER BY 1"
    assert rows(engine, outcomes) == [
        ("sub_1", True, "converted"),
        ("sub_2", True, "converted"),
        ("sub_3", True, "cancelled"),
        ("sub_4", True, "expired"),
        ("sub_5", True, None),
        ("sub_6", False, None),
        ("sub_7", False, "cancelled"),
    ]
    columns = "cohort, started, still_open, matured, converted, cancelled, expired, undecided"
    assert rows(engine, f"SELECT {columns}, conversion_rate FROM analytics.trial_funnel") == [
        (MAR, 7, 2, 5, 2, 1, 1, 1, Decimal("0.4"))
    ]


# --- a simulated SaaS


def test_of_a_simulated_saas_every_month_closes_and_every_sum_is_the_storys(
    engine: Engine, settings: Settings
) -> None:
    story = simulate(seed=11, customers=40, now=1_740_000_000)
    post(engine, story.webhooks)
    drained(engine, settings)

    checked = rows(engine, "SELECT currency, difference_minor FROM analytics.mrr_rollforward_check")
    assert {currency for currency, _ in checked} >= {"usd", "eur"}
    assert len(checked) > 12
    assert {difference for _, difference in checked} == {0}
    # The end of the last month, the last day and what subscriptions are worth now are one number.
    now = """
        SELECT currency, sum(minor)::bigint FROM analytics.subscription_mrr GROUP BY 1
        HAVING sum(minor) > 0 ORDER BY 1
    """
    days = """
        SELECT DISTINCT ON (currency) currency, mrr_minor FROM analytics.mrr_daily
        ORDER BY currency, day DESC
    """
    ends = """
        SELECT DISTINCT ON (currency) currency, end_minor FROM analytics.mrr_rollforward
        ORDER BY currency, month DESC
    """
    assert rows(engine, now) == rows(engine, days) == rows(engine, ends)

    counts = story.expected.counts
    funnel = """
        SELECT sum(started), sum(converted), sum(cancelled), sum(expired), sum(undecided)
        FROM analytics.trial_funnel
    """
    [(started, converted, cancelled, expired, undecided)] = rows(engine, funnel)
    assert (started, converted, cancelled, expired) == (
        *(counts["trial_started"], counts["trial_converted"]),
        *(counts["trial_cancelled"], counts.get("trial_expired", 0)),
    )
    assert undecided == started - converted - cancelled - expired
    for view in ("daily_revenue", "revenue_by_plan", "revenue_by_channel"):
        query = f"SELECT currency, sum(net_minor)::bigint FROM analytics.{view} GROUP BY 1"
        assert dict(rows(engine, query)) == story.expected.revenue, view
    failing = """
        SELECT check_name FROM analytics.dq_summary WHERE severity = 'error' AND failing_rows > 0
    """
    assert rows(engine, failing) == []
