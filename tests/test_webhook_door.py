"""The door: what Stripe is answered, and what was kept when it was."""

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.client import HTTPConnection
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import psutil
import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError
from werkzeug.test import TestResponse

from app.core.signature import sign
from app.local.stores import EmbeddedStores, Stores
from app.log import configure
from app.process import process
from app.settings import Settings, WebhookSecret
from app.store import db
from app.store.db import make_engine
from app.strangers import A_MINUTE, ALLOWED, MAX_ADDRESSES, Strangers
from app.web import make_app
from app.webhook import MAX_BODY, Door
from tests.conftest import SECRET
from tests.faults.proxy import BLACKHOLE, PASS, Proxy, cut, proxy

PATH = "/webhooks/stripe"
BACKEND = "SELECT pg_backend_pid()"
JSON = "application/json"
EVENT: dict[str, Any] = {
    "id": "evt_1",
    "object": "event",
    "type": "customer.updated",
    "created": 1_740_830_400,
    "livemode": True,
    "api_version": "2025-03-31.basil",
    "data": {"object": {"id": "cus_1", "object": "customer"}},
}


def body_of(**changes: Any) -> bytes:
    return json.dumps({**EVENT, **changes}).encode()


def signed(body: bytes, secret: str = SECRET, age: int = 0) -> dict[str, str]:
    return {"Stripe-Signature": sign(body, secret, int(time.time()) - age)}


def post(client: FlaskClient, body: bytes, headers: Any = None, **options: Any) -> TestResponse:
    sent = signed(body) if headers is None else headers
    return client.post(PATH, data=body, headers=sent, **{"content_type": JSON, **options})


def said(response: TestResponse) -> tuple[int, str, str]:
    return response.status_code, response.text, response.headers["Content-Type"]


def plain(status: int, word: str) -> tuple[int, str, str]:
    return status, f"{word}\n", "text/plain; charset=utf-8"


def kept(engine: Engine) -> list[tuple[Any, ...]]:
    """Of every webhook event what its three rows say of it."""
    query = """
        SELECT e.account, e.livemode, e.event_id, e.type, e.origin, e.raw
        FROM webhook_events e
        JOIN webhook_event_keys k USING (id, account, livemode, event_id)
        JOIN work w ON w.lane = 'process' AND w.ref_id = e.id ORDER BY e.id
    """
    with engine.connect() as connection:
        rows = [(*row[:5], bytes(row[5])) for row in connection.execute(text(query))]
        for table in ("webhook_events", "webhook_event_keys", "work"):
            count = connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
            assert count == len(rows), f"{table} holds {count}"
    return rows


def a_row(body: bytes, event_id: str = "evt_1", account: str = "", livemode: bool = True) -> Any:
    return account, livemode, event_id, "customer.updated", "webhook", body


@pytest.fixture
def client(settings: Settings) -> FlaskClient:
    return make_app(settings).test_client()


@pytest.fixture(autouse=True)
def _nothing_is_told(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> Iterator[None]:
    """Whatever came in, no log of ours holds a secret, a signature or a traceback."""
    told = StringIO()
    monkeypatch.setattr(sys, "stderr", told)
    configure(logging.DEBUG)  # for a door without its application
    yield
    log = told.getvalue() + caplog.text
    for secret in (SECRET, SECRET.removeprefix("whsec_"), "Traceback", "v1=", "hunter2"):
        assert secret not in log, f"{secret} was logged"


# Kept


def test_what_stripe_signed_is_kept_word_for_word(client: FlaskClient, engine: Engine) -> None:
    body = b'{\n  "type" : "customer.updated",' + body_of()[1:]

    assert said(post(client, body)) == plain(200, "kept")
    assert kept(engine) == [a_row(body)]


def test_a_duplicate_is_a_success_and_no_second_row(client: FlaskClient, engine: Engine) -> None:
    first, again = body_of(pending_webhooks=2), body_of(pending_webhooks=1)

    assert said(post(client, first)) == plain(200, "kept")
    assert said(post(client, again)) == plain(200, "duplicate")
    assert kept(engine) == [a_row(first)]


def test_accounts_and_modes_keep_rows_of_their_own_for_the_same_id(
    client: FlaskClient, engine: Engine
) -> None:
    scopes: list[tuple[str, bool]] = [("", True), ("", False), ("acct_1", True), ("acct_2", True)]
    bodies = [body_of(account=account or None, livemode=live) for account, live in scopes]

    assert [said(post(client, body)) for body in bodies] == [plain(200, "kept")] * 4
    assert kept(engine) == [
        a_row(body, "evt_1", *scope) for body, scope in zip(bodies, scopes, strict=True)
    ]


def test_a_thin_event_is_kept_as_one(client: FlaskClient, engine: Engine) -> None:
    body = body_of(object="v2.core.event", created="2025-03-01T12:00:00Z", context="acct_7")

    assert said(post(client, body)) == plain(200, "kept")
    assert kept(engine) == [("acct_7", True, "evt_1", "customer.updated", "thin", body)]


def test_a_type_that_nobody_knows_is_kept(client: FlaskClient, engine: Engine) -> None:
    assert said(post(client, body_of(type="made.up"))) == plain(200, "kept")
    assert [row[3] for row in kept(engine)] == ["made.up"]


def test_any_of_several_secrets_will_do_while_they_rotate(
    settings: Settings, engine: Engine
) -> None:
    new = WebhookSecret(label="new", value="whsec_dGhlLW5ldy1zaWduaW5nLXNlY3JldA")
    client = make_app(
        replace(settings, webhook_secrets=(new, *settings.webhook_secrets))
    ).test_client()

    for number, secret in enumerate((new.value, SECRET)):
        body = body_of(id=f"evt_{number}")
        assert said(post(client, body, signed(body, secret))) == plain(200, "kept")
    assert len(kept(engine)) == 2


@pytest.mark.parametrize("text_", ["a\u0000b", "half \ud83d", "\u202e\uffff", "'; DROP TABLE work"])
def test_a_text_that_postgres_or_utf8_cannot_hold_is_kept_and_disturbs_no_neighbour(
    client: FlaskClient, engine: Engine, settings: Settings, text_: str
) -> None:
    hostile = body_of(id="evt_2", data={"object": {"id": text_, "name": text_}})
    bodies = [body_of(id="evt_1"), hostile, body_of(id="evt_3")]

    assert [said(post(client, body)) for body in bodies] == [plain(200, "kept")] * 3
    assert [row[5] for row in kept(engine)] == bodies
    assert process(engine, settings) == 3
    query = "SELECT event_id, verdict, reason FROM webhook_events ORDER BY id"
    with engine.connect() as connection:
        verdicts = [tuple(row) for row in connection.execute(text(query))]
    assert verdicts == [(f"evt_{n}", "processed", None) for n in (1, 2, 3)]


@pytest.mark.parametrize("content_type", [f"{JSON}; charset=utf-8", "Application/JSON"])
def test_json_by_its_other_names(client: FlaskClient, engine: Engine, content_type: str) -> None:
    assert said(post(client, body_of(), content_type=content_type)) == plain(200, "kept")
    assert kept(engine) == [a_row(body_of())]


# Refused

FOREIGN = "whsec_c29tZWJvZHktZWxzZXMtc2VjcmV0"
STALE, BAD, ODD = "stale_signature", "bad_signature", "not_an_event"
DEEP = b'{"a":' * 10_000 + b"0" + b"}" * 10_000
REFUSED: dict[str, tuple[bytes, Callable[[bytes], dict[str, str]], str]] = {
    "signed with another secret": (body_of(), lambda b: signed(b, FOREIGN), BAD),
    "signed over another body": (body_of(), lambda b: signed(b + b" "), BAD),
    "no signature": (body_of(), lambda b: {}, BAD),
    "an empty signature": (body_of(), lambda b: {"Stripe-Signature": ""}, BAD),
    "a signature of garbage": (body_of(), lambda b: {"Stripe-Signature": "t=,v1=,=,"}, BAD),
    "a very long signature": (body_of(), lambda b: {"Stripe-Signature": "v1=0," * 5_000}, BAD),
    "signed 301 seconds ago": (body_of(), lambda b: signed(b, age=302), STALE),
    "signed a day ago": (body_of(), lambda b: signed(b, age=86_400), STALE),
    "signed in the future": (body_of(), lambda b: signed(b, age=-302), STALE),
    "an empty body": (b"", signed, ODD),
    "not utf-8": (b"\xff\xfe" + body_of(), signed, ODD),
    "a list": (b"[" + body_of() + b"]", signed, ODD),
    "a string": (json.dumps(body_of().decode()).encode(), signed, ODD),
    "null": (b"null", signed, ODD),
    "not a number": (body_of(data=float("nan")), signed, ODD),
    "ten thousand levels": (DEEP, signed, ODD),
    "ten thousand levels within": (body_of().replace(b'"cus_1"', DEEP), signed, ODD),
    "half an event": (body_of()[:-9], signed, ODD),
    "a form": (b"id=evt_1&object=event", signed, ODD),
    "NUL in the id": (body_of(id="evt_\u0000"), signed, ODD),
    "an id that is too long": (body_of(id="e" * 256), signed, ODD),
    "an id that is a number": (body_of(id=1), signed, ODD),
    "no mode": (body_of(livemode=None), signed, ODD),
    "another object": (body_of(object="invoice"), signed, ODD),
    "a created of the year 10000": (body_of(created=253_402_300_800), signed, ODD),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_told_in_a_word_and_leaves_no_row(
    client: FlaskClient, engine: Engine, name: str
) -> None:
    body, headers, word = REFUSED[name]

    assert said(post(client, body, headers(body))) == plain(400, word)
    assert kept(engine) == []


@pytest.mark.parametrize("header", ["t=é,v1=ü", "t=1,v1=\udcff", "\u2603"])
def test_a_signature_that_is_not_ascii_is_a_bad_one(
    client: FlaskClient, engine: Engine, header: str
) -> None:
    # As a server hands it over: the header's bytes, read as latin-1.
    value = header.encode("utf-8", "surrogateescape").decode("latin-1")
    response = post(client, body_of(), {}, environ_overrides={"HTTP_STRIPE_SIGNATURE": value})

    assert said(response) == plain(400, BAD)
    assert kept(engine) == []


def test_only_post_opens_the_door(client: FlaskClient, engine: Engine) -> None:
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE", "BREW"):
        response = client.open(PATH, method=method, data=body_of(), headers=signed(body_of()))

        expected = "" if method == "HEAD" else "Method Not Allowed\n"
        assert (response.status_code, response.text) == (405, expected)
        assert response.headers["Allow"] == "OPTIONS, POST"
    assert kept(engine) == []


OTHER_TYPES = [
    None,
    "",
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=b",
    "application/json-patch+json",
    "application/xml",
]


def test_only_json_is_read(client: FlaskClient, engine: Engine) -> None:
    answers = [said(post(client, body_of(), content_type=one)) for one in OTHER_TYPES]

    assert answers == [plain(415, "not_json")] * len(OTHER_TYPES)
    assert kept(engine) == []


@pytest.mark.parametrize("form", [{"payload": body_of().decode()}, {"file": (b"", "x.json")}])
def test_a_form_is_not_read_at_all(client: FlaskClient, engine: Engine, form: Any) -> None:
    fields = {name: v if isinstance(v, str) else (BytesIO(v[0]), v[1]) for name, v in form.items()}

    assert said(client.post(PATH, data=fields)) == plain(415, "not_json")
    assert kept(engine) == []


def test_a_mebibyte_is_kept_and_a_byte_more_is_not(client: FlaskClient, engine: Engine) -> None:
    body = body_of(fill="")
    largest = body_of(fill="x" * (MAX_BODY - len(body)))

    assert (len(largest), said(post(client, largest))) == (MAX_BODY, plain(200, "kept"))
    over = said(post(client, largest + b" "))
    assert over == plain(413, "Request Entity Too Large")
    assert kept(engine) == [a_row(largest)]


def test_two_mebibytes_are_refused_unread(client: FlaskClient, engine: Engine) -> None:
    body = body_of(fill="x" * 2 * MAX_BODY)

    assert said(post(client, body)) == plain(413, "Request Entity Too Large")
    assert kept(engine) == []


def test_elsewhere_there_is_nothing(client: FlaskClient) -> None:
    paths = ("/webhooks", f"{PATH}/", f"{PATH}/evt_1", "/.env", "/%00")
    answers = [said(client.post(path, data=body_of(), headers=signed(body_of()))) for path in paths]

    assert answers == [plain(404, "Not Found")] * len(paths)


def test_who_posts_much_unsigned_is_told_to_stop_and_what_is_signed_is_kept(
    client: FlaskClient, engine: Engine
) -> None:
    wrong = signed(body_of(), secret="whsec_of_somebody_else")
    stale = signed(body_of(), age=301)
    answers = Counter(post(client, body_of(), wrong).text for _ in range(ALLOWED + 5))

    assert answers == {"bad_signature\n": ALLOWED, "too_many\n": 5}
    assert said(post(client, body_of(), wrong)) == plain(429, "too_many")
    assert said(post(client, body_of(), stale)) == plain(400, "stale_signature")
    assert said(post(client, body_of())) == plain(200, "kept")
    assert said(post(client, body_of())) == plain(200, "duplicate")
    assert said(post(client, b"[]", signed(b"[]"))) == plain(400, "not_an_event")
    elsewhere = {"REMOTE_ADDR": "192.0.2.2"}
    assert said(post(client, body_of(), wrong, environ_base=elsewhere)) == plain(
        400, "bad_signature"
    )
    assert kept(engine) == [a_row(body_of())]


def test_a_new_minute_forgets_the_strangers_and_their_number_is_bounded() -> None:
    now = 0.0
    strangers = Strangers(lambda: now)

    assert [strangers.refuse("::1") for _ in range(ALLOWED + 1)] == [False] * ALLOWED + [True]
    now = A_MINUTE
    assert not strangers.refuse("::1")
    assert not any(strangers.refuse(f"10.0.{n}") for n in range(MAX_ADDRESSES - 1))
    # Each further address shares one count.
    assert [strangers.refuse(f"10.1.{n}") for n in range(ALLOWED + 1)] == [False] * ALLOWED + [True]
    assert not strangers.refuse("::1")


# Stores out of reach


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def hung() -> Iterator[int]:
    """A server that takes connections and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield server.getsockname()[1]


def unreachable(port: int) -> str:
    return f"postgresql+psycopg://bridge:hunter2@127.0.0.1:{port}/bridge"


def test_without_postgres_stripe_is_told_to_come_again(settings: Settings) -> None:
    client = make_app(replace(settings, database_url=unreachable(free_port()))).test_client()

    assert said(post(client, body_of())) == plain(503, "not_kept")
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json) == (503, {"status": "no database"})
    assert client.get("/healthz").status_code == 200


def test_a_postgres_that_hangs_is_not_waited_for(settings: Settings) -> None:
    with hung() as port:
        client = make_app(replace(settings, database_url=unreachable(port))).test_client()
        began = time.monotonic()

        assert said(post(client, body_of())) == plain(503, "not_kept")
        assert time.monotonic() - began < 4


@pytest.fixture
def wire(stores: Stores, caplog: pytest.LogCaptureFixture) -> Iterator[Proxy]:
    """A proxy before the tests' Postgres; what its event loop says at its end is not ours."""
    caplog.set_level(logging.CRITICAL, "asyncio")
    with proxy(f"{stores.run_dir}/.s.PGSQL.5432") as running:
        yield running


def through(wire: Proxy) -> str:
    return f"postgresql+psycopg://postgres@127.0.0.1:{wire.port}/bridge"


def timed(client: FlaskClient, body: bytes) -> tuple[int, float]:
    """The answer's status and its seconds."""
    began = time.monotonic()
    status = post(client, body).status_code
    return status, time.monotonic() - began


def test_wherever_the_answer_to_the_commit_is_cut_no_200_is_given(
    settings: Settings, engine: Engine, wire: Proxy
) -> None:
    client = make_app(replace(settings, database_url=through(wire))).test_client()
    bodies = [body_of(id=f"evt_{after}") for after in range(1_000)]
    post(client, bodies.pop())
    first, again, in_the_end = [], [], [999]
    for after, body in enumerate(bodies):
        wire.mode, cuts = cut(after=after, times=1), wire.cuts
        status = post(client, body).status_code
        in_the_end.append(after)
        if wire.cuts == cuts:
            assert status == 200, "the whole answer passed"
            break
        first.append(status)
        again.append(post(client, body).text)

    assert len(first) > 100, "bytes of the answer"
    assert set(first) == {503}
    # The insert was made each time: the outcome was unknown to the door, not to Postgres.
    assert set(again) == {"duplicate\n"}
    assert [row[2] for row in kept(engine)] == [f"evt_{number}" for number in in_the_end]


def test_a_silent_postgres_costs_one_request_its_patience_and_the_others_nothing(
    settings: Settings, engine: Engine, wire: Proxy
) -> None:
    client = make_app(replace(settings, database_url=through(wire))).test_client()
    assert said(post(client, body_of(id="evt_1"))) == plain(200, "kept")
    assert client.get("/readyz").status_code == 200
    wire.mode = BLACKHOLE

    first, *others = [timed(client, body_of(id=f"evt_{number}")) for number in range(2, 12)]
    began = time.monotonic()
    ready, healthy = client.get("/readyz").status_code, client.get("/healthz").status_code
    waited = time.monotonic() - began

    assert (first[0], [status for status, _ in others]) == (503, [503] * 9)
    assert first[1] < 4
    assert sum(seconds for _, seconds in others) < 0.3
    assert (ready, healthy, waited < 2) == (503, 200, True)

    wire.mode = PASS
    deadline = time.monotonic() + 1
    while post(client, body_of(id="evt_12")).status_code != 200:
        assert time.monotonic() < deadline, "it serves as soon as Postgres does"
        time.sleep(0.01)
    answers = [post(client, body_of(id=f"evt_{number}")).status_code for number in range(2, 13)]
    assert answers == [200] * 11
    assert sorted(row[2] for row in kept(engine)) == sorted(f"evt_{n}" for n in range(1, 13))


def test_a_connection_whose_server_fell_silent_is_given_up_with_its_pool(
    engine: Engine, wire: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "GRACE", 0.3)
    own = make_engine(through(wire), "silent", statement_timeout=300, pool_size=2)
    with own.connect() as one, own.connect() as other:
        before = {one.scalar(text(BACKEND)), other.scalar(text(BACKEND))}
    speaks_again = threading.Timer(3, setattr, (wire, "mode", PASS))
    with own.connect() as connection:
        wire.mode = BLACKHOLE
        speaks_again.start()
        began = time.monotonic()
        with pytest.raises(OperationalError, match="the server hangs"):
            connection.execute(text("SELECT 1"))
        waited = time.monotonic() - began
    speaks_again.cancel()
    wire.mode = PASS

    with own.connect() as one, own.connect() as other:
        after = {one.scalar(text(BACKEND)), other.scalar(text(BACKEND))}
    assert 0.5 < waited < 1.5
    assert len(before | after) == 4
    own.dispose()


def test_a_statement_that_speaks_now_and_then_may_last(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "GRACE", 0.0)
    own = make_engine(settings.database_url or "", "slow", statement_timeout=500)
    often = """DO $$ BEGIN
        FOR i IN 1..4 LOOP RAISE NOTICE '%', i; PERFORM pg_sleep(0.3); END LOOP;
    END $$"""
    with own.connect() as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text(often))
        assert connection.scalar(text("SELECT 1")) == 1
    own.dispose()


def test_bad_requests_never_reach_postgres(settings: Settings) -> None:
    client = make_app(replace(settings, database_url=unreachable(free_port()))).test_client()

    assert said(post(client, body_of(), {})) == plain(400, BAD)
    assert said(post(client, b"[]")) == plain(400, ODD)


def door_of(settings: Settings, engine: Engine) -> Door:
    return Door(settings, engine, lambda: True)


def received(door: Door, body: bytes) -> tuple[int, str]:
    return door.receive(body, signed(body)["Stripe-Signature"], "192.0.2.1")


def test_a_pool_without_a_free_connection_is_a_503(settings: Settings, engine: Engine) -> None:
    small = make_engine(settings.database_url or "", "door", pool_size=1)
    door = door_of(settings, small)
    began = time.monotonic()
    with small.connect(), small.connect():  # one of the pool and one above it
        assert received(door, body_of()) == (503, "not_kept")
    waited = time.monotonic() - began

    assert waited < 4
    assert received(door, body_of()) == (200, "kept")
    assert kept(engine) == [a_row(body_of())]
    small.dispose()


def test_a_row_that_another_transaction_holds_is_a_503_and_no_hang(
    settings: Settings, engine: Engine
) -> None:
    hasty = make_engine(settings.database_url or "", "door", statement_timeout=200)
    door = door_of(settings, hasty)
    take = "INSERT INTO webhook_event_keys (account, livemode, event_id) VALUES ('', true, 'evt_1')"
    with engine.connect() as other:
        other.execute(text(take))
        assert received(door, body_of()) == (503, "not_kept")
        other.rollback()

    assert received(door, body_of()) == (200, "kept")
    assert kept(engine) == [a_row(body_of())]
    hasty.dispose()


def test_a_connection_that_postgres_dropped_costs_one_request(
    settings: Settings, engine: Engine
) -> None:
    own = make_engine(settings.database_url or "", "dropped", pool_size=1)
    door = door_of(settings, own)
    assert received(door, body_of()) == (200, "kept")
    kill = """SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
              WHERE application_name = 'bridge dropped'"""
    with engine.begin() as connection:
        connection.execute(text(kill))

    assert received(door, body_of(id="evt_2")) == (503, "not_kept")
    assert received(door, body_of(id="evt_2")) == (200, "kept")
    assert [row[2] for row in kept(engine)] == ["evt_1", "evt_2"]
    own.dispose()


def test_whatever_redis_does_the_answer_is_200_and_soon(settings: Settings, engine: Engine) -> None:
    with hung() as port:
        for number, where in enumerate((port, free_port())):
            url = f"redis://:hunter2@127.0.0.1:{where}/0"
            client = make_app(replace(settings, redis_url=url)).test_client()
            began = time.monotonic()

            assert said(post(client, body_of(id=f"evt_{number}"))) == plain(200, "kept")
            assert time.monotonic() - began < 1.5
    assert [row[2] for row in kept(engine)] == ["evt_0", "evt_1"]


def test_without_a_redis_at_all_it_is_kept(settings: Settings, engine: Engine) -> None:
    client = make_app(replace(settings, redis_url=None)).test_client()

    assert said(post(client, body_of())) == plain(200, "kept")
    assert kept(engine) == [a_row(body_of())]


def test_the_bell_is_rung_for_what_is_new_and_after_it_is_kept(
    settings: Settings, engine: Engine
) -> None:
    seen: list[int] = []

    def bell() -> bool:
        seen.append(len(kept(engine)))
        return True

    door = Door(settings, engine, bell)

    words = [received(door, body_of(id=one)) for one in ("evt_1", "evt_1", "evt_2")]
    assert words == [(200, "kept"), (200, "duplicate"), (200, "kept")]
    assert seen == [1, 2]


def test_each_answer_is_counted(settings: Settings, engine: Engine, wire: Proxy) -> None:
    app = make_app(replace(settings, database_url=through(wire)))
    door, client = app.extensions["door"], app.test_client()
    for _ in range(2):
        post(client, body_of())
    post(client, body_of(), {})
    post(client, body_of(), signed(body_of(), age=400))
    post(client, b"[]")
    post(client, body_of(), content_type="text/plain")
    client.get(PATH)
    client.get("/elsewhere")
    post(client, b" " * (MAX_BODY + 1))
    wire.mode = cut(after=0, times=1)
    post(client, body_of(id="evt_2"))

    assert door.counted == {
        "kept": 1,
        "duplicate": 1,
        "bad_signature": 1,
        "stale_signature": 1,
        "not_an_event": 1,
        "not_json": 1,
        "wrong_method": 1,
        "too_large": 1,
        "not_kept": 1,
    }


@pytest.mark.parametrize("over", [0, 1])
def test_a_body_without_a_length_may_be_as_large_as_one_with(
    client: FlaskClient, engine: Engine, over: int
) -> None:
    whole = body_of()
    body = whole + b" " * (MAX_BODY - len(whole) + over)
    response = client.post(
        PATH,
        input_stream=BytesIO(body),
        headers=signed(body),
        content_type=JSON,
        environ_overrides={
            "CONTENT_LENGTH": "",
            "HTTP_TRANSFER_ENCODING": "chunked",
            "wsgi.input_terminated": True,
        },
    )

    refused = plain(413, "Request Entity Too Large")
    assert said(response) == (refused if over else plain(200, "kept"))
    assert kept(engine) == ([] if over else [a_row(body)])


# How the process is doing


def test_healthz_and_readyz(client: FlaskClient) -> None:
    answers = [client.get(path) for path in ("/healthz", "/readyz")]

    assert [(one.status_code, one.json) for one in answers] == [(200, {"status": "ok"})] * 2


@pytest.mark.parametrize("revision", [None, "0000", "9999"])
def test_a_database_of_another_revision_is_not_ready(
    client: FlaskClient, engine: Engine, revision: str | None
) -> None:
    with engine.begin() as connection:
        before = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        connection.execute(text("DELETE FROM alembic_version"))
        if revision:
            query = text("INSERT INTO alembic_version (version_num) VALUES (:revision)")
            connection.execute(query, {"revision": revision})
    try:
        answer = client.get("/readyz")
    finally:
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM alembic_version"))
            query = text("INSERT INTO alembic_version (version_num) VALUES (:revision)")
            connection.execute(query, {"revision": before})

    assert (answer.status_code, answer.json) == (503, {"status": "run bridge migrate"})


# The real server


@pytest.fixture(scope="module")
def web(
    embedded: EmbeddedStores, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[int, int]]:
    """Port and pid of a granian of our own, as `bridge web` starts it."""
    port = free_port()
    env = {
        "PATH": os.environ["PATH"],
        "BRIDGE_NO_BOOTSTRAP": "1",
        "DATABASE_URL": embedded.current.database_url,
        "REDIS_URL": embedded.current.redis_url,
        "STRIPE_WEBHOOK_SECRET": SECRET,
        "PORT": str(port),
    }
    log = tmp_path_factory.mktemp("web") / "log"
    with log.open("wb") as told:
        child = subprocess.Popen(
            [sys.executable, "-m", "app", "web"],
            cwd=Path(__file__).parents[1],
            env=env,
            stdout=told,
            stderr=told,
        )
    try:
        _until_ready(port, child)
        yield port, child.pid
    finally:
        child.terminate()
        child.wait(30)
    for secret in (SECRET, "Traceback", "v1="):
        assert secret not in log.read_text(), f"{secret} was logged"


@pytest.fixture
def server(web: tuple[int, int]) -> int:
    """Its port."""
    return web[0]


def _until_ready(port: int, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert child.poll() is None, "the server ended"
        try:
            if asked(port, "GET", "/readyz", b"", {})[0] == 200:
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the server did not become ready")


def asked(port: int, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, str]:
    """The server's answer; a list of pieces is sent chunked, without a length.

    A server may answer and hang up before it has read all: then the rest cannot be sent, and the
    answer may be lost with the connection, so it is asked again.
    """
    for tries in range(5, 0, -1):
        connection = HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(
                    method, path, iter(body) if isinstance(body, list) else body, headers
                )
            response = connection.getresponse()
            return response.status, response.read().decode()
        except (BrokenPipeError, ConnectionResetError):
            if tries == 1:
                raise
        finally:
            connection.close()
    raise AssertionError("unreachable")


def test_fifty_at_once_with_the_same_event_make_one_row(server: int, engine: Engine) -> None:
    body = body_of()
    headers = {**signed(body), "Content-Type": JSON}
    together = threading.Barrier(50)

    def one(_: int) -> tuple[int, str]:
        together.wait(20)
        return asked(server, "POST", PATH, body, headers)

    with ThreadPoolExecutor(50) as pool:
        answers = sorted(pool.map(one, range(50)))

    assert answers == [(200, "duplicate\n")] * 49 + [(200, "kept\n")]
    assert kept(engine) == [a_row(body)]


def test_the_real_server_answers_hostile_requests_as_the_application_says(
    server: int, engine: Engine
) -> None:
    body = body_of()
    headers = {**signed(body), "Content-Type": JSON}
    large = body_of(fill="x" * 2 * MAX_BODY)

    assert asked(server, "POST", PATH, [body[:20], body[20:]], headers) == (200, "kept\n")
    assert asked(server, "GET", PATH, b"", {}) == (405, "Method Not Allowed\n")
    assert asked(server, "POST", PATH, body, {"Content-Type": JSON}) == (400, f"{BAD}\n")
    assert asked(server, "POST", PATH, b"", headers) == (400, f"{BAD}\n")
    assert asked(server, "POST", PATH, large, {**signed(large), "Content-Type": JSON}) == (
        413,
        "Request Entity Too Large\n",
    )
    in_pieces = [large[:MAX_BODY], large[MAX_BODY:]]  # without a length
    assert asked(server, "POST", PATH, in_pieces, {**signed(large), "Content-Type": JSON}) == (
        413,
        "Request Entity Too Large\n",
    )
    assert kept(engine) == [a_row(body)]


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process and all below it stopped, as a machine that hangs stops them."""
    parent = psutil.Process(pid)
    parent.suspend()  # first: it starts no more
    processes = [parent, *parent.children(recursive=True)]
    try:
        for one in processes:
            one.suspend()
        yield
    finally:
        for one in processes:
            one.resume()


def sent(server: int, event_id: str) -> tuple[int, float]:
    """The real server's answer to this event, and its seconds."""
    body = body_of(id=event_id)
    headers = {**signed(body), "Content-Type": JSON}
    began = time.monotonic()
    return asked(server, "POST", PATH, body, headers)[0], time.monotonic() - began


def threads(pid: int) -> int:
    """Of this process and of all that it started."""
    parent = psutil.Process(pid)
    return sum(one.num_threads() for one in [parent, *parent.children(recursive=True)])


def test_a_frozen_postgres_is_a_503_in_time_and_nothing_that_got_a_200_is_lost(
    web: tuple[int, int], embedded: EmbeddedStores, engine: Engine
) -> None:
    port, pid = web
    ids = [f"evt_{number}" for number in range(60)]
    with ThreadPoolExecutor(40) as senders:
        kept_before = [status for status, _ in senders.map(lambda one: sent(port, one), ids[:20])]
        at_rest = threads(pid)
        with frozen(embedded.current.postgres_pid):
            refused = [senders.submit(sent, port, one) for one in ids[20:]]
            ready = senders.submit(asked, port, "GET", "/readyz", b"", {})
            time.sleep(1)
            busy = threads(pid)
            answers = [each.result() for each in refused]
            again = [sent(port, ids[20]) for _ in range(5)]
            assert ready.result()[0] == 503
            assert asked(port, "GET", "/healthz", b"", {})[0] == 200
        back = time.monotonic()
        while sent(port, "evt_next")[0] != 200:
            assert time.monotonic() - back < 1, "it serves as soon as Postgres does"
            time.sleep(0.01)

    assert kept_before == [200] * 20
    assert {status for status, _ in [*answers, *again]} == {503}
    assert max(seconds for _, seconds in [*answers, *again]) < 5
    assert busy <= at_rest + 3, "threads of the door, of /readyz and one to spare"
    # What was with Postgres when it froze may be kept without a 200; nothing is twice.
    got = {row[2] for row in kept(engine)}
    assert {*ids[:20], "evt_next"} <= got <= {*ids, "evt_next"}
    assert [sent(port, one)[0] for one in ids] == [200] * 60
    assert sorted(row[2] for row in kept(engine)) == sorted([*ids, "evt_next"])


def test_a_web_process_may_start_while_postgres_is_frozen(
    settings: Settings, embedded: EmbeddedStores, engine: Engine
) -> None:
    client = make_app(settings).test_client()
    with frozen(embedded.current.postgres_pid):
        answers = [timed(client, body_of()) for _ in range(2)]
        ready = client.get("/readyz").status_code
    assert ([status for status, _ in answers], ready) == ([503, 503], 503)
    assert max(seconds for _, seconds in answers) < 4

    deadline = time.monotonic() + 1
    while post(client, body_of()).status_code != 200:
        assert time.monotonic() < deadline, "it serves as soon as Postgres does"
        time.sleep(0.01)
    assert kept(engine) == [a_row(body_of())]


def test_a_frozen_redis_delays_no_answer(
    server: int, embedded: EmbeddedStores, engine: Engine
) -> None:
    ids = [f"evt_{number}" for number in range(600)]
    with ThreadPoolExecutor(8) as senders, frozen(embedded.current.valkey_pid):
        answers = list(senders.map(lambda one: sent(server, one), ids))

    took = sorted(seconds for _, seconds in answers)
    assert {status for status, _ in answers} == {200}
    assert took[int(0.99 * len(took))] < 0.5
    assert sorted(row[2] for row in kept(engine)) == sorted(ids)
