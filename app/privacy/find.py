"""Find a person: all of Stripe's objects, ids and rows of ours that are theirs."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Engine

from app.core.identity import REFERENCE, is_placeholder
from app.core.person import PERSONAL, Sought, personal, theirs
from app.settings import Settings
from app.store import identities, whose
from app.store.erase import Rows, count
from app.store.erasures import Owned
from app.store.identities import Scoped
from app.store.whose import Said

SLICE = 1_000  # webhook events read at a time
SHARED = 20  # customers or guests with one and the same id: it is nobody's

Progress = Callable[[int, int], object]  # done, of how many


class NobodyKnown(Exception):
    """Nothing is held of whom was asked for; says so in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Whom a person typed: one of Stripe's customers or a user of the shop's, perhaps of one
    account alone."""

    customer: str | None = None
    user: str | None = None
    account: str | None = None

    @property
    def seed(self) -> str:
        kind, one = ("customer", self.customer) if self.customer else ("user", self.user)
        return f"{kind}\n{self.account if self.account is not None else '*'}\n{one}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """All that is one person's: Stripe ids, ids by account and name, links, analytics events.

    `shared` are ids that are nobody's: placeholders, and what too many have.
    """

    objects: frozenset[Scoped]
    ids: Mapping[str, Mapping[str, frozenset[str]]]
    links: tuple[int, ...]
    told: tuple[int, ...]
    shared: frozenset[Owned]

    @property
    def customers(self) -> list[str]:
        """Those of Stripe's, and accounts that are customers."""
        return sorted({one for _, _, one in self.objects if one.startswith(("cus_", "acct_"))})

    def owned(self) -> set[Owned]:
        """The ids by which the person is known again, with their accounts."""
        return {
            (account, value)
            for account, names in self.ids.items()
            for name, values in names.items()
            if name in PERSONAL
            for value in values
        } - self.shared

    def by_name(self) -> dict[str, list[str]]:
        """All ids ever seen of them, by metadata name; Stripe's customers as `customer`."""
        found: dict[str, set[str]] = defaultdict(set)
        for account, names in self.ids.items():
            for name, values in names.items():
                found[name] |= {one for one in values if (account, one) not in self.shared}
        found["customer"] |= set(self.customers)
        return {name: sorted(values) for name, values in sorted(found.items()) if values}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would be erased, by table; `waiting` webhook events are erased when they are processed.
    Of `unread` ones, quarantined, the ledger has not heard. `destinations` may have some of it."""

    person: Person
    rows: Rows
    counts: Mapping[str, int]
    waiting: int
    unread: int
    destinations: tuple[str, ...]

    @property
    def empty(self) -> bool:
        return not any(self.counts.values())


def find(engine: Engine, settings: Settings, asked: Asked) -> Person:
    """Everything that leads from whom was asked for to further ids of theirs, until nothing new
    is found. Raises NobodyKnown."""
    reference = _reference(settings)
    objects, known, shared = _seeds(engine, asked)
    links: dict[int, Said] = {}
    told: dict[int, whose.AnalyticsEvent] = {}
    before = (-1, -1)
    while before != (len(objects), len(known)):
        before = (len(objects), len(known))
        with engine.begin() as connection:
            objects |= whose.family(connection, objects)
            told |= {one.id: one for one in whose.told_of(connection, objects)}
            objects |= {one for event in told.values() for one in event.objects}
            said = whose.links_of(connection, objects)
            known |= _personal(said, reference) - shared
            shared |= {one for one in known if is_placeholder(one[1])}
            shared |= whose.shared(connection, known, _names(reference), SHARED)
            known -= shared
            also = whose.links_with(connection, known, _names(reference))
        values = _by_account(known)
        also = [one for one in also if theirs(one.ids, values[one.object[0]], reference)]
        links |= {one.id: one for one in (*said, *also)}
        objects |= {one.object for one in also}
    ids = _ids(links.values(), told.values())
    if not objects:
        objects, ids = _in_bytes(engine, asked, shared)
    return Person(
        objects=frozenset(objects),
        ids=ids,
        links=tuple(sorted(links)),
        told=tuple(sorted(told)),
        shared=frozenset(shared),
    )


def _seeds(engine: Engine, asked: Asked) -> tuple[set[Scoped], set[Owned], set[Owned]]:
    if asked.customer:
        return {(*scope, asked.customer) for scope in _scopes(engine, asked)}, set(), set()
    assert asked.user
    with engine.connect() as connection:
        accounts = whose.accounts(connection)
    wanted = [one for one in accounts if asked.account in (None, one)]
    return set(), {(one, asked.user) for one in wanted}, set()


def _in_bytes(
    engine: Engine, asked: Asked, shared: Collection[Owned]
) -> tuple[set[Scoped], dict[str, dict[str, frozenset[str]]]]:
    """Who bought nothing, or nothing that could be read, stands in Stripe's own words alone."""
    one = asked.customer or asked.user or ""
    with engine.connect() as connection:
        scopes = whose.scopes_in_bytes(connection, one)
    scopes = [scope for scope in scopes if asked.account in (None, scope[0])]
    if not scopes or one in {value for _, value in shared}:
        raise NobodyKnown(_why(asked, shared))
    if asked.customer:
        return {(*scope, one) for scope in scopes}, {}
    return set(), {account: {"user_id": frozenset({one})} for account, _ in scopes}


def _why(asked: Asked, shared: Collection[Owned]) -> str:
    if asked.user in {value for _, value in shared}:
        return (
            f"That id is nobody's: a placeholder, or more than {SHARED} of Stripe's customers or"
            " guests have it. Ask for one of them by --customer."
        )
    where = " in that account" if asked.account is not None else ""
    return f"Nothing is known of that {'customer' if asked.customer else 'user'}{where}."


def _scopes(engine: Engine, asked: Asked) -> list[tuple[str, bool]]:
    if not asked.customer:
        return []
    with engine.connect() as connection:
        found = identities.scopes_of(connection, asked.customer)
    return [one for one in found if asked.account in (None, one[0])]


def _reference(settings: Settings) -> str | None:
    return None if settings.client_reference == "none" else settings.client_reference


def _names(reference: str | None) -> set[str]:
    return {*PERSONAL, *([REFERENCE] if reference else [])}


def _personal(said: Collection[Said], reference: str | None) -> set[Owned]:
    return {
        (one.object[0], value) for one in said for value in personal(one.ids, reference).values()
    }


def _by_account(known: Collection[Owned]) -> Mapping[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for account, value in known:
        found[account].add(value)
    return found


def _ids(
    links: Collection[Said],
    told: Collection[whose.AnalyticsEvent],
) -> dict[str, dict[str, frozenset[str]]]:
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    said = [(one.object[0], one.ids) for one in links]
    said += [(account, one.ids) for one in told for account in {part[0] for part in one.objects}]
    for account, ids in said:
        for name, value in ids.items():
            if name != "event_id":
                found[account][name].add(value)
    return {
        account: {name: frozenset(values) for name, values in names.items()}
        for account, names in found.items()
    }


def plan(engine: Engine, settings: Settings, person: Person, progress: Progress) -> Plan:
    """What forgetting this person would erase; reads every webhook event that still has bytes."""
    events, waiting, unread = _webhook_events(engine, settings, person, progress)
    rows = Rows(
        links=person.links,
        told=person.told,
        webhook_events=events,
        objects=person.objects,
        values=sorted({value for _, value in person.owned()}),
    )
    with engine.connect() as connection:
        return Plan(
            person=person,
            rows=rows,
            counts=count(connection, rows),
            waiting=waiting,
            unread=unread,
            destinations=tuple(whose.destinations_of(connection, person.told)),
        )


def _webhook_events(
    engine: Engine, settings: Settings, person: Person, progress: Progress
) -> tuple[list[int], int, int]:
    """Those that speak of the person and have their verdict; how many are yet to be read, and how
    many of the first never could be."""
    sought = _sought(person, _reference(settings))
    with engine.connect() as connection:
        last = whose.last_webhook_event(connection)
    found, waiting, unread = [], 0, 0
    for after in range(0, last, SLICE):
        with engine.connect() as connection:
            kept = whose.webhook_events(connection, after, min(after + SLICE, last))
        for one in kept:
            them = sought.get(one.account)
            if them and (them.is_in(one.raw) or (one.hydrated and them.is_in(one.hydrated))):
                found += [one.id] if one.decided else []
                waiting += not one.decided
                unread += one.decided and one.quarantined
        progress(min(after + SLICE, last), last)
    return found, waiting, unread


def _sought(person: Person, reference: str | None) -> dict[str, Sought]:
    """The person as each account speaks of them."""
    owned = _by_account(person.owned())
    objects: dict[str, set[str]] = defaultdict(set)
    for account, _, one in person.objects:
        objects[account].add(one)
    return {
        account: Sought(objects[account], owned[account], reference)
        for account in {*objects, *owned}
    }
