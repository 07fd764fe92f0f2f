"""Measuring: snapshots and catalogue, in any order, become states and MRR movements."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event, make_url, text

from app.core.facts import CatalogueItem, Snapshot
from app.core.reading import catalogue as read_catalogue
from app.local.stores import Stores
from app.measure import BATCH, measure
from app.settings import Settings
from app.store import catalogue, subscription_states, subscriptions, work
from app.store.db import make_engine
from app.store.webhook_events import Kept
from app.stripe_api import StripeApi
from tests.fake_stripe import FakeStripe, fake_stripe

KEY = "sk_test_measure"
NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

Told = tuple[Kept, Snapshot | tuple[CatalogueItem, ...]]


def price(amount: int | None = 1000, **changes: Any) -> dict[str, Any]:
    values = {
        "id": "price_1",
        "object": "price",
        "billing_scheme": "per_unit",
        "currency": "usd",
        "livemode": False,
        "product": "prod_1",
        "recurring": {"interval": "month", "interval_count": 1, "usage_type": "licensed"},
        "tiers_mode": None,
        "unit_amount": amount,
    }
    return {**values, **changes}


TIERS = [{"up_to": 5, "unit_amount": 700}, {"up_to": None, "unit_amount": 650}]
TIERED = price(None, billing_scheme="tiered", tiers_mode="volume")
COUPON = {"id": "SAVE", "object": "coupon", "duration": "forever", "percent_off": 25}
COUPON |= {"amount_off": None, "livemode": False}
DISCOUNT = {"id": "di_1", "object": "discount", "end": None, "subscription": "sub_1"}
CLOVER = DISCOUNT | {"source": {"type": "coupon", "coupon": "SAVE"}}


def item(of: object, quantity: int = 1, **changes: Any) -> dict[str, Any]:
    return {"id": "si_1", "price": of, "quantity": quantity, **changes}


def at(when: datetime, number: int, account: str = "", livemode: bool = False) -> Kept:
    return Kept(
        id=number,
        account=account,
        livemode=livemode,
        event_id=f"evt_{number}",
        type="any",
        created=when,
        origin="webhook",
        raw=b"{}",
    )


def snapshot(subscription: str = "sub_1", **changes: Any) -> Snapshot:
    values: dict[str, Any] = {
        "subscription": subscription,
        "customer": "cus_1",
        "status": "active",
        "currency": "usd",
        "started_at": NOON,
        "trial_start": None,
        "trial_end": None,
        "ended_at": None,
        "paused_collection": False,
        "churn": None,
        "items": [item(price())],
        "discounts": [],
        "previous_attributes": None,
    }
    return Snapshot(**{**values, **changes})


def tell(engine: Engine, *told: Told) -> None:
    """As `process` does: what was said and its work in one transaction."""
    with engine.begin() as connection:
        snapshots = [(kept, one) for kept, one in told if isinstance(one, Snapshot)]
        items = [
            ((kept.account, kept.livemode), kept.id, each)
            for kept, one in told
            if not isinstance(one, Snapshot)
            for each in one
        ]
        subscriptions.add_snapshots(connection, snapshots)
        catalogue.add(connection, items)
        work.put(connection, work.MEASURE, [kept.id for kept, _ in told])


def measured(engine: Engine, settings: Settings, api: StripeApi | None = None) -> None:
    while measure(engine, settings, api):
        pass


def rows(engine: Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def movements(engine: Engine) -> list[tuple[Any, ...]]:
    return rows(
        engine,
        "SELECT at, movement, minor FROM mrr_movements ORDER BY customer, currency, at",
    )


def current(engine: Engine) -> list[tuple[Any, ...]]:
    return rows(
        engine,
        "SELECT subscription, minor, missing FROM subscription_mrr ORDER BY subscription",
    )


def everything(engine: Engine) -> list[tuple[Any, ...]]:
    columns = "subscription, stated_at, status, churn, minor, missing, asked, minor_after"
    return rows(engine, f"SELECT {columns} FROM subscription_states ORDER BY 1, 2")


def test_a_life_in_movements(engine: Engine, settings: Settings) -> None:
    two = [item(price(), 2)]
    tell(
        engine,
        (at(NOON, 1), snapshot(status="trialing")),
        (at(NOON + DAY, 2), snapshot()),
        (at(NOON + 2 * DAY, 3), snapshot(items=two)),
        (at(NOON + 3 * DAY, 4), snapshot(items=two, status="past_due")),
        (at(NOON + 4 * DAY, 5), snapshot()),
        (at(NOON + 5 * DAY, 6), snapshot(status="unpaid")),
        (at(NOON + 6 * DAY, 7), snapshot()),
        (at(NOON + 7 * DAY + HOUR / 2, 8), snapshot(status="canceled", churn="voluntary")),
    )

    assert measure(engine, settings) == 8
    assert measure(engine, settings) == 0
    assert movements(engine) == [
        (NOON + DAY, "new", 1000),
        (NOON + 2 * DAY, "expansion", 1000),
        (NOON + 4 * DAY, "contraction", -1000),
        (NOON + 5 * DAY, "churn_involuntary", -1000),
        (NOON + 6 * DAY, "reactivation", 1000),
        (NOON + 7 * DAY, "churn_voluntary", -1000),
    ]
    query = "SELECT subscription, customer, currency, status, since, minor, unknown, missing"
    assert rows(engine, f"{query} FROM subscription_mrr") == [
        ("sub_1", "cus_1", "usd", "canceled", NOON + 7 * DAY + HOUR / 2, 0, False, [])
    ]


def test_an_end_without_a_reason_is_voluntary(engine: Engine, settings: Settings) -> None:
    tell(engine, (at(NOON, 1), snapshot()), (at(NOON + DAY, 2), snapshot(status="canceled")))
    measured(engine, settings)

    assert movements(engine)[1:] == [(NOON + DAY, "churn_voluntary", -1000)]


def test_what_took_it_to_nothing_names_the_churn(engine: Engine, settings: Settings) -> None:
    tell(
        engine,
        (at(NOON, 1), snapshot()),
        (at(NOON + DAY, 2), snapshot(status="unpaid")),
        (at(NOON + DAY + HOUR / 2, 3), snapshot(status="canceled", churn="voluntary")),
    )
    measured(engine, settings)

    assert movements(engine)[1:] == [(NOON + DAY, "churn_involuntary", -1000)]


def test_movements_are_the_customers_over_all_their_subscriptions(
    engine: Engine, settings: Settings
) -> None:
    gone = {"status": "canceled", "churn": "involuntary"}
    tell(
        engine,
        (at(NOON, 1), snapshot("sub_1")),
        (at(NOON + DAY, 2), snapshot("sub_2", items=[item(price(500))])),
        (at(NOON + 2 * DAY, 3), snapshot("sub_1", **gone)),
        # One plan is left and another taken within the hour.
        (at(NOON + 3 * DAY + HOUR / 3, 4), snapshot("sub_2", **gone)),
        (at(NOON + 3 * DAY + HOUR / 2, 5), snapshot("sub_3", items=[item(price(700))])),
        (at(NOON + 4 * DAY, 6), snapshot("sub_3", **gone)),
        (at(NOON + 5 * DAY, 7), snapshot("sub_4")),
        # Up and down within the hour is no movement.
        (at(NOON + 6 * DAY, 8), snapshot("sub_4", items=[item(price(), 3)])),
        (at(NOON + 6 * DAY + HOUR / 2, 9), snapshot("sub_4")),
    )
    measured(engine, settings)

    assert movements(engine) == [
        (NOON, "new", 1000),
        (NOON + DAY, "expansion", 500),
        (NOON + 2 * DAY, "contraction", -1000),
        (NOON + 3 * DAY, "expansion", 200),
        (NOON + 4 * DAY, "churn_involuntary", -700),
        (NOON + 5 * DAY, "reactivation", 1000),
    ]


def test_customers_currencies_accounts_and_modes_are_never_mixed(
    engine: Engine, settings: Settings
) -> None:
    euros = {"currency": "eur", "items": [item(price(900, currency="eur"))]}
    tell(
        engine,
        (at(NOON, 1), snapshot()),
        (at(NOON, 2), snapshot("sub_2", customer="cus_2")),
        (at(NOON, 3), snapshot("sub_3", **euros)),
        (at(NOON, 4, account="acct_1"), snapshot()),
        (at(NOON, 5, livemode=True), snapshot()),
    )
    measured(engine, settings)

    query = """SELECT account, livemode, customer, currency, movement, minor, unknown
               FROM mrr_movements ORDER BY 1, 2, 3, 4"""
    assert rows(engine, query) == [
        ("", False, "cus_1", "eur", "new", 900, False),
        ("", False, "cus_1", "usd", "new", 1000, False),
        ("", False, "cus_2", "usd", "new", 1000, False),
        ("", True, "cus_1", "usd", "new", 1000, False),
        ("acct_1", False, "cus_1", "usd", "new", 1000, False),
    ]


def test_what_is_unknown_is_flagged_and_never_0(engine: Engine, settings: Settings) -> None:
    tell(
        engine,
        (at(NOON, 1), snapshot(items=[item(TIERED, 6)])),
        (at(NOON + DAY, 2), snapshot()),
        (at(NOON + 2 * DAY, 3), snapshot(items=[item(price(), 2)])),
        (at(NOON + 3 * DAY, 4), snapshot("sub_2", items=[item(TIERED, 6)])),
    )
    measured(engine, settings)

    query = "SELECT at, movement, minor, unknown FROM mrr_movements ORDER BY at"
    assert rows(engine, query) == [
        (NOON, "unknown", None, True),
        (NOON + DAY, "unknown", None, True),
        (NOON + 2 * DAY, "expansion", 1000, False),
        (NOON + 3 * DAY, "unknown", None, True),
    ]
    assert current(engine) == [("sub_1", 2000, []), ("sub_2", None, ["price.tiers:price_1"])]


def test_a_discount_that_ran_out_is_a_step_of_its_own(engine: Engine, settings: Settings) -> None:
    now = datetime.now(UTC).replace(minute=10, second=0, microsecond=0)
    past, future = now - 2 * DAY, now + DAY

    def until(end: datetime) -> list[dict[str, Any]]:
        return [{"end": int(end.timestamp()), "coupon": COUPON | {"duration": "repeating"}}]

    tell(
        engine,
        (at(past - DAY, 1), snapshot("sub_1", discounts=until(past))),
        (at(past - DAY, 2), snapshot("sub_2", customer="cus_2", discounts=until(future))),
        # Replaced before it ran out: no step.
        (at(past - DAY, 3), snapshot("sub_3", customer="cus_3", discounts=until(past))),
        (at(past - HOUR, 4), snapshot("sub_3", customer="cus_3", status="canceled")),
    )
    measured(engine, settings)

    hour = past.replace(minute=0)
    assert movements(engine) == [
        (hour - DAY, "new", 750),
        (hour, "expansion", 250),
        (hour - DAY, "new", 750),
        (hour - DAY, "new", 750),
        (hour - HOUR, "churn_voluntary", -750),
    ]
    assert current(engine) == [("sub_1", 1000, []), ("sub_2", 750, []), ("sub_3", 0, [])]


def test_one_second_is_one_state_in_every_order_of_arrival(
    engine: Engine, settings: Settings
) -> None:
    one, two = [item(price())], [item(price(), 2)]
    told: list[Told] = [
        (at(NOON, 9), snapshot(status="incomplete", items=one)),
        (at(NOON, 5), snapshot(items=one, previous_attributes={"status": "incomplete"})),
        (at(NOON, 2), snapshot(items=two, previous_attributes={"items": {"data": one}})),
        (at(NOON + DAY, 1), snapshot(items=one)),
    ]
    for order in permutations(told):
        for one_by_one in (True, False):
            _forget(engine)
            for each in order:
                tell(engine, each)
                if one_by_one:
                    measured(engine, settings)
            measured(engine, settings)
            assert movements(engine) == [(NOON, "new", 2000), (NOON + DAY, "contraction", -1000)]


def test_the_catalogue_may_come_before_between_and_after(
    engine: Engine, settings: Settings
) -> None:
    other = price(3000, id="price_2", product="prod_2")
    both = [item(TIERED, 6), item(other, id="si_2")]
    told: list[Told] = [
        (at(NOON, 1), snapshot(items=both, discounts=["di_1"])),
        (at(NOON + DAY, 2), read_catalogue.discount(CLOVER, NOON, None).catalogue),
        (at(NOON + DAY, 3), read_catalogue.coupon(COUPON, NOON, None).catalogue),
        (at(NOON + DAY, 4), read_catalogue.price(TIERED | {"tiers": TIERS}, NOON, None).catalogue),
        (
            at(NOON + DAY, 5),
            read_catalogue.coupon(
                COUPON | {"applies_to": {"products": ["prod_2"]}}, NOON, None
            ).catalogue,
        ),
    ]
    asked = ["coupon.applies_to:SAVE", "coupon:SAVE", "discount:di_1", "price.tiers:price_1"]
    state: tuple[Any, ...] = ("sub_1", NOON, "active", None, 3900 + 2250, [], asked, None)
    for order in permutations(told):
        _forget(engine)
        for each in order:
            tell(engine, each)
            measured(engine, settings)
        assert everything(engine) == [state]


def test_a_coupon_without_its_products_is_taken_for_all_and_said_to_be_missing_them(
    engine: Engine, settings: Settings
) -> None:
    both = [item(price()), item(price(3000, id="price_2", product="prod_2"))]
    tell(engine, (at(NOON, 1), snapshot(items=both, discounts=[{"coupon": COUPON}])))
    measured(engine, settings)

    assert current(engine) == [("sub_1", 3000, ["coupon.applies_to:SAVE"])]


def test_the_newest_statement_stands_whichever_came_last(
    engine: Engine, settings: Settings
) -> None:
    """And of two in one second the same one, whichever came last."""

    def said(number: int, percent: int, when: datetime) -> Told:
        of = read_catalogue.coupon(COUPON | {"percent_off": percent}, when, None)
        return at(when, number), of.catalogue

    told: list[Told] = [said(2, 10, NOON), said(3, 20, NOON + DAY), said(4, 30, NOON + DAY)]
    ends = set()
    for order in permutations([(at(NOON, 1), snapshot(discounts=[CLOVER])), *told]):
        _forget(engine)
        for each in order:
            tell(engine, each)
            measured(engine, settings)
        ends.add(current(engine)[0][1])

    assert ends == {700}


def test_the_same_said_again_measures_nothing_again(engine: Engine, settings: Settings) -> None:
    of = read_catalogue.coupon(COUPON, NOON, None).catalogue
    later = tuple(replace(one, stated_at=NOON + DAY) for one in of)
    tell(engine, (at(NOON, 1), of), (at(NOON, 2), snapshot(discounts=[CLOVER])))
    tell(engine, (at(NOON + DAY, 3), later))

    assert rows(engine, "SELECT stated_at, webhook_event_id FROM catalogue") == [(NOON + DAY, 1)]


def test_prices_come_with_their_tiers(engine: Engine) -> None:
    tell(
        engine,
        (at(NOON, 1), read_catalogue.price(TIERED | {"tiers": TIERS}, NOON, None).catalogue),
        (at(NOON, 2), read_catalogue.price(price(id="price_2"), NOON, None).catalogue),
    )
    with engine.connect() as connection:
        wanted = [("", False, name) for name in ("price_1", "price_2", "price_3")]
        found = catalogue.prices(connection, wanted)

    body = {
        "currency": "usd",
        "product": "prod_1",
        "recurring": {"interval": "month", "interval_count": 1, "usage_type": "licensed"},
    }
    tiers = [
        {"up_to": 5, "unit_amount_decimal": "700"},
        {"up_to": None, "unit_amount_decimal": "650"},
    ]
    assert found == {
        ("", False, "price_1"): body
        | {"id": "price_1", "billing_scheme": "tiered", "tiers_mode": "volume", "tiers": tiers},
        ("", False, "price_2"): body
        | {"id": "price_2", "billing_scheme": "per_unit", "unit_amount_decimal": "1000"},
    }


def test_one_measurer_at_a_time_and_nothing_is_lost(engine: Engine, settings: Settings) -> None:
    tell(engine, (at(NOON, 1), snapshot()))
    with engine.begin() as other:
        assert subscription_states.begin(other)
        assert measure(engine, settings) == 0

    assert measure(engine, settings) == 1
    assert current(engine) == [("sub_1", 1000, [])]


def test_what_is_said_while_it_is_measured_is_measured_next(
    engine: Engine, settings: Settings
) -> None:
    tell(engine, (at(NOON, 1), snapshot(items=[item(TIERED, 6)])))
    tiers = read_catalogue.price(TIERED | {"tiers": TIERS}, NOON, None).catalogue
    with engine.begin() as teller:
        catalogue.add(teller, [(("", False), 2, one) for one in tiers])
        work.put(teller, work.MEASURE, [2])
        assert measure(engine, settings) == 1
        assert current(engine) == [("sub_1", None, ["price.tiers:price_1"])]

    assert measure(engine, settings) == 1
    assert current(engine) == [("sub_1", 3900, [])]


def test_what_cannot_be_read_is_unknown_and_holds_nobody_up(
    engine: Engine, settings: Settings
) -> None:
    tell(
        engine,
        (at(NOON, 1), snapshot(items=[item(price(unit_amount="free"))])),
        (at(NOON, 2), snapshot("sub_2")),
    )
    measured(engine, settings)

    assert current(engine) == [("sub_1", None, []), ("sub_2", 1000, [])]


def test_many_take_as_many_statements_as_few(engine: Engine, settings: Settings) -> None:
    def statements(first: int, many: int) -> int:
        told = [(at(NOON, first + n), snapshot(f"sub_{first + n}")) for n in range(many)]
        tell(engine, *told)
        seen: list[str] = []

        def note(*args: Any) -> None:
            seen.append(args[2])

        event.listen(engine, "before_cursor_execute", note)
        assert measure(engine, settings) == min(many, BATCH)
        event.remove(engine, "before_cursor_execute", note)
        return len(seen)

    few = statements(0, 2)
    assert statements(1000, BATCH + 50) == few
    assert measure(engine, settings) == 50
    assert len(current(engine)) == BATCH + 52


def test_every_column_of_the_views_is_explained(engine: Engine) -> None:
    unexplained = """
        SELECT c.relname, a.attname FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum >= 0
        WHERE c.relname IN ('subscription_steps', 'subscription_changes', 'subscription_mrr',
                'mrr_movements')
          AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid) IS NULL)
    """
    assert rows(engine, unexplained) == []


# --- with Stripe's API


@pytest.fixture
def stripe() -> Iterator[FakeStripe]:
    with fake_stripe(key=KEY) as running:
        yield running


@pytest.fixture
def api(stripe: FakeStripe) -> StripeApi:
    return StripeApi(KEY, stripe.base)


def asked(stripe: FakeStripe) -> list[tuple[str, str]]:
    return [(one.path, one.account) for one in stripe.requests]


def test_stripe_is_asked_for_tiers_once_for_all_who_wait(
    engine: Engine, settings: Settings, stripe: FakeStripe, api: StripeApi
) -> None:
    stripe.add(TIERED | {"tiers": TIERS})
    waiting = [(at(NOON, n), snapshot(f"sub_{n}", items=[item(TIERED, n)])) for n in (1, 6)]
    tell(engine, *waiting)

    assert measure(engine, settings, api) == 3
    assert measure(engine, settings, api) == 0
    assert asked(stripe) == [("/v1/prices/price_1", "")]
    assert current(engine) == [("sub_1", 700, []), ("sub_6", 3900, [])]


def test_stripe_is_asked_for_a_discount_by_its_subscription_and_then_for_the_coupon(
    engine: Engine, settings: Settings, stripe: FakeStripe, api: StripeApi
) -> None:
    items = {"object": "list", "data": []}
    subscription = {"id": "sub_1", "object": "subscription", "livemode": False, "items": items}
    stripe.add(subscription | {"discounts": [CLOVER]}, account="acct_1")
    stripe.add(COUPON | {"applies_to": {"products": ["prod_1"]}}, account="acct_1")
    both = [item(price()), item(price(3000, id="price_2", product="prod_2"))]
    tell(engine, (at(NOON, 1, account="acct_1"), snapshot(items=both, discounts=["di_1"])))
    measured(engine, settings, api)

    assert asked(stripe) == [
        ("/v1/subscriptions/sub_1", "acct_1"),
        ("/v1/coupons/SAVE", "acct_1"),
    ]
    assert current(engine) == [("sub_1", 750 + 3000, [])]


def test_what_stripe_does_not_have_is_not_asked_for_again_today(
    engine: Engine, settings: Settings, stripe: FakeStripe, api: StripeApi
) -> None:
    tell(engine, (at(NOON, 1), snapshot(items=[item(TIERED, 6)])))
    measured(engine, settings, api)
    tell(engine, (at(NOON + DAY, 2), snapshot(items=[item(TIERED, 7)])))
    measured(engine, settings, api)

    assert asked(stripe) == [("/v1/prices/price_1", "")]
    assert current(engine) == [("sub_1", None, ["price.tiers:price_1"])]

    stripe.add(TIERED | {"tiers": TIERS})
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE catalogue_checks SET checked_at = checked_at - '25 h'::interval")
        )
    measured(engine, settings, api)

    assert current(engine) == [("sub_1", 4550, [])]


def test_stripe_out_of_reach_is_asked_at_the_next_measure(
    engine: Engine, settings: Settings, stripe: FakeStripe, api: StripeApi
) -> None:
    stripe.add(TIERED | {"tiers": TIERS})
    stripe.fail("/v1/prices", 500, times=2)
    tell(engine, (at(NOON, 1), snapshot(items=[item(TIERED, 6)])))

    assert measure(engine, settings, api) == 1
    assert current(engine) == [("sub_1", None, ["price.tiers:price_1"])]
    assert measure(engine, settings, api) == 1
    assert current(engine) == [("sub_1", 3900, [])]


def test_a_test_mode_coupon_says_nothing_of_a_live_one(
    engine: Engine, settings: Settings, stripe: FakeStripe, api: StripeApi
) -> None:
    stripe.add(COUPON)
    tell(engine, (at(NOON, 1, livemode=True), snapshot(discounts=[CLOVER])))
    measured(engine, settings, api)

    assert asked(stripe) == [("/v1/coupons/SAVE", "")]
    assert current(engine) == [("sub_1", None, ["coupon:SAVE"])]


def test_no_transaction_is_open_while_stripe_is_asked(
    engine: Engine, settings: Settings, stripe: FakeStripe
) -> None:
    open_now: list[int] = []

    class Watched(StripeApi):
        def price(self, price_id: str, account: str = "") -> dict[str, Any]:
            query = """SELECT count(*) FROM pg_stat_activity WHERE xact_start IS NOT NULL
                       AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""
            open_now.append(rows(engine, query)[0][0])
            return super().price(price_id, account)

    tell(engine, (at(NOON, 1), snapshot(items=[item(TIERED, 6)])))
    measured(engine, settings, Watched(KEY, stripe.base))

    assert open_now == [0]


def test_what_was_read_before_there_were_states_is_measured(stores: Stores) -> None:
    url = make_url(stores.database_url)
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text("DROP DATABASE IF EXISTS earlier WITH (FORCE)"))
        connection.execute(text("CREATE DATABASE earlier"))
    there = url.set(database="earlier").render_as_string(hide_password=False)
    config = Config(toml_file=Path(__file__).parents[1] / "pyproject.toml")
    config.attributes["database_url"] = there
    command.upgrade(config, "0002")
    earlier = make_engine(there, "tests")
    with earlier.begin() as connection:
        subscriptions.add_snapshots(connection, [(at(NOON, 7), snapshot())])
    command.upgrade(config, "head")
    found = rows(earlier, "SELECT lane, ref_id FROM work")
    earlier.dispose()
    with server.connect() as connection:
        connection.execute(text("DROP DATABASE earlier WITH (FORCE)"))
    server.dispose()

    assert found == [("measure", 7)]


def _forget(engine: Engine) -> None:
    with engine.begin() as connection:
        for table in ("subscription_snapshots", "subscription_states", "catalogue", "work"):
            connection.execute(text(f"DELETE FROM {table}"))
