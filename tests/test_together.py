"""The shared commit: whoever waits gets the outcome of its own item, whatever befalls the batch."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text

from app import together
from app.core.envelope import Envelope, open_envelope
from app.demo.saas import simulate
from app.store.webhook_events import Arrived, keep_all
from app.together import Together


def held_up(
    write: Callable[[Sequence[int]], Sequence[int | Exception]],
) -> tuple[Together[int, int], threading.Event, list[int]]:
    """A `Together` whose first batch waits for the event, and the sizes of its batches."""
    go, sizes = threading.Event(), list[int]()

    def slow(items: Sequence[int]) -> Sequence[int | Exception]:
        sizes.append(len(items))
        if len(sizes) == 1:
            go.wait(10)
        return write(items)

    return Together(slow), go, sizes


def all_at_once(shared: Together[int, int], go: threading.Event, items: range) -> list[object]:
    def one(item: int) -> object:
        try:
            return shared.do(item)
        except Exception as error:
            return repr(error)

    with ThreadPoolExecutor(len(items)) as pool:
        first = pool.submit(one, items[0])
        time.sleep(0.1)
        rest = [pool.submit(one, item) for item in items[1:]]
        time.sleep(0.2)
        go.set()
        return [first.result(10), *(each.result(10) for each in rest)]


def test_those_who_came_while_one_batch_was_written_share_the_next() -> None:
    shared, go, sizes = held_up(lambda items: [item * 10 for item in items])

    outcomes = all_at_once(shared, go, range(30))

    assert outcomes == [item * 10 for item in range(30)]
    assert sizes == [1, 29]


def test_a_batch_that_fails_fails_all_of_it_and_nobody_waits_for_ever() -> None:
    def write(items: Sequence[int]) -> Sequence[int]:
        raise RuntimeError("down")

    shared, go, sizes = held_up(write)

    outcomes = all_at_once(shared, go, range(10))

    assert outcomes == ["RuntimeError('down')"] * 10
    assert sizes == [1, 9]
    with pytest.raises(RuntimeError, match="down"):
        shared.do(1)


def test_an_item_refused_alone_leaves_its_neighbours() -> None:
    bad = ValueError("three")
    shared, go, _ = held_up(lambda items: [bad if item == 3 else item for item in items])

    assert all_at_once(shared, go, range(6)) == [0, 1, 2, "ValueError('three')", 4, 5]


def test_who_waits_too_long_is_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "PATIENCE", 0.05)
    shared, go, _ = held_up(lambda items: list(items))

    outcomes = all_at_once(shared, go, range(4))

    assert outcomes == [0, "TooLate()", "TooLate()", "TooLate()"]


def arrived(number: int) -> Arrived:
    one = simulate(seed=1, customers=20, now=1_790_000_000).webhooks[number]
    return Arrived(open_envelope(one.body), one.body, "webhook")


def test_twins_in_one_batch_are_kept_once_and_one_of_them_is_new(engine: Engine) -> None:
    one, other = arrived(0), arrived(1)
    with engine.begin() as connection:
        new = keep_all(connection, [one, other, Arrived(one.envelope, one.raw, "webhook")])
        again = keep_all(connection, [other, one])
        rows = connection.execute(text("SELECT count(*) FROM webhook_events")).scalar_one()

    assert sorted(new) == [False, True, True]
    assert new[1] is True
    assert (again, rows) == ([False, False], 2)


def test_what_is_kept_is_what_came(engine: Engine) -> None:
    one = arrived(0)
    with engine.begin() as connection:
        keep_all(connection, [one])
        row = connection.execute(text("SELECT * FROM webhook_events")).mappings().one()

    kept = Envelope(
        event_id=row["event_id"],
        type=row["type"],
        created=row["created"],
        account=row["account"],
        livemode=row["livemode"],
        api_version=row["api_version"],
        thin=False,
    )
    assert (kept, bytes(row["raw"])) == (one.envelope, one.raw)
