"""What someone who can write our Redis can make a worker do: ring the bell, and nothing else."""

import ast
import json
import logging
import time
import tomllib
import zlib
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import suppress
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


def plant_by_hand(redis: Redis, function: str, *args: Any, **fields: Any) -> None:
    """Straight into Redis, as whoever has nothing but its password would: RQ is not asked."""
    data = json.dumps([function, None, args, {}]).encode()
    now = "2026-11-01T00:00:00.000000Z"
    job: dict[Any, Any] = {
        "data": zlib.compress(data),
        "origin": QUEUE,
        "created_at": now,
        "enqueued_at": now,
    }
    job |= {"status": "queued", "timeout": 600, **fields}
    redis.hset("rq:job:planted", mapping=job)
    redis.rpush(f"rq:queue:{QUEUE}", "planted")


PLANTED: dict[str, Callable[[Redis], None]] = {
    "another function": lambda redis: plant(redis, MARK),
    "another function and its failure callback": lambda redis: plant(
        redis, "os.nothing", on_failure=Callback(MARK)
    ),
    "a pickled job": lambda redis: plant(redis, MARK, pickled=True),
    "a success callback": lambda redis: plant(redis, JOB, on_success=Callback(MARK)),
    "a failure callback": lambda redis: plant(redis, JOB, 1, on_failure=Callback(MARK)),
    "an abandoned job's failure callback": plant_abandoned,
    "a hash with another function": lambda redis: plant_by_hand(redis, MARK),
    "a hash with a success callback": lambda redis: plant_by_hand(
        redis, JOB, success_callback_name=MARK
    ),
    "a hash with a failure callback": lambda redis: plant_by_hand(
        redis, JOB, 1, failure_callback_name=MARK
    ),
}
NOT_UNDER_JSON = {"a pickled job"}


@pytest.mark.parametrize("how", PLANTED)
def test_nothing_planted_runs(redis: Redis, how: str) -> None:
    PLANTED[how](redis)
    work(redis)

    assert marks == []
    assert Queue(QUEUE, connection=redis, serializer=JSONSerializer).is_empty()


@pytest.mark.parametrize("how", sorted(PLANTED.keys() - NOT_UNDER_JSON))
def test_the_same_would_run_under_rqs_own_job_class(redis: Redis, how: str) -> None:
    """Without this, the test above could pass because nothing was planted right."""
    PLANTED[how](redis)
    work(redis, job_class=Job)

    assert marks == ["ran"]


def test_a_shell_command_does_not_run(redis: Redis, tmp_path: Path) -> None:
    for pickled in (False, True):
        plant(redis, "os.system", f"touch {tmp_path}/mark", pickled=pickled)
    work(redis)
    plant_by_hand(redis, "os.system", f"touch {tmp_path}/mark")
    work(redis)
    assert list(tmp_path.iterdir()) == []

    plant_by_hand(redis, "os.system", f"touch {tmp_path}/mark")
    work(redis, job_class=Job)
    assert list(tmp_path.iterdir()) == [tmp_path / "mark"], "RQ's own class runs it"


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


def test_what_a_failed_drain_quotes_does_not_get_into_redis(redis: Redis) -> None:
    def fail() -> None:
        raise ValueError("Key (email)=(jane@example.com) already exists")

    jobs.serve_with(fail)
    plant(redis, JOB)
    work(redis)

    kept = b"".join(
        bytes(redis.dump(key) or b"") + b"".join(unpacked(redis, key))
        for key in redis.scan_iter("*")
    )
    assert b"DrainFailed" in kept
    assert b"jane" not in kept


def unpacked(redis: Any, key: bytes) -> Iterator[bytes]:
    """What RQ keeps compressed, so that a search would pass it by."""
    if redis.type(key) == b"hash":
        values: list[bytes] = list(redis.hgetall(key).values())
    elif redis.type(key) == b"stream":
        values = [value for _, entry in redis.xrange(key) for value in entry.values()]
    else:
        return
    for value in values:
        for form in (lambda text: text, b64decode):
            with suppress(ValueError, zlib.error):
                yield zlib.decompress(form(value))


@pytest.mark.parametrize("name", ["app/queue.py", "workers/serve.py"])
def test_every_queue_and_worker_reads_json_and_never_a_pickle(name: str) -> None:
    tree = ast.parse((Path(__file__).parents[1] / name).read_text())
    calls = [
        {each.arg: ast.unparse(each.value) for each in node.keywords}
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Queue", "Listener")
    ]

    assert calls
    assert {call.get("serializer") for call in calls} == {"JSONSerializer"}


def test_rq_is_held_to_the_versions_whose_jobs_were_read() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    [rq] = [one for one in project["project"]["dependencies"] if one.startswith("rq")]

    assert rq == "rq>=2.12,<3"


def test_outside_a_worker_the_drain_refuses() -> None:
    jobs._drain = None

    with pytest.raises(RuntimeError, match="inside `bridge worker` only"):
        jobs.drain()
