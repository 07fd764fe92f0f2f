"""Replay: the same keys and ids again, refused where the destination would count twice."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, text

from app.core.envelope import open_envelope
from app.core.outcome import MAY_HAVE_ARRIVED
from app.demo.receiver import AMPLITUDE_KEY, WEBHOOK_SECRET
from app.demo.saas import simulate
from app.process import process
from app.replay import NotFound, Plan, Wanted, plan, replay
from app.settings import Settings
from app.store.webhook_events import keep


@pytest.fixture
def told(engine: Engine, with_destinations: Callable[..., Settings]) -> Settings:
    """A small SaaS processed for two destinations, of whose deliveries one each is dead."""
    settings = with_destinations(
        amplitude={"api_key": AMPLITUDE_KEY},
        webhook={"url": "http://127.0.0.1:9/", "secret": WEBHOOK_SECRET},
    )
    story = simulate(seed=1, customers=20, now=1_790_000_000)
    with engine.begin() as connection:
        for one in story.webhooks:
            keep(connection, open_envelope(one.body), one.body, "webhook")
    while process(engine, settings):
        pass
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM work"))
        connection.execute(
            text("""
                UPDATE deliveries SET state = 'dead' WHERE id IN
                    (SELECT min(id) FROM deliveries GROUP BY destination)
            """)
        )
    return settings


def dead(engine: Engine, destination: str) -> int:
    query = text("SELECT id FROM deliveries WHERE state = 'dead' AND destination = :name")
    with engine.connect() as connection:
        found: int = connection.execute(query, {"name": destination}).scalar_one()
        return found


def everything(engine: Engine) -> tuple[object, ...]:
    names = ("revenue_entries", "analytics_events", "deliveries")
    with engine.connect() as connection:
        return tuple(
            connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() for name in names
        )


def test_processing_everything_again_changes_nothing(engine: Engine, told: Settings) -> None:
    before = everything(engine)
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO work (lane, ref_id) SELECT 'process', id FROM webhook_events")
        )
    while process(engine, told):
        pass

    assert everything(engine) == before


def test_a_dead_delivery_inside_the_window_is_due_again(engine: Engine, told: Settings) -> None:
    number = dead(engine, "amplitude")
    with engine.begin() as connection:
        planned = plan(connection, told, Wanted(ids=[str(number)]))
        rows = replay(connection, planned, who="tests", why="", asked={})
        work = connection.execute(text("SELECT lane, ref_id FROM work")).all()

    assert planned == Plan(webhook_events=[], deliveries=[number], too_late=[])
    assert (rows, [tuple(row) for row in work]) == (1, [("to:amplitude", number)])


def test_a_dead_delivery_past_the_window_is_refused_unless_duplicates_are_allowed(
    engine: Engine, told: Settings
) -> None:
    amplitude, webhook = dead(engine, "amplitude"), dead(engine, "webhook")
    with engine.begin() as connection:
        connection.execute(text("UPDATE deliveries SET created_at = created_at - interval '8 d'"))
        planned = plan(connection, told, Wanted(dead=True))
        allowed = plan(connection, told, Wanted(dead=True, allow_duplicates=True))

    assert planned == Plan(webhook_events=[], deliveries=[webhook], too_late=[amplitude])
    assert sorted(allowed.deliveries) == sorted([amplitude, webhook])


def test_what_may_have_arrived_is_refused_unless_duplicates_are_allowed(
    engine: Engine, told: Settings
) -> None:
    number = dead(engine, "webhook")
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE deliveries SET reason = :reason WHERE id = :id"),
            {"reason": f"{MAY_HAVE_ARRIVED}: ReadTimeout", "id": number},
        )
        planned = plan(connection, told, Wanted(ids=[str(number)]))
        allowed = plan(connection, told, Wanted(ids=[str(number)], allow_duplicates=True))

    assert planned == Plan(webhook_events=[], deliveries=[], too_late=[number])
    assert allowed == Plan(webhook_events=[], deliveries=[number], too_late=[])


def test_an_unknown_id_is_named(engine: Engine, told: Settings) -> None:
    with engine.begin() as connection, pytest.raises(NotFound, match="evt_none"):
        plan(connection, told, Wanted(ids=["evt_none"]))
