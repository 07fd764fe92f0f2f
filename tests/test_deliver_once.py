"""What keeps a delivery from being sent when it must not be, or counted against the wrong one:
leases, marks, ages, crashes, probes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from time import monotonic
from typing import Any

import pytest
from sqlalchemy import Engine

from app.core.outcome import Outcome
from app.deliver import LEASE, POISON, deliver
from app.demo.receiver import AMPLITUDE_KEY, WEBHOOK_SECRET, Misbehaviour, Post, Receiver, receiver
from app.destinations.base import Payload, Response
from app.destinations.http import Http
from app.destinations.webhook import Webhook
from app.lane import Lane
from app.settings import Settings
from app.store import deliveries, health, work
from tests.test_deliver import (
    DELIVERED,
    answers,
    make_due,
    only,
    owe,
    recorded_health,
    refusal,
    resume,
    schedule,
    serve,
    sql,
    states,
    suspended,
)

pytestmark = pytest.mark.usefixtures("planted")  # what is delivered does not matter here
DROPPED = "may have arrived, and is not sent twice"


@pytest.fixture
def tools() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture
def both(with_destinations: Callable[..., Settings], tools: Receiver) -> Settings:
    return with_destinations(
        amplitude={"api_key": AMPLITUDE_KEY, "url": tools.amplitude_url},
        webhook={"secret": WEBHOOK_SECRET, "url": tools.webhook_url},
    )


@pytest.fixture
def webhook(both: Settings) -> Settings:
    return only(both, "webhook")


@pytest.fixture
def amplitude(both: Settings) -> Settings:
    return only(both, "amplitude")


def with_options(settings: Settings, **options: Any) -> Settings:
    """The same destinations, each with these settings."""
    found = tuple(replace(one, **options) for one in settings.destinations)
    return replace(settings, destinations=found)


def requests(tools: Receiver) -> int:
    totals = tools.snapshot()
    return totals.amplitude.requests + totals.webhook.requests


# Leases


@pytest.mark.parametrize("place", ["deliver.after_claim", "deliver.before_post"])
def test_a_worker_that_was_frozen_past_its_lease_posts_nothing(
    engine: Engine,
    webhook: Settings,
    tools: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    slept = 0.0

    def reach(name: str) -> None:
        nonlocal slept
        if name == place:
            slept = LEASE + 1
            make_due(engine)

    monkeypatch.setattr("app.deliver.reach", reach)
    monkeypatch.setattr("app.deliver.monotonic", lambda: monotonic() + slept)
    owe(engine, webhook, 1, 2)

    serve(engine, webhook)

    assert requests(tools) == 0
    assert schedule(engine) == {1: (0, 0, False), 2: (0, 0, False)}


def test_no_post_begins_that_could_outlast_the_lease(
    engine: Engine, webhook: Settings, tools: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = 0.0

    def script(_post: Post) -> None:
        nonlocal passed
        passed += 6.0

    monkeypatch.setattr("app.deliver.monotonic", lambda: monotonic() + passed)
    tools.script = script
    owe(engine, webhook, 1, 2, 3, 4)

    serve(engine, webhook)

    # After 12 of the lease's 40 seconds less than two deadlines are left.
    assert requests(tools) == 2
    assert schedule(engine) == {3: (0, 0, False), 4: (0, 0, False)}


def test_outcomes_are_written_although_the_connections_to_postgres_broke_meanwhile(
    engine: Engine, amplitude: Settings, tools: Receiver
) -> None:
    def script(_post: Post) -> None:
        sql(
            engine,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )

    tools.script = script
    with engine.connect(), engine.connect():
        pass  # several to be broken
    owe(engine, amplitude, 1, 2)

    lane = serve(engine, amplitude)

    assert states(engine) == {1: DELIVERED, 2: DELIVERED}
    assert (schedule(engine), lane.fenced, requests(tools)) == ({}, 0, 1)


@dataclass(frozen=True, kw_only=True)
class Fragile(Webhook):
    """A page that fails on one event's answer."""

    def judge(self, response: Response, batch: Sequence[Payload]) -> Sequence[Outcome]:
        if b"payment:in_2" in batch[0].body:
            raise LookupError("no such field")
        return super().judge(response, batch)


def test_a_page_that_fails_on_one_row_takes_no_other_with_it(
    engine: Engine, webhook: Settings, tools: Receiver
) -> None:
    fragile = Fragile(name="webhook", url=tools.webhook_url, secret=WEBHOOK_SECRET)
    owe(engine, webhook, 1, 2, 3)

    with closing(Http(allow_local=True)) as http, pytest.raises(LookupError):
        deliver(Lane(engine, fragile, http))

    assert states(engine)[1] == DELIVERED
    assert schedule(engine) == {2: (1, 0, True), 3: (0, 0, False)}


# Who died of what


def test_a_lease_that_a_restart_of_postgres_cut_into_is_no_crash(
    engine: Engine, amplitude: Settings
) -> None:
    owe(engine, amplitude, 1, 2)
    with engine.begin() as connection:
        deliveries.claim(connection, "to:amplitude", 500, LEASE)
    sql(
        engine,
        "UPDATE work SET leased_at = pg_postmaster_start_time() - interval '1 s' WHERE ref_id = 1",
    )
    make_due(engine)

    with engine.begin() as connection:
        deliveries.claim(connection, "to:amplitude", 500, LEASE)

    assert schedule(engine) == {1: (1, 0, True), 2: (1, 1, True)}


def test_what_was_given_back_is_no_crash(engine: Engine, amplitude: Settings) -> None:
    owe(engine, amplitude, 1)
    for _ in range(3):
        with engine.begin() as connection:
            [row] = deliveries.claim(connection, "to:amplitude", 500, LEASE)
            work.give_back(connection, "to:amplitude", {1: row.token})

    assert schedule(engine) == {1: (0, 0, False)}


def test_whoever_was_tried_and_killed_nobody_is_no_suspect_any_more(
    engine: Engine, amplitude: Settings, tools: Receiver
) -> None:
    tools.script = answers(refusal(500))
    owe(engine, amplitude, 1, 2)
    sql(engine, f"UPDATE work SET crashes = {POISON - 1} WHERE ref_id = 1")
    sql(engine, "UPDATE work SET crashes = 2, due_at = due_at + interval '1 h' WHERE ref_id = 2")

    serve(engine, amplitude)

    assert schedule(engine) == {1: (1, 0, False), 2: (0, 2, False)}


def test_a_suspect_gets_its_turn_while_others_keep_coming(
    engine: Engine, webhook: Settings, tools: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.deliver.CLAIM", 1)
    posted: list[bytes] = []
    tools.script = lambda post: posted.append(post.body)
    owe(engine, webhook, 1, 2, 3, 4)
    sql(engine, "UPDATE work SET crashes = 3 WHERE ref_id = 4")

    [destination] = webhook.destinations
    with closing(Http(allow_local=True)) as http:
        lane = Lane(engine, destination, http)
        while deliver(lane):
            pass

    order = [next(n for n in range(1, 5) if b'payment:in_%d"' % n in body) for body in posted]
    assert order == [1, 4, 2, 3]


# At most once


UNCLEAR = {
    "connection dropped after the request": (Misbehaviour(drop=True), "RemoteDisconnected"),
    "500": (refusal(500, b"oh no"), "500 oh no"),
    "502": (refusal(502), "502"),
    "504": (refusal(504), "504"),
    "507": (refusal(507), "507"),
}
CLEAR = {
    "503": refusal(503),
    "429": refusal(429),
    "404": refusal(404),
    "408": refusal(408),
    "302": refusal(302),
}


@pytest.mark.parametrize("answer", UNCLEAR)
def test_what_may_have_arrived_is_not_sent_again_if_the_setting_says_so(
    engine: Engine, webhook: Settings, tools: Receiver, answer: str
) -> None:
    misbehaviour, words = UNCLEAR[answer]
    tools.script = answers(misbehaviour)
    settings = with_options(webhook, ambiguous="drop")
    owe(engine, settings, 1)

    serve(engine, settings)
    resume(engine)
    serve(engine, settings)

    assert states(engine) == {1: ("dead", f"{DROPPED}: {words}")}
    assert (schedule(engine), requests(tools)) == ({}, 1)


def test_a_2xx_that_says_it_failed_may_have_arrived(
    engine: Engine, amplitude: Settings, tools: Receiver
) -> None:
    tools.script = answers(refusal(200, {"code": 500}))
    settings = with_options(amplitude, ambiguous="drop")
    owe(engine, settings, 1)

    serve(engine, settings)

    assert states(engine) == {1: ("dead", f'{DROPPED}: 200 {{"code":500}}')}


@pytest.mark.parametrize("answer", CLEAR)
def test_what_was_refused_is_sent_again_all_the_same(
    engine: Engine, webhook: Settings, tools: Receiver, answer: str
) -> None:
    tools.script = answers(CLEAR[answer])
    settings = with_options(webhook, ambiguous="drop")
    owe(engine, settings, 1)

    serve(engine, settings)
    resume(engine)
    make_due(engine)
    serve(engine, settings)

    assert states(engine) == {1: DELIVERED}
    assert requests(tools) == 2


def test_what_never_left_is_sent_again_all_the_same(
    engine: Engine, webhook: Settings, tools: Receiver
) -> None:
    settings = with_options(webhook, ambiguous="drop", url="http://127.0.0.1:1/")
    owe(engine, settings, 1)

    serve(engine, settings)

    assert states(engine) == {1: ("pending", None)}
    assert schedule(engine) == {1: (1, 0, False)}


@pytest.mark.parametrize(
    ("ambiguous", "state", "posts"),
    [
        ("drop", ("dead", f"{DROPPED}: a worker died when it was being posted"), 1),
        ("retry", DELIVERED, 2),
    ],
)
def test_of_what_a_dead_worker_held_only_what_it_was_posting_may_have_arrived(
    engine: Engine,
    webhook: Settings,
    tools: Receiver,
    ambiguous: str,
    state: tuple[str, str | None],
    posts: int,
) -> None:
    owe(engine, webhook, 1, 2)
    with engine.begin() as connection:
        held = deliveries.claim(connection, "to:webhook", 500, LEASE)
        tokens = {row.id: row.token for row in held}
        assert work.mark_posting(connection, "to:webhook", {1: tokens[1]}) == {1}
    make_due(engine)

    serve(engine, with_options(webhook, ambiguous=ambiguous))

    assert states(engine) == {1: state, 2: DELIVERED}
    assert requests(tools) == posts


def test_every_post_of_such_a_destination_is_marked_before_and_unmarked_by_its_outcome(
    engine: Engine, webhook: Settings, tools: Receiver
) -> None:
    marked: list[list[tuple[Any, ...]]] = []

    def script(post: Post) -> Misbehaviour | None:
        marked.append(sql(engine, "SELECT ref_id FROM work WHERE posting ORDER BY ref_id"))
        return refusal(404) if post.number == 1 else None

    tools.script = script
    settings = with_options(webhook, ambiguous="drop")
    owe(engine, settings, 1, 2)

    serve(engine, settings)

    assert marked == [[(1,)], [(2,)]]
    assert sql(engine, "SELECT ref_id, posting, leased FROM work") == [(1, False, False)]


def test_a_row_that_is_another_workers_by_now_is_not_posted(
    engine: Engine, webhook: Settings, tools: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = with_options(webhook, ambiguous="drop")
    owe(engine, settings, 1, 2)

    def taken(name: str) -> None:
        if name == "deliver.after_claim":
            sql(engine, "UPDATE work SET token = nextval('work_tokens') WHERE ref_id = 1")

    monkeypatch.setattr("app.deliver.reach", taken)
    serve(engine, settings)

    assert states(engine) == {1: ("pending", None), 2: DELIVERED}
    assert requests(tools) == 1


# Too late


def test_what_happened_too_long_ago_is_skipped_and_says_so(
    engine: Engine, webhook: Settings, tools: Receiver
) -> None:
    settings = with_options(webhook, max_lateness=3 * 86_400)
    owe(engine, settings, 1, 2, 3)
    sql(engine, "UPDATE analytics_events SET occurred_at = clock_timestamp()")
    sql(
        engine,
        "UPDATE analytics_events SET occurred_at = occurred_at - interval '73 h' WHERE id = 2",
    )

    serve(engine, settings)

    late = ("skipped", "too late: it happened 3 days, 1:00:00 ago, 3 days, 0:00:00 at most")
    assert states(engine) == {1: DELIVERED, 2: late, 3: DELIVERED}
    assert (schedule(engine), requests(tools)) == ({}, 2)


def test_what_becomes_too_late_while_it_waits_is_skipped_then(
    engine: Engine, webhook: Settings, tools: Receiver
) -> None:
    tools.script = lambda post: refusal(500)
    settings = with_options(webhook, max_lateness=3600)
    owe(engine, settings, 1)
    sql(engine, "UPDATE analytics_events SET occurred_at = clock_timestamp() - interval '59 min'")
    serve(engine, settings)
    assert states(engine) == {1: ("pending", None)}

    sql(engine, "UPDATE analytics_events SET occurred_at = occurred_at - interval '2 min'")
    make_due(engine)
    serve(engine, settings)

    [(state, reason)] = states(engine).values()
    assert (state, str(reason)[:29]) == ("skipped", "too late: it happened 1:01:00")
    assert requests(tools) == 1


@dataclass(frozen=True, kw_only=True)
class Punctual(Webhook):
    LATENESS = timedelta(hours=72)


def test_a_kinds_own_lateness_holds_unless_a_setting_says_otherwise() -> None:
    options: dict[str, Any] = {
        "name": "punctual",
        "url": "https://a.example/",
        "secret": WEBHOOK_SECRET,
    }

    assert Punctual(**options).lateness == timedelta(hours=72)
    assert Punctual(**options, max_lateness=60).lateness == timedelta(seconds=60)
    assert Webhook(**options).lateness is None


# Probes


def test_two_workers_do_not_probe_at_once(
    engine: Engine, webhook: Settings, tools: Receiver
) -> None:
    def script(post: Post) -> None:
        if post.number == 1:
            serve(engine, webhook)  # another worker, while the probe is under way

    tools.script = script
    owe(engine, webhook, 1, 2, 3)
    with engine.begin() as connection:
        health.suspend(connection, "webhook", 60, "429")
    resume(engine)

    serve(engine, webhook)

    assert requests(tools) == 1
    assert states(engine) == {1: DELIVERED, 2: ("pending", None), 3: ("pending", None)}
    assert schedule(engine) == {2: (0, 0, False), 3: (0, 0, False)}
    assert recorded_health(engine) == [("webhook", 0, True, None)]


def test_of_two_that_saw_the_pause_end_one_takes_the_probe(engine: Engine) -> None:
    with engine.begin() as connection:
        health.suspend(connection, "webhook", 0, "429")
        taken = [health.take_probe(connection, "webhook", 30) for _ in range(2)]

    assert taken == [True, False]


def test_a_probe_that_was_not_sent_is_left_to_others(
    engine: Engine, webhook: Settings, tools: Receiver
) -> None:
    owe(engine, webhook, 1)
    with engine.begin() as connection:
        health.suspend(connection, "webhook", 0, "429")

    [destination] = webhook.destinations
    with closing(Http(allow_local=True)) as http:
        deliver(Lane(engine, destination, http, lambda: True))
    assert (suspended(engine), requests(tools)) == ({}, 0)

    serve(engine, webhook)
    assert states(engine) == {1: DELIVERED}


def test_a_probe_that_is_refused_for_its_own_sake_finds_the_destination_well(
    engine: Engine, webhook: Settings, tools: Receiver
) -> None:
    tools.script = answers(refusal(422, b"no such plan"))
    owe(engine, webhook, 1, 2)
    with engine.begin() as connection:
        health.suspend(connection, "webhook", 0, "429")

    serve(engine, webhook)

    assert states(engine)[1] == ("dead", "422 no such plan")
    assert recorded_health(engine) == [("webhook", 0, True, None)]


def test_a_short_pause_does_not_end_a_long_one(engine: Engine) -> None:
    with engine.begin() as connection:
        health.suspend(connection, "webhook", 3600, "401")
        health.suspend(connection, "webhook", 30, "429")
        health.failed(connection, "webhook", "500", health.BREAKS_AT)

    assert 3590 < suspended(engine)["webhook"] <= 3600


def test_a_suspended_lane_is_not_overdue(engine: Engine, both: Settings) -> None:
    owe(engine, both, 1)
    sql(engine, "UPDATE work SET due_at = due_at - interval '1 h' WHERE lane = 'to:webhook'")
    lanes = ["to:amplitude", "to:webhook"]

    with engine.begin() as connection:
        before = work.oldest_due(connection, lanes)
        health.suspend(connection, "webhook", 60, "401")
        after = work.oldest_due(connection, lanes)

    assert before is not None
    assert after is not None
    assert (round(before / 3600), round(after / 3600)) == (1, 0)


def test_a_destination_that_asks_for_no_wait_gets_none(
    engine: Engine, webhook: Settings, tools: Receiver
) -> None:
    tools.script = answers(refusal(429, retry_after="0"))
    owe(engine, webhook, 1)

    serve(engine, webhook)

    assert suspended(engine) == {}
