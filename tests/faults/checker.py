"""Whether a run kept the promise, by what was posted, what is kept and what the receivers noted.

It knows nothing of the product's code: it reads Postgres by plain SQL, the receivers' own log, and
computes what must have come out from the posted webhooks by itself.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg

Money = dict[str, int]  # minor units by currency
DESTINATIONS = ("amplitude", "webhook")
DECIMALS = {"jpy": 0}  # of the currencies that are posted; all others have two


class Expected:
    """What must come out of the webhooks that were posted: money by plain passes over their JSON,
    the numbers of other facts by the sums of the story that they tell."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._seen: set[str] = set()
        self._bills: dict[str, tuple[int, str]] = {}
        self._payments: dict[str, tuple[int, str]] = {}
        self._refunds: dict[str, tuple[int, str]] = {}
        self._bought: set[str] = set()  # payments of a checkout that is no subscription's

    def story(self, counts: Mapping[str, int]) -> None:
        """These numbers of facts, by name, are in what is posted."""
        self.counts.update(counts)

    def post(self, body: bytes) -> None:
        """This is posted; again counts nothing."""
        event = json.loads(body)
        if event["id"] in self._seen:
            return
        self._seen.add(event["id"])
        what = event["data"]["object"]
        match event["type"]:
            case "invoice.paid":
                self._bills[what["id"]] = what["amount_paid"], what["currency"]
            case "checkout.session.completed" if what["mode"] == "payment":
                self._bought.add(what["payment_intent"])
            case "payment_intent.succeeded":
                self._payments[what["id"]] = what["amount_received"], what["currency"]
            case "refund.created":
                self._refunds[what["id"]] = -what["amount"], what["currency"]
            case _:
                pass

    @property
    def money(self) -> dict[str, tuple[int, str]]:
        """{key: (minor units, currency)} of everything that is revenue."""
        paid = {f"payment:{bill}": money for bill, money in self._bills.items() if money[0]}
        bought = {
            f"payment:{name}": money
            for name, money in self._payments.items()
            if name in self._bought
        }
        back = {f"refund:{name}": money for name, money in self._refunds.items()}
        return paid | bought | back

    @property
    def revenue(self) -> Money:
        return total(self.money.values())


def total(money: Iterable[tuple[int, str]]) -> Money:
    """By currency, without zeros."""
    sums: Counter[str] = Counter()
    for minor, currency in money:
        sums[currency] += minor
    return {currency: minor for currency, minor in sorted(sums.items()) if minor}


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """A webhook event that was answered 2xx, first at `at`. `odd` ones are no story's: whether
    they can be read is not the question, only whether they are kept and judged."""

    event_id: str
    at: float
    odd: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """`at`: unix time at which it was acknowledged or owed; None where no one moment is meant."""

    what: str
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """Something that waited from `begin` to `end`, in unix time."""

    begin: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One event in one request, as the receiver noted it."""

    at: float
    to: str
    key: str
    name: str
    fact: str
    hash: str
    money: tuple[int, str] | None
    effect: bool
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a run came to. `again` are the times of the first effects that had a second one;
    `spans` is what waited in the product's own hands, for the time it takes to recover."""

    acknowledged: int
    kept: int
    lost: Sequence[Problem]
    undelivered: Sequence[Problem]
    doubled: Sequence[Problem]  # more than one effect of one fact
    wrong: Sequence[Problem]  # sums that differ, one key with several bodies, a followed redirect
    effects: Sequence[float]  # the time of each first effect
    again: Sequence[float]
    fenced: Sequence[float]  # when that was sent whose finish was refused: another's lease by then
    revenue: Mapping[str, Money]  # expected, ledger, and each receiver's
    spans: Sequence[Span] = field(repr=False, default=())

    @property
    def kept_the_promise(self) -> bool:
        return not (self.lost or self.undelivered or self.doubled or self.wrong)


def check(
    expected: Expected, acknowledged: Sequence[Acknowledged], receivers: Path, database: str
) -> Verdict:
    """Compare them all. `receivers` is the receivers' log, `database` a libpq address."""
    with psycopg.connect(database) as connection:
        kept = _kept(connection)
        ledger = _ledger(connection)
        told = _told(connection)
        owed = _owed(connection)
        fenced = _fenced(connection)
        left = connection.execute("SELECT lane, count(*) FROM work GROUP BY lane").fetchall()
    log, traps = read_log(receivers)
    first, again = effects_of(log)
    receivers_own = {to: total(_money(first, to)) for to in DESTINATIONS}
    names = Counter(name for _, name in told.values())
    revenue = {"expected": expected.revenue, "ledger": total(ledger.values()), **receivers_own}
    return Verdict(
        acknowledged=len(acknowledged),
        kept=len(kept),
        lost=[
            *_not_kept(acknowledged, kept),
            *(Problem(f"not booked: {key}") for key in expected.money.keys() - ledger.keys()),
            *_fewer(expected.counts, names, "analytics events"),
            *_never_told(owed, first),
        ],
        undelivered=[
            *_not_delivered(owed, told),
            *(Problem(f"left in lane {lane}: {rows}") for lane, rows in left),
            *_facts_not_heard(expected, first),
            *(one for to in DESTINATIONS for one in _fewer(expected.counts, _names(first, to), to)),
        ],
        doubled=[
            *_more(expected.counts, names, "analytics events"),
            *(Problem(f"booked, not owed: {key}") for key in ledger.keys() - expected.money.keys()),
            *_two_keys(first),
            *(one for to in DESTINATIONS for one in _more(expected.counts, _names(first, to), to)),
        ],
        wrong=[
            *_other_bytes(log),
            *_other_sums(revenue),
            *(Problem(f"a redirect was followed to {path}") for path in traps),
        ],
        effects=[one.at for one in first.values()],
        again=again,
        fenced=fenced,
        revenue=revenue,
        spans=[*_spans(kept.values()), *(Span(*row[4:6]) for row in owed if row[5] is not None)],
    )


# --- what Postgres keeps

Kept = dict[str, tuple[str | None, float, float | None]]  # verdict, received, decided


def _kept(connection: psycopg.Connection[Any]) -> Kept:
    rows = connection.execute(
        "SELECT event_id, verdict, extract(epoch FROM received_at)::float8,"
        " extract(epoch FROM decided_at)::float8 FROM webhook_events"
    )
    return {event_id: (verdict, came, decided) for event_id, verdict, came, decided in rows}


def _ledger(connection: psycopg.Connection[Any]) -> dict[str, tuple[int, str]]:
    rows = connection.execute("SELECT key, minor, currency FROM revenue_entries")
    return {key: (minor, currency) for key, minor, currency in rows}


def _told(connection: psycopg.Connection[Any]) -> dict[int, tuple[str, str]]:
    rows = connection.execute("SELECT id, key, name FROM analytics_events")
    return {number: (key, name) for number, key, name in rows}


def _owed(connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    """(destination, analytics event, dedupe id, state, since, until)."""
    return connection.execute(
        "SELECT destination, analytics_event_id, dedupe_id::text, state || coalesce(': ' || reason,"
        " ''), extract(epoch FROM created_at)::float8, extract(epoch FROM finished_at)::float8"
        " FROM deliveries"
    ).fetchall()


def _fenced(connection: psycopg.Connection[Any]) -> list[float]:
    """A try is written down together with its finish, under its lease's token. So where two tries
    of one delivery both say that it was taken, one of the two finishes was refused."""
    rows = connection.execute(
        "SELECT extract(epoch FROM started_at)::float8 FROM (SELECT started_at, row_number() OVER"
        " (PARTITION BY delivery_id ORDER BY token DESC) AS place FROM attempts"
        " WHERE outcome = 'delivered') AS taken WHERE place > 1"
    )
    return [at for (at,) in rows]


def _spans(kept: Iterable[tuple[str | None, float, float | None]]) -> Iterator[Span]:
    for _, received, decided in kept:
        if decided is not None:
            yield Span(received, decided)


# --- what the receivers noted


def read_log(file: Path) -> tuple[list[Received], list[str]]:
    """What came, in order; and the paths of requests that nobody may make."""
    received: list[Received] = []
    traps: list[str] = []
    with file.open() as lines:
        for line in lines:
            noted = json.loads(line)
            if "trap" in noted:
                traps.append(noted["trap"])
            else:
                received.append(_received(noted))
    return sorted(received, key=lambda one: one.at), traps


def _received(noted: Mapping[str, Any]) -> Received:
    currency, major = noted["currency"], noted["revenue"]
    minor = None if major is None else Decimal(major).scaleb(DECIMALS.get(currency, 2))
    return Received(
        at=noted["at"],
        to=noted["to"],
        key=noted["key"],
        name=noted["name"],
        fact=noted["fact"],
        hash=noted["hash"],
        money=None if minor is None else (int(minor), currency),
        effect=noted["effect"],
        answer=noted["answer"],
    )


Effects = dict[tuple[str, str], Received]  # the first effect by receiver and key


def effects_of(log: Iterable[Received]) -> tuple[Effects, list[float]]:
    """The first effect of each key, and when those of which there was another came."""
    first: Effects = {}
    again: list[float] = []
    for one in log:
        if not one.effect:
            continue
        earlier = first.setdefault((one.to, one.key), one)
        if earlier is not one:
            again.append(earlier.at)
    return first, again


def _names(first: Effects, to: str) -> Counter[str]:
    return Counter(one.name for one in first.values() if one.to == to)


def _money(first: Effects, to: str) -> Iterator[tuple[int, str]]:
    return (one.money for one in first.values() if one.to == to and one.money)


# --- the comparisons


def _not_kept(acknowledged: Iterable[Acknowledged], kept: Kept) -> Iterator[Problem]:
    for one in acknowledged:
        if one.event_id not in kept:
            yield Problem(f"answered 2xx and not kept: {one.event_id}", one.at)
            continue
        verdict = kept[one.event_id][0]
        if verdict is None or (verdict == "quarantined" and not one.odd):
            yield Problem(f"kept and never told: {one.event_id} ({verdict})", one.at)


def _fewer(expected: Counter[str], found: Counter[str], where: str) -> Iterator[Problem]:
    for name, missing in sorted((expected - found).items()):
        yield Problem(f"{where}: {missing} too few of {name}")


def _more(expected: Counter[str], found: Counter[str], where: str) -> Iterator[Problem]:
    for name, extra in sorted((found - expected).items()):
        yield Problem(f"{where}: {extra} too many of {name}")


def _never_told(owed: Iterable[Sequence[Any]], first: Effects) -> Iterator[Problem]:
    """Marked delivered, and the receiver knows nothing of it. (Amplitude's key has the device.)"""
    heard = {(to, key.partition(" ")[0]) for to, key in first}
    for to, _, dedupe_id, state, since, _ in owed:
        if state == "delivered" and (to, dedupe_id) not in heard:
            yield Problem(f"{to}: marked delivered, never received: {dedupe_id}", since)


def _not_delivered(
    owed: Sequence[Sequence[Any]], told: Mapping[int, tuple[str, str]]
) -> Iterator[Problem]:
    has = defaultdict(set)
    for to, number, dedupe_id, state, since, _ in owed:
        has[number].add(to)
        if state != "delivered":
            yield Problem(f"{to}: {dedupe_id} is {state}", since)
    for number, (key, name) in told.items():
        for to in set(DESTINATIONS) - has[number]:
            yield Problem(f"{to}: {name} {key} was never owed")


def _facts_not_heard(expected: Expected, first: Effects) -> Iterator[Problem]:
    """By the fact's own key, which the signed webhook tells: past all of the product's tables."""
    heard = {one.fact for one in first.values() if one.to == "webhook"}
    for key in sorted(expected.money.keys() - heard):
        yield Problem(f"webhook: {key} never arrived")


def _other_sums(revenue: Mapping[str, Money]) -> Iterator[Problem]:
    for who, sums in revenue.items():
        if sums != revenue["expected"]:
            yield Problem(f"revenue, {who}: {sums}, expected {revenue['expected']}")


def _two_keys(first: Effects) -> Iterator[Problem]:
    """One fact under two dedupe keys counts twice, however well each of them is deduped."""
    keys = defaultdict(set)
    for (to, key), one in first.items():
        keys[to, one.fact if to == "webhook" else key.partition(" ")[0]].add(key)
    for (to, fact), several in keys.items():
        if len(several) > 1:
            yield Problem(f"{to}: {fact} came under {len(several)} keys")


def _other_bytes(log: Iterable[Received]) -> Iterator[Problem]:
    hashes = defaultdict(set)
    for one in log:
        hashes[one.to, one.key].add(one.hash)
    for (to, key), several in hashes.items():
        if len(several) > 1:
            yield Problem(f"{to}: {key} came with {len(several)} different bodies")
