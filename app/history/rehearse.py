"""What today's code would derive of webhook events that were processed before, against what is
stored: worked out by processing them in transactions that are rolled back, every one."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import uniform
from time import sleep
from typing import Any, Literal

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from app import process
from app.consequences import Stale
from app.core.facts import Fact
from app.process import Unwritable
from app.release import release
from app.settings import Settings
from app.store import rehearsal, webhook_events
from app.store.identities import Refs, Scope
from app.store.rehearsal import Key
from app.store.webhook_events import Kept

TRIES = 20
PAUSE = 0.3  # seconds, at most, before a batch that gave way is begun again
MOST_RELATIVES = 500  # webhook events that are read beside one that seems to tell less
ERASED = "erased"

What = Literal["revenue entry", "analytics event"]
Kind = Literal["new", "changed", "gone"]
Row = Mapping[str, Any]
Pairs = Mapping[str, tuple[Any, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference. `fields` are (stored, derived) by name, properties as `properties.plan`;
    empty for what is new or gone."""

    what: What
    change: Kind
    account: str
    livemode: bool
    key: str
    name: str
    webhook_event: str
    fields: Pairs


@dataclass(kw_only=True)
class Rehearsal:
    """What came of it. `same` counts what is derived as it is stored; `verdicts` are (event id,
    stored, derived) where they differ; `owed` are deliveries that a replay would add, by
    destination and state; `busy` webhook events are to be processed anyway and were left out."""

    same: Counter[What] = field(default_factory=Counter)
    changes: list[Change] = field(default_factory=list)
    verdicts: list[tuple[str, str, str]] = field(default_factory=list)
    owed: Counter[tuple[str, str]] = field(default_factory=Counter)
    busy: int = 0
    _seen: set[tuple[What, Key]] = field(default_factory=set, repr=False)

    def add(self, what: What, key: Key, change: Change | None) -> None:
        """Once, however many webhook events tell it; None: it is the same."""
        if (what, key) in self._seen:
            return
        self._seen.add((what, key))
        if change is None:
            self.same[what] += 1
        else:
            self.changes.append(change)

    def count(self, what: What, change: str) -> int:
        return sum(one.what == what and one.change == change for one in self.changes)


@dataclass(frozen=True, kw_only=True)
class _Derived:
    """Of one transaction: rows of analytics events before and after, all derived facts, the
    ledger's rows of them, who is owed what only is there after, and verdicts before and after."""

    kept: Sequence[Kept]
    before: Sequence[Row]
    after: Sequence[Row]
    facts: Sequence[tuple[Kept, Fact]]
    booked: Sequence[Row]
    owed: Sequence[Row]
    verdicts: Mapping[int, tuple[str, str, str]]


def rehearse(
    engine: Engine,
    settings: Settings,
    ids: Sequence[int],
    told: Callable[[int], object] = lambda _: None,
) -> Rehearsal:
    """Of these webhook events (our ids), batch by batch; `told` hears the number of each. Nothing
    is written. Of what differs, a replay adds what is new and leaves all else as it is stored."""
    result = Rehearsal()
    for start in range(0, len(ids), process.BATCH):
        batch = ids[start : start + process.BATCH]
        _batch(engine, settings, batch, result)
        told(len(batch))
    return result


def _batch(engine: Engine, settings: Settings, ids: Sequence[int], result: Rehearsal) -> None:
    try:
        derived = _derived(engine, settings, ids)
    except Unwritable as error:
        if len(ids) > 1:
            for part in (ids[: len(ids) // 2], ids[len(ids) // 2 :]):
                _batch(engine, settings, part, result)
            return
        with engine.connect() as connection:
            [(event_id, stored)] = rehearsal.verdicts(connection, ids).values()
        result.verdicts.append((event_id, stored, f"quarantined: {error}"))
        return
    result.busy += len(ids) - len(derived.kept)
    result.verdicts += [
        (id_, old, new) for id_, old, new in derived.verdicts.values() if old != new
    ]
    known = {_key(row) for row in derived.before}
    result.owed.update(
        (row["destination"], row["state"]) for row in derived.owed if _key(row) not in known
    )
    _compare_entries(engine, settings, derived, result)
    _compare_events(engine, settings, derived, result)


def _derived(engine: Engine, settings: Settings, ids: Sequence[int]) -> _Derived:
    """Again when a join moved under us, or others needed the rows."""
    for tries in range(1, TRIES + 1):
        with engine.connect() as connection:
            transaction = connection.begin()
            try:
                return _in_transaction(connection, settings, ids)
            except (Stale, OperationalError):
                if tries == TRIES:
                    raise
            finally:
                transaction.rollback()
        sleep(uniform(0, PAUSE))
    raise AssertionError("unreachable")


def _in_transaction(connection: Connection, settings: Settings, ids: Sequence[int]) -> _Derived:
    rehearsal.give_way(connection)
    kept = webhook_events.at_rest(connection, ids)
    own = [one.id for one in kept]
    before = rehearsal.rows_told(connection, own)
    stored = rehearsal.verdicts(connection, own)

    def prepare() -> None:
        rehearsal.set_aside(connection, own)
        webhook_events.process_again(connection, own)

    facts = process.rehearse(connection, settings, kept, prepare)
    held = rehearsal.end_holds(connection, own)
    release(connection, settings, told=[], held=held, refs=Refs(), final=True)
    verdicts = rehearsal.verdicts(connection, own)
    return _Derived(
        kept=kept,
        before=before,
        after=rehearsal.rows_told(connection, own),
        facts=facts,
        booked=rehearsal.rows_booked(connection, own, {_fact_key(*one) for one in facts}),
        owed=rehearsal.rows_owed(connection, own),
        verdicts={one: (*stored[one], verdicts[one][1]) for one in own},
    )


def _key(row: Row) -> Key:
    return row["account"], row["livemode"], row["key"]


def _fact_key(kept: Kept, fact: Fact) -> Key:
    return kept.account, kept.livemode, fact.key


# --- comparing


def _compare_entries(
    engine: Engine, settings: Settings, derived: _Derived, result: Rehearsal
) -> None:
    facts = _money(derived)
    missing = [row for row in derived.booked if not row["new"] and _key(row) not in facts]
    if beside := _beside(engine, settings, derived, missing):
        facts = {**_money(beside), **facts}
    for row in derived.booked:
        fact = facts.get(_key(row))
        fields = _amounts(row, fact) if fact else {}
        change: Kind = "new" if row["new"] else "changed" if fact else "gone"
        _note(result, derived, "revenue entry", row, change, fields)


def _money(found: _Derived) -> dict[Key, Fact]:
    return {_fact_key(*one): one[1] for one in found.facts if one[1].money}


def _amounts(row: Row, fact: Fact) -> Pairs:
    """Where the stored entry and the fact differ; of what a shape does not say, nothing is said."""
    entry = fact.money
    assert entry is not None
    said = {
        "kind": entry.kind,
        "minor": entry.money.minor,
        "currency": entry.money.currency,
        "tax_minor": entry.tax_minor,
        "discount_minor": entry.discount_minor,
        "occurred_at": fact.at,
    }
    return {
        name: (row[name], value)
        for name, value in said.items()
        if value is not None and row[name] != value
    }


def _compare_events(
    engine: Engine, settings: Settings, derived: _Derived, result: Rehearsal
) -> None:
    before, after = ({_key(row): row for row in each} for each in (derived.before, derived.after))
    for key in after.keys() - before.keys():
        _note(result, derived, "analytics event", after[key], "new", {})
    missing = [row for key, row in before.items() if key not in after]
    if beside := _beside(engine, settings, derived, missing):
        after = {**{_key(row): row for row in beside.after}, **after}
    for key, row in before.items():
        fields = _told(row, after[key]) if key in after else {}
        kind: Kind = "changed" if key in after else "gone"
        _note(result, derived, "analytics event", row, kind, fields)


def _told(stored: Row, now: Row) -> Pairs:
    """Where the two differ. What is held is not decided yet, what was erased says nothing."""
    if stored["state"] == "held" or ERASED in (stored["reason"], now["reason"]):
        return {}
    names = ("name", "state", "occurred_at", "minor", "currency", "tax_minor")
    found = {name: (stored[name], now[name]) for name in names if stored[name] != now[name]}
    old, new = stored["properties"], now["properties"]
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            found[f"properties.{name}"] = (old.get(name), new.get(name))
    return found


def _note(
    result: Rehearsal, derived: _Derived, what: What, row: Row, change: Kind, fields: Pairs
) -> None:
    """What has changed in no field is the same."""
    by = derived.verdicts.get(row["webhook_event_id"])
    differs = change != "changed" or fields
    found = Change(
        what=what,
        change=change,
        account=row["account"],
        livemode=row["livemode"],
        key=row["key"],
        name=row["kind" if what == "revenue entry" else "name"],
        webhook_event=by[0] if by else "",
        fields=fields,
    )
    result.add(what, _key(row), found if differs else None)


def _beside(
    engine: Engine, settings: Settings, derived: _Derived, missing: Sequence[Row]
) -> _Derived | None:
    """The same derived beside the relatives of what seems to be told no more: a fact that joins
    two webhook events is told by whichever was processed last."""
    if not missing:
        return None
    objects: dict[Scope, set[str]] = defaultdict(set)
    for row in missing:
        named = (row["customer"], row["subscription"], row["invoice"], *row.get("about", ()))
        objects[row["account"], row["livemode"]] |= {one for one in named if one}
    with engine.connect() as connection:
        found = [rehearsal.relatives(connection, *each) for each in objects.items()]
    own = [one.id for one in derived.kept]
    others = sorted({one for each in found for one in each} - set(own))[:MOST_RELATIVES]
    try:
        return _derived(engine, settings, [*own, *others]) if others else None
    except Unwritable:
        return None
