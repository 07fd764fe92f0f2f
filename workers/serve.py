"""`bridge worker`: an RQ worker beside a sweep, in one process, through any outage of Redis."""

import os
import signal
import threading
from time import sleep
from typing import Any

import structlog
from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer
from rq.worker.base import StopRequested

from app.doctor import contract
from app.drain import Drain, where
from app.history.gap_timer import Timer
from app.queue import QUEUE, answers, connect, ring, silence
from app.settings import Settings
from app.store.db import make_engine
from app.store.leader import Leadership
from workers import jobs

SWEEP = 1.0  # seconds between two looks at what is due
OVERDUE = 5.0  # seconds after which the sweep stops hoping for the bell
PATIENCE = 3.0  # seconds that RQ has to end after our own work has
LISTEN = 20  # seconds of one blocking wait on Redis

log = structlog.get_logger()


class Listener(SimpleWorker):  # type: ignore[misc]
    """RQ's worker in our process: no fork (a killed parent would leave its child working on)."""

    def __init__(self, stopping: threading.Event, quick: Redis, *args: Any, **kwargs: Any) -> None:
        self.stopping = stopping
        self.quick = quick
        self._busy = False
        super().__init__(*args, **kwargs)

    def execute_job(self, job: Any, queue: Any) -> None:
        self._busy = True
        try:
            super().execute_job(job, queue)
        finally:
            self._busy = False

    def request_stop(self, _signum: int, _frame: Any) -> None:
        """As RQ's own, without asking Redis whether we are busy: it may hang."""
        self.stopping.set()
        self._stop_requested = True
        if not self._busy:
            raise StopRequested

    def teardown(self) -> None:
        """Sign off on a connection that fails fast; RQ's own waits half a minute."""
        self.connection = self.quick
        try:
            super().teardown()
        except (RedisError, OSError) as error:
            log.warning("worker.not_signed_off", error=type(error).__name__)


def work(settings: Settings, database_url: str, redis_url: str | None) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in hand and give back the rest.

    Without Redis the sweep does it all, up to a second later.
    """
    engine = make_engine(database_url, "worker", pool_size=4 + len(settings.destinations))
    redis = connect(redis_url) if redis_url else None
    stopping = threading.Event()
    drain = Drain(engine, settings, lambda: redis is not None and ring(redis), stopping)

    def answer() -> None:
        if redis is not None:
            silence(redis)
        drain.run()

    jobs.serve_with(answer)
    candidate = Leadership(engine)
    gap = Timer(engine, settings, stopping)
    sweep = threading.Thread(
        target=_sweep, args=(drain, redis, candidate, stopping, gap), daemon=True
    )
    sweep.start()
    threading.Thread(target=_end_anyway, args=(drain, stopping), daemon=True).start()
    contract.tell(settings)
    log.info("worker.ready", destinations=[one.name for one in settings.destinations])
    _on_signals(stopping)
    while not stopping.is_set():
        if redis_url:
            _listen(redis_url, stopping)
        _on_signals(stopping)  # RQ leaves handlers that raise
        stopping.wait(1)
    sweep.join(SWEEP + 1)
    drain.stop()
    engine.dispose()
    log.info("worker.stopped")


def _on_signals(stopping: threading.Event) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())


def _listen(redis_url: str, stopping: threading.Event) -> None:
    """RQ's loop; it returns on a stop, and whenever Redis is out of reach."""
    try:
        # A client of its own: RQ lengthens the socket timeout of the one that it is given.
        redis = connect(redis_url, timeout=LISTEN + 5.0)
        queue = Queue(QUEUE, connection=redis, serializer=JSONSerializer, job_class=jobs.Wakeup)
        listener = Listener(
            stopping,
            connect(redis_url),
            [queue],
            connection=redis,
            job_class=jobs.Wakeup,
            serializer=JSONSerializer,
            worker_ttl=LISTEN + 15,
            log_job_description=False,
        )
        listener.work(logging_level="WARNING")
    except (RedisError, OSError) as error:
        log.warning("worker.redis_out_of_reach", error=type(error).__name__)


def _end_anyway(drain: Drain, stopping: threading.Event) -> None:
    """RQ may wait half a minute for a hung Redis, in the main thread; all that counts is in
    Postgres by then, so the process ends without it."""
    stopping.wait()
    drain.stop()
    sleep(PATIENCE)
    log.warning("worker.ended_without_redis")
    os._exit(0)


def _sweep(
    drain: Drain,
    redis: Redis | None,
    candidate: Leadership,
    stopping: threading.Event,
    gap: Timer | None = None,
) -> None:
    """Look every second, as long as the process lives; at its end another one leads at once."""
    while not stopping.wait(SWEEP):
        try:
            look(drain, redis, candidate, gap)
        except Exception as error:  # the last that looks for what is due: it outlives anything
            log.error("sweep.failed", error=type(error).__name__, at=where(error))
    candidate.resign()


def look(
    drain: Drain, redis: Redis | None, candidate: Leadership, gap: Timer | None = None
) -> None:
    """The one leader of all workers rings for whatever is due, and serves it here if nobody came;
    it also sees to gaps. A worker that Redis cannot wake serves it here as well, leader or not."""
    if candidate.take():
        if gap is not None:
            gap.tick()
        waited = drain.oldest_due()
        if waited is not None and (waited > OVERDUE or redis is None or not ring(redis)):
            drain.run()
    elif (redis is None or not answers(redis)) and drain.oldest_due() is not None:
        drain.run()
