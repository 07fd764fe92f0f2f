"""A visitor's last word, and the browser's own id of what it tells of too."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import permutations
from time import sleep
from typing import Any, ClassVar, Literal
from uuid import UUID

import orjson
import pytest
from sqlalchemy import Engine, text

from app.core.analytics import AnalyticsEvent, analytics_event_id, dedupe_id
from app.core.outcome import Delivered, Outcome
from app.deliver import deliver
from app.demo.receiver import WEBHOOK_SECRET, Receiver, receiver
from app.destinations.base import Destination, Payload, Request, Response
from app.destinations.http import Http
from app.lane import Lane
from app.process import process
from app.settings import Settings
from app.store.conversions import claim
from app.store.webhook_events import process_again
from tests.test_process import (
    CREATED,
    IDS,
    a_refund,
    a_session,
    a_subscription,
    an_intent,
    an_invoice,
    event,
    put,
    rows,
)

Json = dict[str, Any]
SUBSCRIPTION = a_subscription(created=CREATED, metadata=IDS)
SESSION = a_session(created=CREATED - 60, invoice="in_1")


@pytest.fixture
def tools() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture
def webhook(with_destinations: Callable[..., Settings], tools: Receiver) -> Settings:
    return with_destinations(
        webhook={"secret": WEBHOOK_SECRET, "url": tools.webhook_url, "purpose": "ads"}
    )


def processed(engine: Engine, settings: Settings, *events: Json) -> None:
    put(engine, *events)
    while process(engine, settings):
        pass


def serve(engine: Engine, settings: Settings) -> None:
    [destination] = settings.destinations
    with closing(Http(allow_local=True)) as http:
        deliver(Lane(engine, destination, http))


def states(engine: Engine) -> set[tuple[Any, ...]]:
    return set(rows(engine, "SELECT state, reason FROM deliveries"))


# --- consent


def consenting(consent: str, **changes: Any) -> Json:
    return a_session(
        created=CREATED - 60, invoice="in_1", metadata={**IDS, "consent": consent}, **changes
    )


def test_what_is_not_sent_yet_is_stopped_by_a_later_refusal(
    engine: Engine, webhook: Settings, tools: Receiver
) -> None:
    processed(
        engine,
        webhook,
        event(1, "customer.subscription.created", SUBSCRIPTION),
        event(2, "checkout.session.completed", consenting("granted")),
        event(3, "invoice.paid", an_invoice()),
    )
    assert states(engine) == {("pending", None)}
    owner = {"id": "cus_1", "object": "customer", "metadata": {"consent": "ads=denied"}}
    processed(engine, webhook, event(4, "customer.updated", owner, created=CREATED + 600))

    serve(engine, webhook)
    assert states(engine) == {("skipped", "consent for ads was withdrawn")}
    assert tools.snapshot().webhook.requests == 0
    assert rows(engine, "SELECT * FROM work WHERE lane = 'to:webhook'") == []


def test_a_refund_is_stopped_too_by_a_refusal_of_the_customer_whom_only_its_payment_names(
    engine: Engine, webhook: Settings, tools: Receiver
) -> None:
    paid = {"type": "payment_intent", "payment_intent": "pi_1"}
    part: Json = {"id": "inpay_1", "object": "invoice_payment", "invoice": "in_1", "payment": paid}
    part |= {"amount_paid": 1190, "currency": "eur", "status": "paid"}
    processed(
        engine,
        webhook,
        event(1, "checkout.session.completed", consenting("granted")),
        event(2, "invoice.paid", an_invoice()),
        event(3, "invoice_payment.paid", part | {"status_transitions": {"paid_at": CREATED}}),
    )
    serve(engine, webhook)
    processed(engine, webhook, event(4, "refund.created", a_refund()))
    waiting = "SELECT key FROM analytics_events e JOIN deliveries d ON d.analytics_event_id = e.id"
    waiting += " WHERE d.state = 'pending' AND customer IS NULL"
    assert rows(engine, waiting) == [("refund:re_1",)]
    sent = tools.snapshot().webhook.requests
    owner = {"id": "cus_1", "object": "customer", "metadata": {"consent": "ads=denied"}}
    processed(engine, webhook, event(5, "customer.updated", owner, created=CREATED + 600))

    serve(engine, webhook)
    assert states(engine) == {
        ("delivered", None),
        ("skipped", "consent for ads was withdrawn"),
    }
    assert tools.snapshot().webhook.requests == sent


def test_a_refusal_of_ads_stops_no_analytics_and_an_older_one_nothing(
    engine: Engine, webhook: Settings, with_destinations: Callable[..., Settings], tools: Receiver
) -> None:
    analytics = with_destinations(
        webhook={"secret": WEBHOOK_SECRET, "url": tools.webhook_url, "purpose": "analytics"}
    )
    for settings in (analytics, webhook):
        processed(
            engine,
            settings,
            event(2, "checkout.session.completed", consenting("granted")),
            event(3, "invoice.paid", an_invoice()),
        )
    owner = {"id": "cus_1", "object": "customer", "metadata": {"consent": "ads=denied"}}
    processed(engine, analytics, event(4, "customer.updated", owner, created=CREATED + 600))
    serve(engine, analytics)

    assert {state for state, _ in states(engine)} == {"delivered"}


def test_each_destination_hears_of_the_consent_as_it_was_said(
    engine: Engine, webhook: Settings
) -> None:
    processed(
        engine,
        webhook,
        event(1, "customer.subscription.created", SUBSCRIPTION),
        event(2, "checkout.session.completed", consenting("ads=denied,region=de")),
        event(3, "invoice.paid", an_invoice()),
    )

    assert states(engine) == {("skipped", "no consent for ads")}
    [(consent,)] = rows(engine, "SELECT DISTINCT identity ->> 'consent' FROM analytics_events")
    assert consent == "ads=denied,region=DE"


# --- history


@dataclass(frozen=True, kw_only=True)
class Listening(Destination):
    """Takes everything and remembers what came in one request."""

    KIND: ClassVar[str] = "listening"
    DEDUPE_WINDOW = None
    MAX_BATCH = 10

    batches: list[list[bool]] = field(default_factory=list)

    def render(self, event: AnalyticsEvent, dedupe_id: UUID) -> bytes:
        told = {"conversion": event.conversion_id, "name": event.name, "id": str(dedupe_id)}
        return orjson.dumps({**told, "properties": sorted(event.properties)})

    def request(self, batch: Sequence[Payload], now: float) -> Request:
        self.batches.append([one.historical for one in batch])
        return Request("http://127.0.0.1:9/", {}, b"")

    def judge(self, response: Response, batch: Sequence[Payload]) -> Sequence[Outcome]:
        return [Delivered()] * len(batch)


def listening(settings: Settings) -> tuple[Settings, Listening]:
    destination = Listening(name="listening", livemode="both")
    return replace(settings, destinations=(destination,)), destination


def test_history_travels_in_requests_of_its_own(engine: Engine, settings: Settings) -> None:
    with_listener, destination = listening(settings)
    for number in range(1, 7):
        processed(engine, with_listener, event(number, "invoice.paid", an_invoice(f"in_{number}")))
    processed(engine, with_listener, event(9, "checkout.session.completed", a_session()))
    live = "UPDATE deliveries SET historical = (id % 3 = 0) RETURNING historical"
    with engine.begin() as connection:
        found = [row[0] for row in connection.execute(text(live))]
        connection.execute(text("UPDATE work SET due_at = clock_timestamp()"))
    serve(engine, with_listener)

    assert len(found) == sum(map(len, destination.batches)) > 4
    assert all(len(set(batch)) == 1 for batch in destination.batches)
    assert {batch[0] for batch in destination.batches} == {True, False}


def test_what_happened_two_days_before_it_is_told_is_history(
    engine: Engine, settings: Settings
) -> None:
    with_listener, _ = listening(settings)
    [(now,)] = rows(engine, "SELECT extract(epoch FROM clock_timestamp())::bigint")
    for number, age in ((1, 47 * 3600), (2, 49 * 3600)):
        moment = {"status_transitions": {"paid_at": now - age}}
        invoice = an_invoice(f"in_{number}", f"sub_{number}", metadata=IDS, **moment)
        processed(engine, with_listener, event(number, "invoice.paid", invoice, created=now - age))

    assert rows(
        engine,
        """SELECT e.invoice, d.historical FROM deliveries d
           JOIN analytics_events e ON e.id = d.analytics_event_id
           WHERE e.name = 'payment_succeeded' ORDER BY 1""",
    ) == [("in_1", False), ("in_2", True)]


def test_a_property_that_may_not_leave_is_in_no_payload(engine: Engine, settings: Settings) -> None:
    with_listener, destination = listening(settings)
    shy = replace(destination, properties=("*", "!customer_id", "!utm_*"))
    both = replace(with_listener, destinations=(shy,))
    said = {**IDS, "utm_source": "news"}
    processed(engine, both, event(1, "invoice.paid", an_invoice(metadata=said)))

    told = rows(engine, "SELECT convert_from(payload, 'UTF8') FROM deliveries")
    [stored] = rows(
        engine, "SELECT properties FROM analytics_events WHERE name = 'payment_succeeded'"
    )
    assert {"customer_id", "utm_source"} <= stored[0].keys()
    assert told
    assert not {"customer_id", "utm_source"} & {
        name for row in told for name in orjson.loads(row[0])["properties"]
    }


# --- one conversion, told by the browser and by us


def conversions(engine: Engine) -> dict[str, str | None]:
    """{analytics event's name and invoice: the conversion id that was told with it}"""
    told = rows(
        engine,
        """SELECT e.name || ':' || coalesce(e.invoice, ''), convert_from(d.payload, 'UTF8')
           FROM deliveries d JOIN analytics_events e ON e.id = d.analytics_event_id""",
    )
    return {name: orjson.loads(payload)["conversion"] for name, payload in told}


PROMISED = {**IDS, "event_id": "of-the-subscription"}
STARTED = event(
    1, "customer.subscription.created", a_subscription(created=CREATED, metadata=PROMISED)
)
SAID = {**IDS, "event_id": "b7c1"}
COMPLETED = event(2, "checkout.session.completed", {**SESSION, "metadata": SAID})
PAID = event(
    3,
    "invoice.paid",
    an_invoice(parent={"subscription_details": {"subscription": "sub_1", "metadata": PROMISED}}),
)
NEXT = event(
    4,
    "invoice.paid",
    an_invoice(
        "in_2",
        billing_reason="subscription_cycle",
        parent={"subscription_details": {"subscription": "sub_1", "metadata": PROMISED}},
    ),
)


@pytest.mark.parametrize("order", list(permutations([STARTED, COMPLETED, PAID])))
def test_the_sessions_event_id_is_that_of_its_own_conversion_in_any_order(
    engine: Engine, settings: Settings, order: Sequence[Json]
) -> None:
    with_listener, _ = listening(settings)
    for one in order:
        processed(engine, with_listener, one)
    processed(engine, with_listener, NEXT)

    told = conversions(engine)
    assert told["payment_succeeded:in_1"] == "b7c1"
    assert told["subscription_started:"] == "b7c1"
    assert told["payment_succeeded:in_2"] is None  # a renewal is no browser's
    assert told["checkout_completed:"] is None
    assert "of-the-subscription" not in str(rows(engine, "SELECT identity FROM analytics_events"))


@pytest.mark.parametrize("mode", ["book", "hold"])
def test_a_one_off_payment_has_its_sessions_event_id_in_any_order(
    engine: Engine, settings: Settings, mode: Literal["book", "hold"]
) -> None:
    with_listener, _ = listening(replace(settings, standalone_payments=mode))
    changes = {"mode": "payment", "subscription": None, "created": CREATED - 60, "metadata": SAID}
    for one, order in (("1", (0, 1)), ("2", (1, 0))):
        said = {**SAID, "event_id": f"b{one}"}
        intent = an_intent(id=f"pi_{one}", latest_charge=f"ch_{one}", metadata=said)
        session = a_session(**changes | {"id": f"cs_{one}", "metadata": said})
        session["payment_intent"] = f"pi_{one}"
        both = [
            event(int(one) * 10, "payment_intent.succeeded", intent),
            event(int(one) * 10 + 1, "checkout.session.completed", session),
        ]
        for each in order:
            processed(engine, with_listener, both[each])

    told = rows(
        engine,
        """SELECT e.key, convert_from(d.payload, 'UTF8')::json ->> 'conversion'
           FROM deliveries d JOIN analytics_events e ON e.id = d.analytics_event_id
           WHERE e.name = 'payment_succeeded' ORDER BY 1""",
    )
    assert told == [("payment:pi_1", "b1"), ("payment:pi_2", "b2")]


def test_two_transactions_that_want_the_same_event_ids_do_not_wait_for_each_other(
    engine: Engine,
) -> None:
    one, other = UUID(int=1), UUID(int=2)
    first, last = (("", True), "payment_succeeded", "x"), (("", True), "trial_started", "x")
    waits = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")

    def claim_both() -> set[UUID]:
        with engine.begin() as connection:  # the order of the events is not that of their ids
            return claim(connection, {one: last, other: first})

    with ThreadPoolExecutor(1) as pool, engine.begin() as connection:
        assert claim(connection, {UUID(int=3): first}) == {UUID(int=3)}
        theirs = pool.submit(claim_both)
        with engine.connect() as watching:
            while not watching.execute(waits).scalar_one():
                watching.rollback()
                sleep(0.01)
        assert claim(connection, {UUID(int=4): last}) == {UUID(int=4)}
        connection.commit()
        assert theirs.result(timeout=10) == set()


def test_an_event_id_that_comes_twice_is_the_firsts_and_the_second_is_warned_of(
    engine: Engine, settings: Settings
) -> None:
    with_listener, _ = listening(settings)
    for sub, invoice, session in (("sub_1", "in_1", "cs_1"), ("sub_2", "in_2", "cs_2")):
        said = {**SESSION, "id": session, "subscription": sub, "invoice": invoice, "metadata": SAID}
        processed(
            engine,
            with_listener,
            event(int(sub[-1]) * 10, "checkout.session.completed", said),
            event(int(sub[-1]) * 10 + 1, "invoice.paid", an_invoice(invoice, sub)),
        )
    for _ in ("again", "and again"):  # a replay changes nothing
        with engine.begin() as connection:
            process_again(connection, [1, 2, 3, 4])
        assert process(engine, with_listener) == 4

    told = conversions(engine)
    assert (told["payment_succeeded:in_1"], told["payment_succeeded:in_2"]) == ("b7c1", None)
    assert rows(
        engine, "SELECT invoice, warning FROM analytics_events WHERE name = 'payment_succeeded'"
    ) == [
        ("in_1", None),
        ("in_2", "its event_id is that of an earlier conversion, so it has our own id"),
    ]


def test_accounts_have_event_ids_of_their_own_and_a_dedupe_id_is_always_ours(
    engine: Engine, settings: Settings
) -> None:
    with_listener, _ = listening(settings)
    for account in ("acct_1", "acct_2"):
        processed(
            engine,
            with_listener,
            {**COMPLETED, "account": account},
            {**event(3, "invoice.paid", an_invoice()), "account": account},
        )
    told = rows(
        engine,
        """SELECT e.account, d.dedupe_id, convert_from(d.payload, 'UTF8')::json ->> 'conversion'
           FROM deliveries d JOIN analytics_events e ON e.id = d.analytics_event_id
           WHERE e.name = 'payment_succeeded' ORDER BY 1""",
    )

    assert told == [
        (one, dedupe_id("listening", analytics_event_id(one, True, "payment:in_1")), "b7c1")
        for one in ("acct_1", "acct_2")
    ]
