"""What a worker says to the log when a destination stops taking, or deliveries die: enough to be
woken by, and nothing of a person."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy import Engine
from structlog.testing import capture_logs

from app.demo.receiver import WEBHOOK_SECRET, Misbehaviour, Receiver, receiver
from app.settings import Settings
from tests.test_deliver import make_due, owe, refusal, resume, serve, sql

pytestmark = pytest.mark.usefixtures("planted")  # what is delivered does not matter here


@pytest.fixture
def tools() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture
def webhook(with_destinations: Callable[..., Settings], tools: Receiver) -> Settings:
    return with_destinations(webhook={"secret": WEBHOOK_SECRET, "url": tools.webhook_url})


def said(engine: Engine, settings: Settings, times: int = 1) -> Sequence[Mapping[str, Any]]:
    with capture_logs() as logs:
        for _ in range(times):
            serve(engine, settings)
    return [one for one in logs if one["event"].startswith("deliver.")]


def test_each_opening_of_the_breaker_is_one_line(
    engine: Engine, webhook: Settings, tools: Receiver
) -> None:
    tools.script = lambda post: refusal(500, b"no room for ann@shop.example in 17")
    owe(engine, webhook, *range(1, 25))

    until_it_opens = said(engine, webhook, times=4)  # of five requests each
    resume(engine)
    make_due(engine)
    probe = said(engine, webhook)

    line = {
        "event": "deliver.breaker_opened",
        "log_level": "error",
        "destination": "webhook",
        "reason": "500 no room for <email> in <n>",
    }
    assert until_it_opens == [{**line, "seconds": 30}]
    assert probe == [{**line, "seconds": 60}]


def test_a_wait_that_was_asked_for_is_a_warning(
    engine: Engine, webhook: Settings, tools: Receiver
) -> None:
    headers = {"Retry-After": "120"}
    tools.script = lambda post: Misbehaviour(status=429, body=b"slower", headers=headers)
    owe(engine, webhook, 1, 2)

    assert said(engine, webhook) == [
        {
            "event": "deliver.throttled",
            "log_level": "warning",
            "destination": "webhook",
            "reason": "429 slower",
            "seconds": 120,
        }
    ]


def test_all_that_died_at_once_is_one_line_with_the_reason_of_most(
    engine: Engine, webhook: Settings, tools: Receiver
) -> None:
    words = iter([b"no user 4711", b"no plan", b"no user 4712"])
    tools.script = lambda post: refusal(400, next(words))
    owe(engine, webhook, 1, 2, 3)

    assert said(engine, webhook) == [
        {
            "event": "deliver.dead",
            "log_level": "error",
            "destination": "webhook",
            "rows": 3,
            "reason": "400 no user <n>",
            "reasons": 2,
        }
    ]


def test_what_is_dead_before_it_is_sent_is_said_too(engine: Engine, webhook: Settings) -> None:
    owe(engine, webhook, 1)
    sql(engine, "UPDATE work SET crashes = 6")

    [line] = said(engine, webhook)

    assert (line["event"], line["rows"], line["reason"]) == (
        "deliver.dead",
        1,
        "poison: <n> workers died with it in hand",
    )
