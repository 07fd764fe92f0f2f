"""What someone who can write our Redis can make a worker do: ring the bell, and nothing else."""

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq import Queue, SimpleWorker
from rq.exceptions import InvalidJobOperation
from rq.job import Callback, Job
from rq.registry import StartedJobRegistry
from rq.serializers import DefaultSerializer, JSONSerializer
from rq.webhook import Webhook

from app.demo.receiver import Receiver, receiver
from app.local.stores import Stores
from app.queue import JOB, QUEUE, connect
from workers import jobs

MARK = f"{__name__}.mark"

marks: list[str] = []
drained: list[float] = []


def mark(*_args: Any, **_kwargs: Any) -> None:
    """What an attacker would like to run."""
    marks.append("ran")


class Quiet(SimpleWorker):  # type: ignore[misc]
    """RQ's worker, which leaves the test run's signals alone."""

    def _install_signal_handlers(self) -> None:
        pass


@pytest.fixture(autouse=True)
def bell(stores: Stores) -> Iterator[None]:
    marks.clear()
    drained.clear()
    jobs.serve_with(lambda: drained.append(time.monotonic()))
    logging.getLogger("rq.worker").setLevel(logging.CRITICAL)  # refusals are loud
    yield
    jobs._drain = None


@pytest.fixture
def redis(stores: Stores) -> Redis:
    return connect(stores.redis_url, timeout=10.0)


@pytest.fixture
def tools() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


def work(redis: Redis, job_class: type[Job] = jobs.Wakeup) -> None:
    """Run what is in the queue as `bridge worker` does."""
    options = {"connection": redis, "job_class": job_class, "serializer": JSONSerializer}
    queue = Queue(QUEUE, **options)
    Quiet([queue], **options).work(burst=True, logging_level="CRITICAL")


def plant(redis: Redis, function: str, *args: Any, pickled: bool = False, **options: Any) -> None:
    serializer = DefaultSerializer if pickled else JSONSerializer
    queue = Queue(QUEUE, connection=redis, serializer=serializer)
    queue.enqueue_call(function, args=args, **options)


def plant_abandoned(redis: Redis) -> None:
    """A job that looks as if its worker had died: RQ's clean-up runs its failure callback."""
    options = {"connection": redis, "serializer": JSONSerializer}
    job = Job.create(JOB, on_failure=Callback(MARK), origin=QUEUE, **options)
    job.save()
    registry = StartedJobRegistry(QUEUE, **options)
    redis.zadd(registry.key, {f"{job.id}:execution": 1})


PLANTED: dict[str, Callable[[Redis], None]] = {
    "another function": lambda redis: plant(redis, MARK),
    "another function and its failure callback": lambda redis: plant(
        redis, "os.nothing", on_failure=Callback(MARK)
    ),
    "a pickled job": lambda redis: plant(redis, MARK, pickled=True),
    "a success callback": lambda redis: plant(redis, JOB, on_success=Callback(MARK)),
    "a failure callback": lambda redis: plant(redis, JOB, 1, on_failure=Callback(MARK)),
    "an abandoned job's failure callback": plant_abandoned,
}
NOT_UNDER_JSON = {"a pickled job"}


@pytest.mark.parametrize("how", PLANTED)
def test_nothing_planted_runs(redis: Redis, how: str) -> None:
    PLANTED[how](redis)
    work(redis)

    assert marks == []
    assert Queue(QUEUE, connection=redis, serializer=JSONSerializer).is_empty()


@pytest.mark.parametrize("how", PLANTED.keys() - NOT_UNDER_JSON)
def test_the_same_would_run_under_rqs_own_job_class(redis: Redis, how: str) -> None:
    """Without this, the test above could pass because nothing was planted right."""
    PLANTED[how](redis)
    work(redis, job_class=Job)

    assert marks == ["ran"]


def test_a_shell_command_does_not_run(redis: Redis, tmp_path: Path) -> None:
    for pickled in (False, True):
        plant(redis, "os.system", f"touch {tmp_path}/mark", pickled=pickled)
    work(redis)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [(1,), ()])
def test_a_jobs_webhooks_are_not_sent(
    redis: Redis, tools: Receiver, arguments: tuple[int, ...]
) -> None:
    hooks = [Webhook(tools.webhook_url, status, method="POST") for status in ("finished", "failed")]
    plant(redis, JOB, *arguments, webhooks=hooks)
    work(redis)
    assert tools.snapshot().webhook.requests == 0

    plant(redis, JOB, *arguments, webhooks=hooks)
    work(redis, job_class=Job)
    assert tools.snapshot().webhook.requests == 1, "RQ's own class sends it"


@pytest.mark.parametrize(
    "planted",
    [
        {"func": MARK},
        {"func": JOB, "args": (1,)},
        {"func": JOB, "kwargs": {"drain": 1}},
        {"func": "workers.jobs.serve_with", "args": ("os.system",)},
    ],
    ids=str,
)
def test_a_job_that_is_not_the_drain_is_refused(redis: Redis, planted: dict[str, Any]) -> None:
    job = jobs.Wakeup.create(**planted, connection=redis, serializer=JSONSerializer)

    with pytest.raises(InvalidJobOperation):
        job.perform()

    assert (marks, drained) == ([], [])


def test_the_drain_runs_and_a_bad_neighbour_does_not_stop_it(redis: Redis) -> None:
    plant(redis, MARK)
    plant(redis, JOB)
    plant(redis, MARK, pickled=True)
    plant(redis, JOB)
    work(redis)

    assert len(drained) == 2


def test_outside_a_worker_the_drain_refuses() -> None:
    jobs._drain = None

    with pytest.raises(RuntimeError, match="inside `bridge worker` only"):
        jobs.drain()
