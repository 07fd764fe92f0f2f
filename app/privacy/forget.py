"""Forget a person: stop what is unsent, ask the destinations to delete, erase what is kept here.

Each step is committed by itself and may be done again, so whoever is killed in between begins
anew: until the last step, all that is needed to find the person is still here.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from time import monotonic, sleep, time

import structlog
from sqlalchemy import Connection, Engine, text

from app.destinations.base import Destination
from app.destinations.judging import excerpt
from app.destinations.transports import open_transport
from app.privacy.find import Asked, Person, Plan, Progress, find, plan
from app.settings import Settings
from app.store import audit, erase, erasures, identities
from app.store.db import write

PATIENCE = 15.0  # seconds for one destination's answer
WORDS = 300  # characters of it that are shown

log = structlog.get_logger()


class Underway(Exception):
    """Somebody is being forgotten at this moment."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How the deletion at a destination went: `asked`, `failed`, or `by hand`."""

    destination: str
    state: str
    words: str


@dataclass(kw_only=True)
class Outcome:
    """What was done. `erased` is empty while a destination could not be asked."""

    stopped: int = 0
    answers: list[Answer] = field(default_factory=list)
    erased: Mapping[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> list[Answer]:
        return [one for one in self.answers if one.state == "failed"]


def forget(
    engine: Engine,
    settings: Settings,
    asked: Asked,
    *,
    who: str,
    why: str,
    despite_failures: bool,
    progress: Progress = lambda _done, _all: None,
    waiting: Callable[[float], None] = sleep,
) -> Outcome:
    """Forget the person, in all accounts and modes. Nothing is erased here while a destination
    that should delete them could not be asked, unless `despite_failures`.

    `waiting` is called with the seconds in which a request that left before may still arrive.
    Raises NobodyKnown, or Underway.
    """
    with _alone(engine):
        erasure, person = _bury(engine, settings, asked, who=who, why=why)
        outcome = Outcome()
        if seconds := _stop(engine, person, outcome):
            waiting(seconds)
        planned = plan(engine, settings, person, progress)
        outcome.answers = _ask(engine, settings, erasure, planned)
        if not outcome.failed or despite_failures:
            _erase(engine, erasure, planned, outcome, asked, who=who, why=why)
        return outcome


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        lock = text("SELECT pg_try_advisory_lock(:key)")
        if not connection.execute(lock, {"key": erasures.FORGET_LOCK}).scalar_one():
            raise Underway
        try:
            yield
        finally:
            connection.execute(
                text("SELECT pg_advisory_unlock(:key)"), {"key": erasures.FORGET_LOCK}
            )


def _bury(
    engine: Engine, settings: Settings, asked: Asked, *, who: str, why: str
) -> tuple[int, Person]:
    """From here on nothing new is written of the person: tombstones, then a wait for whoever had
    not seen them; again, as long as those had brought something new."""
    person = find(engine, settings, asked)
    with engine.begin() as connection:
        salt = secrets.token_bytes(32)
        erasure = erasures.begin(connection, asked.seed, salt, who=who, why=why)
    while True:
        with engine.begin() as connection:
            erasures.bury(connection, person.objects, person.owned())
        with engine.begin() as connection:
            identities.await_quiet(connection)
        before, person = person, find(engine, settings, asked)
        if person == before:
            return erasure, person


def _stop(engine: Engine, person: Person, outcome: Outcome) -> float:
    """Tell nobody what waits, send nothing that is owed. Seconds until nothing is on its way."""
    ends = 0.0
    with engine.begin() as connection:  # a transaction of its own: what was released stands then
        erase.withhold(connection, person.told)

    def stop(connection: Connection) -> None:
        nonlocal ends
        outcome.stopped, ends = erase.stop(connection, person.told)

    write(engine, stop)
    return ends


def _ask(engine: Engine, settings: Settings, erasure: int, planned: Plan) -> list[Answer]:
    """Ask each destination that may know the person to delete them; no transaction is open."""
    configured = {one.name: one for one in settings.destinations}
    ids = planned.person.by_name()
    answers = []
    for name in planned.destinations:
        one = configured.get(name)
        answer = (
            _ask_one(one, ids, settings)
            if one
            else Answer(name, "by hand", "it is no longer configured here")
        )
        with engine.begin() as connection:
            erasures.answered(connection, erasure, name, answer.state)
        answers.append(answer)
    return answers


def _ask_one(to: Destination, ids: Mapping[str, Sequence[str]], settings: Settings) -> Answer:
    request = to.erasure(ids, time())
    if request is None:
        return Answer(to.name, "by hand", f"deletion there: {to.ERASURE}")
    transport = open_transport(to, allow_local=settings.allow_local_urls)
    with closing(transport):
        response = transport.send(request, until=monotonic() + PATIENCE)
    if response.status is not None and 200 <= response.status < 300:
        log.info("forget.asked", destination=to.name, status=response.status)
        return Answer(to.name, "asked", f"answered {response.status}")
    log.error("forget.not_asked", destination=to.name, status=response.status)
    words = excerpt(response.text, to.secrets(), WORDS)
    return Answer(to.name, "failed", f"{response.status or 'no answer'} {words}".strip())


def _erase(
    engine: Engine,
    erasure: int,
    planned: Plan,
    outcome: Outcome,
    asked: Asked,
    *,
    who: str,
    why: str,
) -> None:
    """All rows in one transaction, with the audit line, which has a digest of what was typed."""
    with engine.begin() as connection:
        outcome.erased = erase.erase(connection, planned.rows)
        digest = erasures.finish(connection, erasure, outcome.erased)
        filter_ = {"erasure": erasure, "by": "customer" if asked.customer else "user"}
        audit.note(
            connection,
            who,
            "forget",
            why,
            {**filter_, "digest": digest},
            sum(outcome.erased.values()),
        )
