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


class Hanging:
    """A writer that hangs whenever `hangs` is set, then fails or ends well; `written` is what it
    was given."""

    def __init__(self, *, fails: bool = False) -> None:
        self.hangs, self.goes_on, self.began = False, threading.Event(), threading.Event()
        self.fails = fails
        self.written: list[list[int]] = []

    def __call__(self, items: Sequence[int]) -> Sequence[int]:
        self.written.append(list(items))
        self.began.set()
        time.sleep(0.02)
        if self.hangs:
            assert self.goes_on.wait(10)
            if self.fails:
                raise RuntimeError("down")
        return items


def asked(shared: Together[int, int], item: int) -> tuple[object, float]:
    """Its outcome, and the seconds until it was told."""
    began = time.monotonic()
    try:
        outcome: object = shared.do(item)
    except Exception as error:
        outcome = repr(error)
    return outcome, time.monotonic() - began


def test_the_first_who_loses_patience_takes_all_who_wait_with_him() -> None:
    writer = Hanging()
    writer.hangs = True
    shared = Together(writer, patience=0.5)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(asked, shared, 0)
        assert writer.began.wait(5)
        time.sleep(0.3)
        others = [pool.submit(asked, shared, item) for item in (1, 2, 3)]

        assert first.result()[0] == "TooLate()"
        assert [each.result()[0] for each in others] == ["TooLate()"] * 3
        assert max(each.result()[1] for each in others) < 0.45
    writer.hangs = False
    writer.goes_on.set()

    assert until_served(shared, 4) == 4
    assert writer.written == [[0], [4]], "who was turned away is not written any more"
    assert all_at_once(shared, threading.Event(), range(5, 15)) == list(range(5, 15))


def until_served(shared: Together[int, int], item: int) -> object:
    """Its outcome once the writer is free."""
    deadline = time.monotonic() + 5
    while (outcome := asked(shared, item)[0]) == "TooLate()" and time.monotonic() < deadline:
        time.sleep(0.01)
    return outcome


def test_while_the_writer_hangs_others_are_turned_away_at_once() -> None:
    writer = Hanging()
    writer.hangs = True
    shared = Together(writer, patience=0.2)
    assert asked(shared, 0)[0] == "TooLate()"

    later = [asked(shared, item) for item in range(1, 20)]

    assert {outcome for outcome, _ in later} == {"TooLate()"}
    assert sum(seconds for _, seconds in later) < 0.1
    writer.goes_on.set()


def test_after_a_write_that_hung_and_failed_one_at_a_time_tries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(together, "SLOW", 0.05)
    writer = Hanging(fails=True)
    writer.hangs = True
    shared = Together(writer, patience=5)
    with ThreadPoolExecutor(2) as pool:
        for item in (0, 1):  # the second one finds out that it still hangs
            writer.began.clear()
            trying = pool.submit(asked, shared, item)
            assert writer.began.wait(5)
            if item == 1:
                outcome, seconds = asked(shared, 2)
                assert (outcome, seconds < 0.1) == ("TooLate()", True)
            time.sleep(0.1)
            writer.goes_on.set()
            assert trying.result()[0] == "RuntimeError('down')"
            writer.goes_on.clear()
    writer.hangs = False

    assert all_at_once(shared, threading.Event(), range(3, 9)) == list(range(3, 9))
    assert writer.written[:3] == [[0], [1], [3]]


def test_a_write_that_fails_at_once_shuts_nobody_out() -> None:
    def write(items: Sequence[int]) -> Sequence[int]:
        sizes.append(len(items))
        time.sleep(0.1)
        raise RuntimeError("down")

    sizes: list[int] = []
    shared = Together(write)
    for _ in range(2):
        assert all_at_once(shared, threading.Event(), range(4)) == ["RuntimeError('down')"] * 4
    assert sum(sizes) == 8


def test_who_would_wait_beyond_the_room_is_turned_away_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(together, "ROOM", 3)
    shared, go, sizes = held_up(lambda items: list(items))

    outcomes = all_at_once(shared, go, range(10))

    assert outcomes.count("TooLate()") == 6
    assert sizes == [1, 3]


def test_a_writer_that_gives_too_few_outcomes_fails_its_batch_and_goes_on() -> None:
    shared, go, _ = held_up(lambda items: items[:1])

    outcomes = all_at_once(shared, go, range(3))

    assert outcomes[0] == 0
    assert [str(each).split("(")[0] for each in outcomes[1:]] == ["ValueError"] * 2
    assert shared.do(7) == 7


def test_its_thread_ends_when_nobody_comes_and_another_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(together, "IDLE", 0.05)
    threads: list[threading.Thread] = []

    def write(items: Sequence[int]) -> Sequence[int]:
        threads.append(threading.current_thread())
        return items

    shared = Together(write)
    for item in range(2):
        assert shared.do(item) == item
        threads[-1].join(5)

    assert [one.is_alive() for one in threads] == [False, False]
    assert threads[0] is not threads[1]


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
