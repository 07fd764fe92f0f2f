"""A table of one's own: its rows, what its database's answers mean, and that each event is in it
once."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import UUID

import orjson
import pytest
from sqlalchemy import Engine, text

from app.core.analytics import AnalyticsEvent, Identity
from app.core.money import Money
from app.core.outcome import Delivered, Outcome, Retry, Split, Suspended
from app.destinations import build
from app.destinations.base import Payload, Response
from app.destinations.tables import Tables
from app.destinations.warehouse import Warehouse
from app.local.stores import EmbeddedStores
from app.settings import Settings
from tests.destinations.example import DEDUPE_ID, an_event
from tests.test_deliver import drain, owe, sql, states
from tests.vendors.warehouse import WarehouseServer, configured, warehouse

URL = "postgresql://bridge:s3cret@db.example/analytics"
WAREHOUSE = Warehouse(name="warehouse", url=URL)
PAGE = Path(__file__).parents[2] / "docs" / "destinations" / "warehouse.md"
FORM = "postgresql://user:password@host:5432/name"
NAME_FORM = "a table's name or schema.name: lower-case letters, digits and _, not a digit first"


@pytest.fixture(scope="module")
def running(embedded: EmbeddedStores) -> Iterator[WarehouseServer]:
    with warehouse(embedded.current.database_url) as one:
        yield one


@pytest.fixture
def store(running: WarehouseServer) -> WarehouseServer:
    running.sql("DROP TABLE IF EXISTS stripe_analytics_events")
    return running


@pytest.fixture
def tables() -> Iterator[Tables]:
    with closing(Tables()) as one:
        yield one


@pytest.fixture
def to_table(with_destinations: Callable[..., Settings], store: WarehouseServer) -> Settings:
    return with_destinations(warehouse=configured(store.url))


def payload(event: AnalyticsEvent, of: Warehouse = WAREHOUSE) -> Payload:
    body = of.render(event, DEDUPE_ID)
    assert isinstance(body, bytes)
    return Payload(DEDUPE_ID, body)


def loaded(tables: Tables, store: WarehouseServer, *events: AnalyticsEvent) -> Response:
    here = replace(WAREHOUSE, url=store.url)
    batch = [payload(event, here) for event in events]
    return tables.send(here.request(batch, now=0.0), until=monotonic() + 5)


def judged(status: int | None, words: str = "") -> Sequence[Outcome]:
    return WAREHOUSE.judge(Response(status, words), [Payload(UUID(int=1), b"{}")] * 2)


# --- rows


def test_a_purchase_is_a_row_with_all_that_is_known_of_it(
    tables: Tables, store: WarehouseServer
) -> None:
    ids = {"user_id": "user_7", "device_id": "dev_7", "session_id": "17", "ga_client_id": "1.2"}
    stripe = {"customer_id": "cus_1", "subscription_id": "sub_1", "invoice_id": "in_1"}
    purchase = an_event(ids=ids, properties={**stripe, "amount": 12.99})

    assert loaded(tables, store, purchase) == Response(200, "1")
    [row] = store.sql("SELECT to_jsonb(t) - 'loaded_at' FROM stripe_analytics_events t")
    assert row[0] == {
        "event_id": str(purchase.id),
        "key": "payment:in_1",
        "name": "payment_succeeded",
        "occurred_at": "2025-03-01T12:00:00+00:00",
        "user_id": "user_7",
        "device_id": "dev_7",
        "session_id": "17",
        "ids": ids,
        "identity_fallback": False,
        "amount": 12.99,
        "amount_minor": 1299,
        "currency": "USD",
        "customer": "cus_1",
        "subscription": "sub_1",
        "invoice": "in_1",
        "properties": {**stripe, "amount": 12.99},
        "account": "acct_1",
        "livemode": True,
        "schema_version": 2,
    }
    [[fresh]] = store.sql(
        "SELECT loaded_at > now() - interval '1 min' FROM stripe_analytics_events"
    )
    assert fresh is True


def test_a_renewal_of_somebody_unknown_has_no_session_and_says_that_its_id_stands_in() -> None:
    identity = Identity(ids={"device_id": "stripe:cus_1"}, source="fallback", fallback=True)
    renewal = replace(an_event(properties={"customer_id": "cus_1"}), identity=identity)

    assert orjson.loads(payload(renewal).body) == {
        "event_id": str(renewal.id),
        "key": "payment:in_1",
        "name": "payment_succeeded",
        "occurred_at": "2025-03-01T12:00:00+00:00",
        "user_id": None,
        "device_id": "stripe:cus_1",
        "session_id": None,
        "ids": {"device_id": "stripe:cus_1"},
        "identity_fallback": True,
        "amount": "12.99",
        "amount_minor": 1299,
        "currency": "USD",
        "customer": "cus_1",
        "subscription": None,
        "invoice": None,
        "properties": {"customer_id": "cus_1"},
        "account": "acct_1",
        "livemode": True,
        "schema_version": 2,
    }


@pytest.mark.parametrize(
    ("money", "amount"),
    [
        (Money(-1299, "usd"), "-12.99"),
        (Money(1299, "jpy"), "1299"),
        (Money(12345, "kwd"), "12.345"),
        (Money(1299, "ugx"), "12.99"),
    ],
)
def test_amounts_are_exact_in_each_currency_and_refunds_negative(
    tables: Tables, store: WarehouseServer, money: Money, amount: str
) -> None:
    loaded(tables, store, an_event(revenue=money))

    columns = "amount::text, amount_minor, currency"
    assert store.sql(f"SELECT {columns} FROM stripe_analytics_events") == [
        (amount, money.minor, money.currency.upper())
    ]
    assert store.revenue() == {money.currency: Decimal(amount)}


def test_an_event_without_money_has_no_amount_and_the_teams_name_for_it(
    tables: Tables, store: WarehouseServer
) -> None:
    of = replace(WAREHOUSE, rename=("trial_started=Trial",), url=store.url)
    body = payload(an_event(name="trial_started", revenue=None), of)
    tables.send(of.request([body], now=0.0), until=monotonic() + 5)

    columns = "name, amount, amount_minor, currency"
    assert store.sql(f"SELECT {columns} FROM stripe_analytics_events") == [
        ("Trial", None, None, None)
    ]
    assert store.revenue() == {}


def test_a_table_in_a_schema_of_its_own(tables: Tables, store: WarehouseServer) -> None:
    store.sql("CREATE SCHEMA IF NOT EXISTS stripe")
    of = replace(WAREHOUSE, url=store.url, table="stripe.order")  # a reserved word is no trap
    request = of.request([payload(an_event(), of)], now=0.0)

    assert tables.send(request, until=monotonic() + 5) == Response(200, "1")
    assert store.sql('SELECT amount_minor FROM stripe."order"') == [(1299,)]


def test_what_a_row_tells_is_its_exact_amount() -> None:
    refund = payload(an_event(revenue=Money(-12345, "kwd")))
    trial = payload(an_event(name="trial_started", revenue=None))

    assert WAREHOUSE.told(refund.body) == (Decimal("-12.345"), "kwd")
    assert WAREHOUSE.told(trial.body) is None


def test_a_table_made_as_the_page_says_is_the_one_that_is_made(
    tables: Tables, store: WarehouseServer
) -> None:
    made = """SELECT column_name, data_type, is_nullable, column_default
        FROM information_schema.columns
        WHERE table_schema = 'public' AND table_name = 'stripe_analytics_events' ORDER BY 1"""
    [block] = re.findall(r"```sql\n(CREATE TABLE .*?;)\n", PAGE.read_text(), re.S)
    store.sql(block)
    by_hand = store.sql(made)

    assert loaded(tables, store, an_event()) == Response(200, "1")
    store.sql("DROP TABLE stripe_analytics_events")
    assert loaded(tables, store, an_event()) == Response(200, "1")
    assert store.sql(made) == by_hand


# --- answers


def test_what_is_written_is_delivered() -> None:
    assert judged(200, "2") == [Delivered()] * 2


def test_a_row_that_is_refused_is_found_by_halving() -> None:
    assert (
        judged(400, "22P05 unsupported Unicode escape sequence")
        == [Split("400 22P05 unsupported Unicode escape sequence")] * 2
    )


def test_a_refused_login_stops_the_destination() -> None:
    assert (
        judged(401, 'role "…" does not exist')
        == [Suspended('401 role "…" does not exist', after=3600.0)] * 2
    )


@pytest.mark.parametrize("status", [403, 404])
def test_a_table_that_cannot_be_written_to_stops_it_and_says_what_it_needs(status: int) -> None:
    assert (
        judged(status, "42501 permission denied for schema public")
        == [
            Suspended(
                "42501 permission denied for schema public (stripe_analytics_events needs"
                " INSERT and SELECT; to be made, CREATE on its schema)",
                after=3600.0,
            )
        ]
        * 2
    )


def test_a_server_in_trouble_or_without_an_answer_is_asked_again() -> None:
    assert judged(503, "53300 sorry") == [Retry("503 53300 sorry")] * 2
    assert judged(None, "ReadTimeout") == [Retry("ReadTimeout")] * 2


def test_an_echoed_url_or_password_is_masked() -> None:
    assert judged(400, f"no {URL} with s3cret") == [Split("400 no *** with ***")] * 2
    encoded = Warehouse(name="warehouse", url="postgresql://u:p%40ss@h/d")
    assert encoded.secrets() == ("postgresql://u:p%40ss@h/d", "p%40ss", "p@ss")


# --- all the way


@pytest.mark.usefixtures("planted")
def test_each_event_is_in_the_table_once_however_often_it_is_sent(
    engine: Engine, to_table: Settings, store: WarehouseServer
) -> None:
    owe(engine, to_table, *range(1, 701))
    finished = "SELECT count(*) FROM deliveries WHERE state = 'delivered'"
    drain(engine, to_table, lambda: sql(engine, finished) == [(700,)])
    sql(engine, "UPDATE deliveries SET state = 'pending' WHERE id % 7 = 0")
    sql(
        engine,
        "INSERT INTO work (lane, ref_id) SELECT 'to:warehouse', id FROM deliveries"
        " WHERE state = 'pending'",
    )
    drain(engine, to_table, lambda: sql(engine, finished) == [(700,)])

    assert store.counted() == 700
    assert store.revenue() == {"usd": Decimal(sum(1000 + n for n in range(1, 701))) / 100}


@pytest.mark.usefixtures("planted")
def test_one_row_that_cannot_be_written_holds_up_no_other(
    engine: Engine, to_table: Settings, store: WarehouseServer
) -> None:
    owe(engine, to_table, *range(1, 21))
    spoilt = """replace(convert_from(payload, 'UTF8'), '"user_13"', '"a\\\\u0000b"')::bytea"""
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE deliveries SET payload = {spoilt} WHERE id = 13"))
    drain(engine, to_table, lambda: not sql(engine, "SELECT 1 FROM work"))

    ended = states(engine)
    assert ended.pop(13) == ("dead", "400 22P05 unsupported Unicode escape sequence")
    assert set(ended.values()) == {("delivered", None)}
    assert store.counted() == 19


# --- deleting a person


def test_a_persons_rows_are_deleted_by_any_of_their_ids_and_nobody_elses(
    tables: Tables, store: WarehouseServer
) -> None:
    def row(key: str, customer: str | None = None, **ids: str) -> AnalyticsEvent:
        named = {"customer_id": customer} if customer else {}
        return replace(an_event(ids=ids, properties=named), key=key)

    loaded(
        tables,
        store,
        row("1", user_id="ann", device_id="d1"),
        row("2", "cus_ann", device_id="phone"),
        row("2b", device_id="stripe:cus_ann"),
        row("3", ga_client_id="1.2"),
        row("4", "cus_bob", user_id="bob", device_id="ann"),
        row("5", user_id="1.2"),
    )
    here = replace(WAREHOUSE, url=store.url)
    ids = {"user_id": ["ann", "anna"], "customer": ["cus_ann"], "ga_client_id": ["1.2"], "fbp": []}
    request = here.erasure(ids, now=0.0)

    assert request is not None
    assert tables.send(request, until=monotonic() + 5) == Response(200, "4")
    assert store.sql("SELECT key FROM stripe_analytics_events ORDER BY 1") == [("4",), ("5",)]
    assert tables.send(request, until=monotonic() + 5) == Response(200, "0")


def test_without_an_id_nobody_is_deleted() -> None:
    assert WAREHOUSE.erasure({"user_id": []}, now=0.0) is None


# --- settings


def test_its_settings() -> None:
    given = {"url": "postgresql+psycopg://u@h/d", "table": "finance.stripe_events"}

    assert build("warehouse", given, allow_local_urls=False) == Warehouse(
        name="warehouse", url="postgresql://u@h/d", table="finance.stripe_events", purpose="own"
    )


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u@h/d",
        "postgresql:/h",
        "postgresql://u:p@ss/w@h/d",
        "postgresql://u:p#s@h/d",
        "postgresql://u@h:port/d",
        "postgresql://u s@h/d",
        "host=h dbname=d",
    ],
)
def test_a_url_that_is_no_databases_is_a_problem(url: str) -> None:
    assert build("warehouse", {"url": url}, allow_local_urls=True) == [
        f"BRIDGE_DEST_WAREHOUSE_URL: must be {FORM}"
    ]


@pytest.mark.parametrize("table", ['a"b', "a b", "a;b", "1a", "a.b.c", "A", "é", "x" * 64])
def test_a_table_that_would_have_to_be_quoted_is_a_problem(table: str) -> None:
    assert build("warehouse", {"url": URL, "table": table}, allow_local_urls=True) == [
        f"BRIDGE_DEST_WAREHOUSE_TABLE: must be {NAME_FORM}"
    ]


def test_a_connection_that_may_be_in_the_clear_is_warned_of() -> None:
    def warned(url: str) -> Any:
        return Warehouse(name="warehouse", url=url).warnings()

    clear = "BRIDGE_DEST_WAREHOUSE_URL: without sslmode=verify-full others may read what is sent"
    assert warned(URL) == warned(f"{URL}?sslmode=prefer") == [clear]
    assert warned(f"{URL}?sslmode=verify-full") == warned("postgresql:///d?host=/run/pg") == []


def test_a_moment_of_another_zone_is_the_same_moment() -> None:
    at = datetime.fromisoformat("2025-03-01T14:00:00+02:00")

    assert orjson.loads(payload(replace(an_event(), occurred_at=at)).body)["occurred_at"] == (
        "2025-03-01T12:00:00+00:00"
    )
