"""The doorbell: the only use of RQ outside the workers. A job says "drain", never what.

Nothing here is needed for correctness. Whatever Redis does (down, hung, full, flushed), rows
stay due in Postgres and the sweep finds them; so every error is logged and passed over.
"""

from functools import lru_cache

import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import Queue
from rq.serializers import JSONSerializer

QUEUE = "bridge"
JOB = "workers.jobs.drain"
BELL = "bridge:bell"
BELL_LASTS = 2000  # milliseconds; a wake-up that got lost blocks the next for no longer

log = structlog.get_logger()


@lru_cache(maxsize=4)
def connect(url: str, timeout: float = 0.25) -> Redis:
    """A client that fails fast: the default one blocks a minute on a hung Redis."""
    return Redis.from_url(
        url,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
    )


def ring(redis: Redis) -> bool:
    """Wake a worker, unless one was woken and has not begun; False if Redis did not take it."""
    try:
        if redis.set(BELL, "1", nx=True, px=BELL_LASTS):
            queue = Queue(QUEUE, connection=redis, serializer=JSONSerializer)
            queue.enqueue(JOB, job_timeout=600, ttl=60, result_ttl=0, failure_ttl=600)
    except (RedisError, OSError) as error:
        log.warning("ring.failed", error=type(error).__name__)
        return False
    return True


def answers(redis: Redis) -> bool:
    """Whether Redis is there and answers in time."""
    try:
        return bool(redis.ping())
    except (RedisError, OSError):
        return False


def silence(redis: Redis) -> None:
    """The drain begins: whatever is kept from here on may ring again."""
    try:
        redis.delete(BELL)
    except (RedisError, OSError) as error:
        log.warning("silence.failed", error=type(error).__name__)
