"""A person is forgotten: nothing of them is found in any table, and nothing brings them back."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner, Result

from app.cli import cli as bridge_cli
from app.core.outcome import Delivered, Outcome
from app.deliver import deliver
from app.destinations.base import Destination, Payload, Request, Response
from app.destinations.http import Http
from app.destinations.webhook import Webhook
from app.history.catch_up import CaughtUp, catch_up
from app.lane import Lane
from app.link import Forgotten, link
from app.privacy.find import Asked, NobodyKnown, find, plan
from app.privacy.forget import Answer, Underway, forget
from app.process import process
from app.release import release_ended_holds
from app.settings import Settings
from app.store import analytics_events, deliveries, erasures
from app.store.analytics_events import Unowed
from app.store.identities import columns
from app.store.webhook_events import process_again
from tests.conftest import SECRET
from tests.test_cli import ROOT, bridge, env
from tests.test_process import CREATED, Json, a_subscription, event, put, rows

__all__ = ["env"]
BYTES = "SELECT event_id FROM webhook_events WHERE erased_at IS NULL ORDER BY id"
ANNA = Asked(customer="cus_anna")
KEY = "whsec_" + "dGVzdHMtc2lnbi13aXRoLXRoaXMtb25l"


def needles(name: str) -> list[str]:
    """What names this person, wherever it stands. Stripe's ids stay and are none of these."""
    kinds = ("user", "device", "visit", "ampdevice", "mail", "family", "land", "promo")
    return [f"{kind}-of-{name}" for kind in kinds]


def metadata(name: str) -> Json:
    return {
        "br_user_id": f"user-of-{name}",
        "br_device_id": f"device-of-{name}",
        "br_session_id": f"visit-of-{name}",
        "br_amplitude_device_id": f"ampdevice-of-{name}",
        "br_utm_campaign": f"promo-of-{name}",
        "br_landing_page": f"https://shop.example/?mail=land-of-{name}",
    }


def life(name: str, first: int) -> list[Json]:
    """A customer's webhook events, numbered from `first`."""
    mail, family = f"mail-of-{name}@example.com", f"family-of-{name}"
    known = {"customer": f"cus_{name}"}
    details = {"email": mail, "name": family, "address": {"line1": family}}
    item = {
        "id": "si_1",
        "price": {"id": "price_1", "unit_amount": 1190, "recurring": {"interval": "month"}},
        "quantity": 1,
        "metadata": {"note": family},
    }
    subscription = a_subscription(
        f"sub_{name}", **known, metadata=metadata(name), description=family, items={"data": [item]}
    )
    customer = {"id": f"cus_{name}", "object": "customer", "email": mail, "name": family}
    session = {
        "id": f"cs_{name}",
        "object": "checkout.session",
        "created": CREATED,
        "mode": "subscription",
        "payment_status": "paid",
        "subscription": f"sub_{name}",
        "invoice": f"in_{name}1",
        "customer_details": details,
        "client_reference_id": f"user-of-{name}",
        "metadata": metadata(name),
        **known,
    }
    intent = {
        "id": f"pi_{name}",
        "object": "payment_intent",
        "created": CREATED,
        "currency": "eur",
        "amount_received": 900,
        "receipt_email": mail,
        **known,
    }
    refund = {
        "id": f"re_{name}",
        "object": "refund",
        "created": CREATED,
        "amount": 250,
        "currency": "eur",
        "payment_intent": f"pi_{name}",
        "status": "succeeded",
        "description": family,
    }
    abandoned = {
        "id": f"pi_{name}left",
        "object": "payment_intent",
        "metadata": metadata(name),
        "receipt_email": mail,
    }
    card = {"id": f"pm_{name}", "object": "payment_method", "billing_details": details, **known}
    found = [
        ("customer.created", {**customer, "metadata": {"user_id": f"user-of-{name}"}}),
        ("customer.subscription.created", subscription),
        ("invoice.paid", an_invoice(name, 1)),
        ("checkout.session.completed", session),
        ("customer.updated", customer),
        ("payment_method.attached", card),
        ("payment_intent.created", abandoned),
        ("payment_intent.succeeded", intent),
        ("refund.created", refund),
    ]
    events = [event(first + n, type_, obj) for n, (type_, obj) in enumerate(found)]
    renamed = {"metadata": {"note": family}, "items": {"data": [item]}}
    updated = event(first + len(found), "customer.subscription.updated", subscription)
    updated["data"]["previous_attributes"] = {**renamed, "description": family}
    return [*events, updated]


def an_invoice(name: str, number: int, **changes: Any) -> Json:
    said = {"subscription": f"sub_{name}", "metadata": metadata(name)}
    return {
        "id": f"in_{name}{number}",
        "object": "invoice",
        "created": CREATED,
        "customer": f"cus_{name}",
        "customer_email": f"mail-of-{name}@example.com",
        "customer_name": f"family-of-{name}",
        "currency": "eur",
        "billing_reason": "subscription_create" if number == 1 else "subscription_cycle",
        "total": 1190,
        "amount_due": 1190,
        "amount_paid": 1190,
        "attempt_count": 1,
        "status_transitions": {"paid_at": CREATED + number},
        "parent": {"subscription_details": said},
        **changes,
    }


def dump(engine: Engine, folder: Path) -> str:
    """Every value of every table, bytes as they are, and every file of the folder."""
    found = []
    with engine.connect() as connection:
        tables = connection.execute(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        ).scalars()
        for table in tables.all():
            for row in connection.execute(text(f'SELECT * FROM "{table}"')).mappings():
                for column, value in row.items():
                    is_text = not isinstance(value, bytes)
                    plain = value if is_text else value.decode("utf-8", "replace")
                    said = json.dumps(plain, default=str, ensure_ascii=False)
                    found.append(f"{table}.{column}: {said}")
    found += [file.read_text() for file in sorted(folder.rglob("*")) if file.is_file()]
    return "\n".join(found)


def left(engine: Engine, folder: Path, name: str) -> list[str]:
    """Where this person is still found."""
    lines = dump(engine, folder).splitlines()
    return [line for line in lines if any(one in line for one in needles(name))]


def of(engine: Engine, folder: Path, name: str) -> list[str]:
    """All lines of the dump that are of this person by any of their ids, Stripe's as well."""
    return [line for line in dump(engine, folder).splitlines() if name in line]


def ledger(engine: Engine) -> list[tuple[Any, ...]]:
    return rows(engine, "SELECT * FROM revenue_entries ORDER BY id")


@dataclass
class Vendor:
    """A destination's deletion API over loopback: it answers `status` and keeps what it got."""

    url: str = ""
    status: int = 200
    asked: list[Json] = field(default_factory=list)


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    found = Vendor()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/delete":
                found.asked.append(json.loads(body))
            answer = b"echo: " + body  # as some do
            self.send_response(found.status if self.path == "/delete" else 200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield found
    server.shutdown()
    server.server_close()


@dataclass(frozen=True, kw_only=True)
class Erasing(Webhook):
    """A destination with a deletion API."""

    KIND = "erasing"

    def judge(self, response: Response, batch: Sequence[Payload]) -> Sequence[Outcome]:
        return [Delivered()] * len(batch)

    def erasure(self, ids: Mapping[str, Sequence[str]], now: float) -> Request | None:
        return Request(f"{self.url}/delete", {}, json.dumps(ids).encode())


@pytest.fixture
def told(settings: Settings, vendor: Vendor) -> Settings:
    """Two destinations: one with a deletion API, one without."""
    both: tuple[Destination, ...] = (
        Erasing(name="tool", url=vendor.url, secret=KEY, livemode="both"),
        Webhook(name="crm", url=vendor.url, secret=KEY, livemode="both"),
    )
    return replace(settings, destinations=both)


@pytest.fixture
def lived(engine: Engine, told: Settings) -> list[Json]:
    """Anna and Bert: told, delivered to one tool, unsent, leased and dead at the other, held."""
    events = [*life("anna", 100), *life("bert", 200)]
    put(engine, *events)
    while process(engine, told):
        pass
    tool, _ = told.destinations
    with closing(Http(allow_local=True)) as http:
        deliver(Lane(engine, tool, http))
    with engine.begin() as connection:
        for name in ("anna", "bert"):
            dead = text("""
                WITH dead AS (
                    UPDATE deliveries d SET state = 'dead', reason = :reason
                    FROM analytics_events e WHERE e.id = d.analytics_event_id
                      AND d.destination = 'crm' AND e.key = :key RETURNING d.id
                ) DELETE FROM work USING dead WHERE lane = 'to:crm' AND ref_id = dead.id
            """)
            said = {"reason": f"no such user: user-of-{name}", "key": f"checkout:cs_{name}"}
            assert connection.execute(dead, said).rowcount == 1
    assert states(engine) == {
        ("crm", "dead"): 2,
        ("crm", "pending"): 4,
        ("tool", "delivered"): 6,
    }
    assert rows(engine, "SELECT key FROM analytics_events WHERE state = 'held' ORDER BY 1") == [
        ("refund:re_anna",),
        ("refund:re_bert",),
    ]
    return events


def states(engine: Engine) -> dict[tuple[str, str], int]:
    query = "SELECT destination, state, count(*) FROM deliveries GROUP BY 1, 2"
    return {(row[0], row[1]): row[2] for row in rows(engine, query)}


def forgotten(engine: Engine, settings: Settings, asked: Asked, **options: Any) -> Any:
    values = {"who": "me", "why": "asked", "despite_failures": False, **options}
    return forget(engine, settings, asked, **values)


# What forgetting does


@pytest.mark.parametrize("asked", [ANNA, Asked(user="user-of-anna")], ids=["customer", "user"])
def test_nothing_of_a_forgotten_person_is_found_and_nothing_brings_them_back(
    engine: Engine, told: Settings, lived: list[Json], asked: Asked, vendor: Vendor
) -> None:
    folder, money, bert = told.data_dir, ledger(engine), of(engine, told.data_dir, "bert")
    assert {one for one in needles("anna") if one in dump(engine, folder)} == set(needles("anna"))

    outcome = forgotten(engine, told, asked)

    assert (left(engine, folder, "anna"), ledger(engine)) == ([], money)
    assert of(engine, folder, "bert") == bert
    assert (outcome.stopped, dict(outcome.erased)) == (
        3,
        {
            "identity_links": 10,
            "webhook_events": 10,
            "hydrations": 0,
            "analytics_events": 4,
            "deliveries": 6,
            "attempts": 3,
            "destinations_health": 0,
            "subscription_snapshots": 2,
        },
    )
    assert states(engine) == {
        ("crm", "dead"): 1,
        ("crm", "pending"): 2,
        ("crm", "skipped"): 3,
        ("tool", "delivered"): 6,
    }
    query = """SELECT state, reason, count(*) FROM analytics_events WHERE customer = 'cus_anna'
               OR key = 'refund:re_anna' GROUP BY 1, 2 ORDER BY 1"""
    assert rows(engine, query) == [("released", "erased", 3), ("withheld", "erased", 1)]
    assert rows(engine, "SELECT DISTINCT verdict FROM webhook_events ORDER BY 1") == [
        ("ignored",),
        ("processed",),
    ]
    [ids] = vendor.asked
    assert ids == {
        "amplitude_device_id": ["ampdevice-of-anna"],
        "client_reference_id": ["user-of-anna"],
        "customer": ["cus_anna"],
        "device_id": ["device-of-anna"],
        "session_id": ["visit-of-anna"],
        "user_id": ["user-of-anna"],
    }

    comes_back(engine, told, lived)

    assert left(engine, folder, "anna") == []
    assert [row[3:6] for row in ledger(engine)] == [
        *(row[3:6] for row in money),
        ("payment:in_anna2", "payment", 1190),
    ]


def comes_back(engine: Engine, settings: Settings, lived: Sequence[Json]) -> None:
    """All again, what Stripe sends later of her, and what the shop writes with her old ids."""
    deliveries = states(engine)
    before = rows(engine, "SELECT id, verdict, reason FROM webhook_events ORDER BY id")
    with engine.begin() as connection:
        process_again(connection, [row[0] for row in before])
    put(engine, *lived)
    while process(engine, settings):
        pass
    assert rows(engine, "SELECT id, verdict, reason FROM webhook_events ORDER BY id") == before

    cleared = dict(metadata("anna"), br_user_id="user-of-anna")
    new = an_invoice("anna", 2)
    again = {
        "id": "cs_again",
        "object": "checkout.session",
        "mode": "setup",
        "customer": "cus_again",
        "customer_details": {"email": "mail-of-anna@example.com"},
        "payment_status": "no_payment_required",
        "metadata": cleared,
    }
    charge = {"id": "ch_again", "object": "charge", "customer": "cus_again", "status": "failed"}
    put(
        engine,
        event(300, "invoice.paid", new),
        event(301, "checkout.session.completed", again),
        event(302, "payment_method.attached", {"id": "pm_2", **of_anna()}),
        event(303, "charge.failed", {**charge, **of_anna("cus_again")}),
        event(304, "customer.updated", {"id": "cus_anna", **of_anna(), **metadata("anna")}),
        event(305, "customer.subscription.updated", renewed()),
    )
    while process(engine, settings):
        pass
    release_ended_holds(engine, settings)
    assert states(engine) == deliveries
    query = """SELECT key, state, reason FROM analytics_events WHERE webhook_event_id > :last
               ORDER BY key"""
    with engine.connect() as connection:
        found = connection.execute(text(query), {"last": before[-1][0]}).all()
    assert [tuple(row) for row in found] == [
        ("checkout:cs_again", "withheld", "erased"),
        ("cycle:in_anna2", "withheld", "erased"),
        ("payment:in_anna2", "withheld", "erased"),
    ]


def of_anna(customer: str = "cus_anna") -> Json:
    details = {"email": "mail-of-anna@example.com", "name": "family-of-anna"}
    return {"customer": customer, "billing_details": details}


def renewed() -> Json:
    found: Json = life("anna", 0)[-1]["data"]["object"]
    return found


def test_what_is_on_its_way_is_fenced_and_waited_for_before_a_destination_is_asked(
    engine: Engine, told: Settings, lived: list[Json], vendor: Vendor
) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("""UPDATE work SET leased = true, token = 7,
                    due_at = clock_timestamp() + interval '30 seconds' WHERE lane = 'to:crm'""")
        )
    waited = []

    def wait(seconds: float) -> None:
        waited.append(round(seconds))
        assert vendor.asked == []

    forgotten(engine, told, ANNA, waiting=wait)

    assert waited == [30]
    query = """SELECT count(*) FROM work w JOIN deliveries d ON d.id = w.ref_id
               JOIN analytics_events e ON e.id = d.analytics_event_id
               WHERE w.lane = 'to:crm' AND e.customer = 'cus_anna'"""
    assert rows(engine, query) == [(0,)]


def test_what_a_frozen_worker_writes_down_later_names_nobody(
    engine: Engine, told: Settings, lived: list[Json]
) -> None:
    """Its destination echoed what it got, and its lease is long over."""
    posted, go_on = threading.Event(), threading.Event()

    def freeze(where: str) -> None:
        if where == "deliver.before_finish":
            posted.set()
            assert go_on.wait(20)

    _, crm = told.destinations
    with pytest.MonkeyPatch.context() as patch, closing(Http(allow_local=True)) as http:
        patch.setattr("app.finish.reach", freeze)
        worker = threading.Thread(target=deliver, args=(Lane(engine, crm, http),))
        worker.start()
        assert posted.wait(20)
        forgotten(engine, told, ANNA, waiting=lambda _: None)
        go_on.set()
        worker.join(20)

    assert left(engine, told.data_dir, "anna") == []
    answers = "SELECT count(*), count(nullif(answer, '')) FROM attempts"
    assert rows(
        engine, f"{answers} JOIN deliveries d ON d.id = delivery_id WHERE destination = 'crm'"
    ) == [(4, 2)]


def test_a_destination_that_fails_keeps_what_is_needed_to_ask_again(
    engine: Engine, told: Settings, lived: list[Json], vendor: Vendor
) -> None:
    vendor.status = 500
    first = forgotten(engine, told, ANNA)
    assert (first.stopped, first.erased) == (3, {})
    assert [(one.destination, one.state) for one in first.answers] == [
        ("crm", "by hand"),
        ("tool", "failed"),
    ]
    assert left(engine, told.data_dir, "anna") != []

    vendor.status = 202
    second = forgotten(engine, told, ANNA)

    assert (second.stopped, second.failed) == (0, [])
    assert vendor.asked[0] == vendor.asked[1]
    assert left(engine, told.data_dir, "anna") == []
    query = "SELECT count(*), count(finished_at), min(destinations::text) FROM erasures"
    assert rows(engine, query) == [(1, 1, '{"crm": "by hand", "tool": "asked"}')]


def test_despite_failures_all_is_erased_here(
    engine: Engine, told: Settings, lived: list[Json], vendor: Vendor
) -> None:
    vendor.status = 401

    outcome = forgotten(engine, told, ANNA, despite_failures=True)

    assert outcome.failed == [Answer("tool", "failed", outcome.failed[0].words)]
    assert outcome.failed[0].words.startswith("401")
    assert left(engine, told.data_dir, "anna") == []


def test_a_destination_of_later_is_told_of_the_others_alone(
    engine: Engine, told: Settings, lived: list[Json]
) -> None:
    forgotten(engine, told, ANNA)

    start, end = datetime.fromtimestamp(0, UTC), datetime.now(UTC)
    ever = Unowed(destination="new", since=start, until=end)
    with engine.connect() as connection:
        new = analytics_events.unowed(connection, ever, 0, 100)

    assert {one.fact.customer for one in new} == {"cus_bert"}


def test_a_catch_up_that_is_under_way_is_waited_for(
    engine: Engine, told: Settings, lived: list[Json]
) -> None:
    """Its batch is rendered and not committed: the person leaves neither by it nor after it."""
    later, of = to_a_later_one(told)
    rendered, go_on = threading.Event(), threading.Event()

    def owe(*args: Any, **options: Any) -> None:
        rendered.set()
        assert go_on.wait(20)
        deliveries.owe(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.history.catch_up.deliveries", SimpleNamespace(owe=owe))
        owing = threading.Thread(target=catch_up, args=(engine, later, later.destinations[0], of))
        owing.start()
        assert rendered.wait(20)
        forgetting = threading.Thread(target=forgotten, args=(engine, told, ANNA))
        forgetting.start()
        wait_for_the_lock(engine)
        go_on.set()
        owing.join(20)
        forgetting.join(20)

    assert left(engine, told.data_dir, "anna") == []
    assert states(engine)["late", "skipped"] == 3


def test_a_catch_up_leaves_out_who_is_being_forgotten(
    engine: Engine, told: Settings, lived: list[Json]
) -> None:
    later, of = to_a_later_one(told)
    owed = []

    def late_batch(*args: Any) -> Any:
        owed.append(catch_up(engine, later, later.destinations[0], of))
        return plan(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.privacy.forget.plan", late_batch)
        forgotten(engine, told, ANNA)

    assert owed == [CaughtUp(seen=3, owed=3)]  # Bert's
    assert left(engine, told.data_dir, "anna") == []


def to_a_later_one(told: Settings) -> tuple[Settings, Unowed]:
    late = Webhook(name="late", url="http://127.0.0.1:1", secret=KEY, livemode="both")
    ever = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
    of = Unowed(destination="late", since=ever[0], until=ever[1])
    return replace(told, destinations=(late,)), of


def test_what_names_her_deep_inside_is_erased_as_it_is_processed(
    engine: Engine, told: Settings, lived: list[Json]
) -> None:
    forgotten(engine, told, ANNA)
    name = "family-of-anna"
    account = {"id": "fca_1", "account_holder": {"customer": "cus_anna"}, "display_name": name}
    verified = {"id": "vs_1", "related_customer": "cus_anna", "provided_details": {"name": name}}
    put(engine, event(300, "financial_connections.account.refreshed_balance", account))
    put(engine, event(301, "identity.verification_session.verified", verified))
    process(engine, told)

    assert left(engine, told.data_dir, "anna") == []


def test_whether_somebody_was_forgotten_is_asked_of_the_indexes(
    engine: Engine, told: Settings
) -> None:
    """Every batch asks it: it must not become slower with each who is forgotten."""
    many = """
        INSERT INTO tombstones (object_id, account, livemode)
        SELECT 'pi_' || n, '', true FROM generate_series(1, 20000) AS n
    """
    objects = columns({("", True, f"in_{n}") for n in range(1_000)})
    ids = erasures.owned({("", f"user-{n}") for n in range(300)})
    with engine.begin() as connection:
        connection.execute(text(many))
        connection.execute(text("ANALYZE tombstones"))
        query = text(f"EXPLAIN {erasures.KNOWN.text}")
        plan_of_it = "\n".join(connection.execute(query, {**objects, **ids}).scalars())

    assert "Seq Scan" not in plan_of_it


def test_the_audit_line_says_who_and_how_many_and_not_whom(
    engine: Engine, told: Settings, lived: list[Json]
) -> None:
    forgotten(engine, told, Asked(user="user-of-anna"))

    [(who, action, why, filter_, count)] = rows(
        engine, "SELECT who, action, why, filter, rows FROM audit_log"
    )
    assert (who, action, why, count) == ("me", "forget", "asked", 35)
    [(seed,)] = rows(engine, "SELECT encode(seed, 'hex') FROM erasures")
    assert filter_ == {"erasure": 1, "by": "user", "digest": seed}


# Whom it takes


def test_a_user_on_anothers_device_is_another_person(engine: Engine, told: Settings) -> None:
    put(engine, *life("anna", 100))
    shared = {**metadata("bert"), "br_device_id": "device-of-anna"}
    put(engine, event(1, "customer.created", {"id": "cus_bert", "metadata": shared}))
    while process(engine, told):
        pass

    forgotten(engine, told, ANNA)
    put(engine, event(2, "customer.updated", {"id": "cus_bert", "metadata": shared}))
    process(engine, told)

    query = "SELECT ids ->> 'user_id', ids ->> 'device_id' FROM identity_links"
    assert rows(engine, query) == [("user-of-bert", "device-of-anna")]
    assert rows(engine, BYTES) == [
        ("evt_1",),
        ("evt_2",),
    ]


def test_a_guest_is_found_by_the_device_alone(engine: Engine, told: Settings) -> None:
    device = {"br_device_id": "device-of-anna"}
    for number, customer in enumerate(("cus_guest1", "cus_guest2", "cus_guest3"), 1):
        theirs = device if number < 3 else {"br_device_id": "device-of-bert"}
        put(engine, event(number, "customer.created", {"id": customer, "metadata": theirs}))
    process(engine, told)

    person = find(engine, told, Asked(customer="cus_guest1"))

    assert person.customers == ["cus_guest1", "cus_guest2"]


def test_an_id_of_very_many_customers_is_nobodys(engine: Engine, told: Settings) -> None:
    for number in range(22):
        ids = {"br_user_id": "till-7", "br_device_id": f"device-{number}"}
        put(engine, event(number, "customer.created", {"id": f"cus_{number}", "metadata": ids}))
    process(engine, told)

    person = find(engine, told, Asked(customer="cus_7"))

    assert (person.customers, person.owned()) == (["cus_7"], {("", "device-7")})
    assert person.shared == {("", "till-7")}
    with pytest.raises(NobodyKnown, match="more than 20"):
        find(engine, told, Asked(user="till-7"))


@pytest.mark.parametrize(
    ("ids", "guests"),
    [
        ({"br_user_id": "undefined"}, 3),
        ({"br_device_id": "[object Object]"}, 3),
        ({"br_device_id": "till-7"}, 22),
    ],
    ids=["placeholder-user", "placeholder-device", "till"],
)
def test_guests_that_share_what_is_nobodys_stay(
    engine: Engine, told: Settings, ids: Json, guests: int
) -> None:
    for number in range(guests):
        buyer = {"customer": "cus_1"} if number == 0 else {}
        put(engine, event(number, "checkout.session.completed", a_checkout(number, ids, **buyer)))
    process(engine, told)

    forgotten(engine, told, Asked(customer="cus_1"))
    put(engine, event(100, "checkout.session.completed", a_checkout(100, ids)))
    process(engine, told)

    erased = rows(engine, "SELECT event_id FROM webhook_events WHERE erased_at IS NOT NULL")
    assert erased == [("evt_0",)]


def test_a_user_is_found_however_often_they_bought_as_a_guest(
    engine: Engine, told: Settings
) -> None:
    for number in range(25):
        ids = {"br_user_id": "user-of-anna", "br_device_id": f"device-{number}"}
        put(engine, event(number, "checkout.session.completed", a_checkout(number, ids)))
    process(engine, told)

    person = find(engine, told, Asked(user="user-of-anna"))

    assert (len(person.objects), person.shared) == (50, frozenset())


def a_checkout(number: int, metadata: Json, **changes: Any) -> Json:
    return {
        "id": f"cs_{number}",
        "object": "checkout.session",
        "created": CREATED,
        "mode": "payment",
        "payment_status": "paid",
        "payment_intent": f"pi_{number}",
        "amount_total": 100,
        "currency": "eur",
        "metadata": metadata,
        **changes,
    }


def test_the_same_user_of_two_accounts_are_two_where_an_account_is_named(
    engine: Engine, told: Settings
) -> None:
    for number, account in ((1, "acct_a"), (2, "acct_b")):
        ids = {"br_user_id": "user-of-anna"}
        one = event(number, "customer.created", {"id": f"cus_{number}", "metadata": ids})
        put(engine, {**one, "account": account})
    process(engine, told)

    both = find(engine, told, Asked(user="user-of-anna"))
    assert both.customers == ["cus_1", "cus_2"]
    assert find(engine, told, Asked(customer="cus_1")).customers == ["cus_1"]
    forgotten(engine, told, Asked(user="user-of-anna", account="acct_a"))

    assert rows(engine, "SELECT account, object_id FROM identity_links") == [("acct_b", "cus_2")]
    assert rows(engine, BYTES) == [("evt_2",)]


def test_an_id_is_not_found_inside_another(engine: Engine, told: Settings) -> None:
    for number, customer in enumerate(("cus_1", "cus_12"), 1):
        put(engine, event(number, "customer.created", {"id": customer, "email": "a@b.example"}))
    ids = {"br_user_id": "7"}
    put(engine, event(3, "customer.updated", {"id": "cus_1", "metadata": ids}))
    put(engine, event(4, "customer.updated", {"id": "cus_12", "metadata": {"floor": "7"}}))
    process(engine, told)

    planned = plan(engine, told, find(engine, told, Asked(customer="cus_1")), lambda *_: None)

    assert (planned.rows.webhook_events, planned.waiting) == ([1, 3], 0)


@pytest.mark.parametrize(
    "asked", [Asked(customer="cus_only"), Asked(user='Jürgen "7"')], ids=["customer", "user"]
)
def test_who_stands_in_stripes_words_alone_is_found_and_forgotten(
    engine: Engine, told: Settings, asked: Asked
) -> None:
    """They bought nothing, or what they bought could not be read."""
    left_behind = {
        "id": "pi_only",
        "object": "payment_intent",
        "customer": "cus_only",
        "receipt_email": "mail-of-anna@example.com",
        "metadata": {"user_id": 'Jürgen "7"'},
    }
    put(engine, event(1, "payment_intent.created", left_behind))
    put(engine, event(2, "invoice.paid", {"id": "in_2", "customer": "cus_other"}))
    process(engine, told)

    outcome = forgotten(engine, told, asked)

    assert outcome.erased["webhook_events"] == 1
    assert left(engine, told.data_dir, "anna") == []
    assert rows(engine, BYTES) == [("evt_2",)]
    with pytest.raises(NobodyKnown):
        find(engine, told, asked)


def test_nobody_is_known_by_such_an_id(engine: Engine, told: Settings) -> None:
    with pytest.raises(NobodyKnown, match="Nothing is known of that customer"):
        find(engine, told, Asked(customer="cus_nobody"))
    with pytest.raises(NobodyKnown, match="Nothing is known of that user in that account"):
        find(engine, told, Asked(user="nobody", account="acct_1"))


# Order and interruption


def test_money_that_waited_to_be_processed_is_booked_and_its_bytes_are_erased(
    engine: Engine, told: Settings, lived: list[Json]
) -> None:
    put(engine, event(300, "invoice.paid", an_invoice("anna", 2)))
    planned = plan(engine, told, find(engine, told, ANNA), lambda *_: None)
    assert planned.waiting == 1

    forgotten(engine, told, ANNA)
    assert any("webhook_events" in line for line in left(engine, told.data_dir, "anna"))
    process(engine, told)

    assert left(engine, told.data_dir, "anna") == []
    assert ("payment:in_anna2",) in rows(engine, "SELECT key FROM revenue_entries")


def test_the_tax_in_the_refund_of_a_forgotten_person_is_known(
    engine: Engine, told: Settings, lived: list[Json]
) -> None:
    intent = {"type": "payment_intent", "payment_intent": "pi_last"}
    taxed = {"total_taxes": [{"amount": 190}], "payments": {"data": [{"payment": intent}]}}
    put(engine, event(300, "invoice.paid", an_invoice("anna", 9, **taxed)))
    process(engine, told)
    forgotten(engine, told, ANNA)
    refund = {
        **{"id": "re_last", "object": "refund", "created": CREATED, "amount": 595},
        **{"currency": "eur", "payment_intent": "pi_last", "status": "succeeded"},
    }
    put(engine, event(301, "refund.created", refund))
    process(engine, told)

    query = "SELECT state, reason, tax_minor FROM analytics_events WHERE key = 'refund:re_last'"
    assert rows(engine, query) == [("withheld", "erased", -95)]


def test_what_could_not_be_read_is_said_and_erased_and_is_no_open_case_after(
    engine: Engine, told: Settings, lived: list[Json]
) -> None:
    put(engine, event(300, "invoice.paid", an_invoice("anna", 2, amount_paid="much")))
    process(engine, told)
    query = "SELECT verdict, reason FROM webhook_events WHERE event_id = 'evt_300'"
    assert rows(engine, query)[0][0] == "quarantined"
    planned = plan(engine, told, find(engine, told, ANNA), lambda *_: None)
    assert (planned.unread, planned.waiting) == (1, 0)

    forgotten(engine, told, ANNA)

    assert left(engine, told.data_dir, "anna") == []
    assert rows(engine, query) == [("ignored", "erased unread")]


def test_a_refund_before_the_payment_that_says_whose_it_is_is_withheld_then(
    engine: Engine, told: Settings, lived: list[Json]
) -> None:
    forgotten(engine, told, ANNA)
    refund = {
        "id": "re_late",
        "object": "refund",
        "created": CREATED,
        "amount": 250,
        "currency": "eur",
        "payment_intent": "pi_late",
        "status": "succeeded",
        "description": "family-of-anna",
    }
    intent = {"id": "pi_late", "object": "payment_intent", "created": CREATED, "currency": "eur"}
    put(engine, event(300, "refund.created", refund))
    process(engine, told)
    assert rows(engine, "SELECT state FROM analytics_events WHERE key = 'refund:re_late'") == [
        ("held",)
    ]

    late = {**intent, "amount_received": 900, "customer": "cus_anna"}
    put(engine, event(301, "payment_intent.succeeded", late))
    process(engine, told)

    query = "SELECT state, reason FROM analytics_events WHERE key = 'refund:re_late'"
    assert rows(engine, query) == [("withheld", "erased")]
    assert rows(engine, "SELECT * FROM identity_waits WHERE object_id = 'pi_late'") == []
    assert left(engine, told.data_dir, "anna") == []


def test_what_is_processed_at_the_same_moment_is_waited_for(
    engine: Engine, told: Settings, lived: list[Json]
) -> None:
    """A checkout of hers, not committed when the tombstones are: it is found all the same."""
    session = {
        "id": "cs_meanwhile",
        "object": "checkout.session",
        "mode": "setup",
        "customer": "cus_meanwhile",
        "payment_status": "no_payment_required",
        "metadata": metadata("anna"),
    }
    put(engine, event(300, "checkout.session.completed", session))
    _forget_beside_processing(engine, told)

    assert left(engine, told.data_dir, "anna") == []
    assert ("cus_meanwhile",) in rows(engine, "SELECT object_id FROM tombstones")


def test_so_it_is_by_whoever_takes_up_what_was_killed_right_after_the_burial(
    engine: Engine, told: Settings, lived: list[Json]
) -> None:
    """Her tombstones are there already, and the one who works has not seen them."""
    put(engine, event(300, "invoice.paid", an_invoice("anna", 2)))
    _forget_beside_processing(engine, told, killed_before=True)

    assert left(engine, told.data_dir, "anna") == []


def _forget_beside_processing(
    engine: Engine, told: Settings, *, killed_before: bool = False
) -> None:
    """Forget Anna when the next batch is written and not committed; perhaps for the second time,
    after one that was killed as it began to wait for that batch."""
    written, go_on = threading.Event(), threading.Event()

    def pause(where: str) -> None:
        if where == "process.before_commit":
            written.set()
            assert go_on.wait(20)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.process.reach", pause)
        worker = threading.Thread(target=process, args=(engine, told))
        worker.start()
        assert written.wait(20)
        if killed_before:
            with pytest.MonkeyPatch.context() as death:
                death.setattr("app.privacy.forget.identities.await_quiet", _killed)
                with pytest.raises(KeyboardInterrupt):
                    forgotten(engine, told, ANNA)
        forgetting = threading.Thread(target=forgotten, args=(engine, told, ANNA))
        forgetting.start()
        wait_for_the_lock(engine)
        go_on.set()
        worker.join(20)
        forgetting.join(20)


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def wait_for_the_lock(engine: Engine) -> None:
    """Until somebody waits for an advisory lock that others have."""
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    for _ in range(400):
        if rows(engine, query) != [(0,)]:
            return
        threading.Event().wait(0.02)
    raise AssertionError("nobody waits")


@pytest.mark.parametrize("step", ["_stop", "plan", "_erase"])
def test_whoever_is_killed_in_between_is_taken_up_again(
    engine: Engine, told: Settings, lived: list[Json], vendor: Vendor, step: str
) -> None:
    money = ledger(engine)
    code = f"""
import os, signal, sys
import app.privacy.forget
from app.privacy.find import Asked
from app.settings import Settings
from app.store.db import make_engine
from tests.test_privacy import Erasing, KEY
def die(*args, **options):
    os.kill(os.getpid(), signal.SIGKILL)
app.privacy.forget.{step} = die
tool = Erasing(name="tool", url={vendor.url!r}, secret=KEY, livemode="both")
settings = Settings(database_url=sys.argv[1], allow_local_urls=True, destinations=(tool,))
app.privacy.forget.forget(make_engine(sys.argv[1], "cli"), settings, Asked(customer="cus_anna"),
    who="me", why="", despite_failures=False)
"""
    command = [sys.executable, "-c", code, str(told.database_url)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    killed = subprocess.run(command, env=environ, cwd=ROOT, timeout=60, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert left(engine, told.data_dir, "anna") != []

    forgotten(engine, told, ANNA)

    assert (left(engine, told.data_dir, "anna"), ledger(engine)) == ([], money)
    assert rows(engine, "SELECT count(*), count(finished_at) FROM erasures") == [(1, 1)]


def test_one_at_a_time(engine: Engine, told: Settings, lived: list[Json]) -> None:
    with engine.connect() as other:
        other.execute(text(f"SELECT pg_advisory_lock({erasures.FORGET_LOCK})"))
        with pytest.raises(Underway):
            forgotten(engine, told, ANNA)
        other.execute(text(f"SELECT pg_advisory_unlock({erasures.FORGET_LOCK})"))


def test_a_persons_word_does_not_name_the_forgotten(
    engine: Engine, told: Settings, lived: list[Json]
) -> None:
    forgotten(engine, told, ANNA)

    ids = {"user_id": "user-of-anna"}
    with engine.connect() as connection, pytest.raises(Forgotten):
        link(connection, told, ("", True), "cus_anna", ids, who="me", why="")

    assert left(engine, told.data_dir, "anna") == []


# The command line


def run(*words: str, env: Mapping[str, str]) -> Result:
    """The command in this process: starting another takes longer than all that it does."""
    return CliRunner().invoke(bridge_cli, ["privacy", *words], env=env)


@pytest.fixture
def cli(lived: list[Json], env: dict[str, str], vendor: Vendor) -> dict[str, str]:
    """Only the destination without a deletion API is configured."""
    crm = {"KIND": "webhook", "URL": vendor.url, "SECRET": KEY, "LIVEMODE": "both"}
    named = {f"BRIDGE_DEST_CRM_{name}": value for name, value in crm.items()}
    return {**env, **named, "BRIDGE_ALLOW_LOCAL_URLS": "true", "STRIPE_WEBHOOK_SECRET": SECRET}


def test_show_says_all_that_is_held_of_a_person_and_nothing_of_others(
    cli: dict[str, str], tmp_path: Path
) -> None:
    words = ("privacy", "show", "--user", "user-of-anna", "--json")
    done = bridge(*words, env=cli, cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert {one for one in needles("anna") if one in done.stdout} == set(needles("anna"))
    assert [one for one in needles("bert") if one in done.stdout] == []
    found = json.loads(done.stdout)
    assert {name: len(part) for name, part in found.items()} == {
        "ids": 6,
        "objects": 6,
        "identity_links": 10,
        "analytics_events": 4,
        "deliveries": 6,
        "attempts": 3,
        "subscription_snapshots": 2,
        "payments": 1,
        "revenue_entries": 2,
        "webhook_events": 10,
        "hydrations": 0,
    }

    for_people = run("show", "--customer", "cus_anna", env=cli)
    assert for_people.exit_code == 0
    assert {one for one in needles("anna") if one in for_people.stdout} == set(needles("anna"))


def test_forget_previews_asks_and_says_who_is_to_be_asked_by_hand(
    engine: Engine, told: Settings, cli: dict[str, str]
) -> None:
    words = ("forget", "--customer", "cus_anna")

    preview = run(*words, "--dry-run", env=cli)
    assert preview.exit_code == 0
    assert "Told to: crm, tool" in preview.stdout
    assert "webhook_events" in preview.stdout
    unasked = run(*words, env=cli)
    assert (unasked.exit_code, "say --yes" in unasked.stderr) == (2, True)
    assert rows(engine, "SELECT count(*) FROM erasures") == [(0,)]

    done = run(*words, "--yes", env=cli)

    assert (done.exit_code, done.stderr) == (0, "")
    assert "To be asked by hand: crm, tool." in done.stdout
    assert "device_id: device-of-anna" in done.stdout
    assert left(engine, told.data_dir, "anna") == []

    again = run(*words, "--yes", "--json", env=cli)
    assert (again.exit_code, set(json.loads(again.stdout)["rows"].values())) == (0, {0})
    user = run("forget", "--user", "user-of-anna", env=cli)
    assert (user.exit_code, user.stderr) == (
        1,
        "Nothing is known of that user.\n",
    )


def test_forget_needs_to_know_whom(env: dict[str, str]) -> None:
    both = ("--customer", "cus_1", "--user", "7")

    for words in ((), both):
        done = run("forget", *words, env=env)
        assert (done.exit_code, done.stderr) == (
            2,
            "Say whom: --customer cus_... or --user ID.\n",
        )
