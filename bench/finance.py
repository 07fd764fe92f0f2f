"""A ledger of many entries, made by SQL: how fast it is summed and exported, how much memory an
export takes, and what the guard of closed months costs whoever books."""

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import text

from app.finance.close import preview
from app.finance.month import Month
from app.store import exports
from app.store.exports import Wanted
from bench.room import ROOT, Room

YEAR = date(2025, 1, 1)
DAYS = 365
FORMS = ("csv", "journal", "xlsx")
BATCH = 2_000  # entries of one insert, when booking is measured

# Nine payments to a refund, a tenth of them late, and a settlement for each.
ENTRIES = text("""
    INSERT INTO revenue_entries (account, livemode, key, kind, minor, currency, tax_minor,
        discount_minor, customer, subscription, invoice, payment_intent, charge, refund,
        out_of_band, occurred_at, recorded_at, effective_date, posting_date, origin)
    SELECT '', true, CASE WHEN refund THEN 'refund:re_' ELSE 'payment:in_' END || n,
        CASE WHEN refund THEN 'refund' ELSE 'payment' END,
        CASE WHEN refund THEN -500 ELSE 1200 + n % 7000 END,
        CASE n % 3 WHEN 0 THEN 'usd' WHEN 1 THEN 'eur' ELSE 'jpy' END,
        CASE WHEN refund THEN NULL ELSE n % 200 END, CASE WHEN refund THEN NULL ELSE 0 END,
        'cus_' || n % 50000, 'sub_' || n % 60000, 'in_' || n, 'pi_' || n, 'ch_' || n,
        CASE WHEN refund THEN 're_' || n END, false,
        day + interval '12 hours', day + interval '13 hours', day, day, 'webhook'
    FROM (SELECT n, n % 10 = 9 AS refund, (:year + (n * :days / :entries)::int)::date AS day
          FROM generate_series(0, :entries - 1) n) AS made
""")
SETTLEMENTS = text("""
    INSERT INTO settlements (account, livemode, id, created, category, gross, fee, net, currency,
        effective_date, posting_date)
    SELECT '', true, 'txn_' || id, occurred_at,
        CASE kind WHEN 'payment' THEN 'charge' ELSE kind END, minor, 59, minor - 59, currency,
        effective_date, posting_date
    FROM revenue_entries;
    INSERT INTO settled_entries (account, livemode, settlement, key)
    SELECT '', true, 'txn_' || id, key FROM revenue_entries;
    ANALYZE revenue_entries; ANALYZE settlements; ANALYZE settled_entries;
""")
# A process of its own says its peak: of a parent that is larger, getrusage would say the parent's.
CHILD = """
import re, resource, sys
from app.cli import cli
cli(sys.argv[1:], standalone_mode=False)
try:
    found = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())
    peak = int(found.group(1)) * 1024
except OSError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Seconds, and the peak of its memory in MiB, of a fifth of the entries and of all."""

    form: str
    entries: int
    seconds: float
    fifth_mib: float
    whole_mib: float

    @property
    def ratio(self) -> float:
        return self.whole_mib / self.fifth_mib


@dataclass(frozen=True, slots=True, kw_only=True)
class Finance:
    """Seconds; `booking_us` and `unguarded_us` are microseconds an entry, medians in turn."""

    load_average: float
    entries: int
    summary: float
    close: float
    booking_us: float
    unguarded_us: float
    exports: list[Export]


def measure(
    room: Room, *, entries: int, forms: tuple[str, ...] = FORMS, rounds: int = 15
) -> Finance:
    """`rounds`: how often booking is measured."""
    busy = os.getloadavg()[0]
    room.empty()
    booking, unguarded = _booking(room, rounds)
    room.empty()
    with room.engine.begin() as connection:
        connection.execute(ENTRIES, {"entries": entries, "year": YEAR, "days": DAYS})
        connection.execute(SETTLEMENTS)
    found = Finance(
        load_average=busy,
        entries=entries,
        summary=_summary(room),
        close=_close(room),
        booking_us=booking,
        unguarded_us=unguarded,
        exports=[_export(room, form, entries) for form in forms],
    )
    room.empty()
    return found


def _summary(room: Room) -> float:
    with room.engine.connect() as connection:
        began = time.perf_counter()
        exports.summary(connection, Wanted(first=YEAR, last=YEAR + timedelta(DAYS)), "month")
        return time.perf_counter() - began


def _close(room: Room) -> float:
    """What a close does while it holds the lock, but for the row it writes."""
    with room.engine.connect() as connection:
        began = time.perf_counter()
        preview(connection, ("", True), Month(YEAR, ZoneInfo("UTC")))
        return time.perf_counter() - began


def _export(room: Room, form: str, entries: int) -> Export:
    fifth, _ = _child(room, form, YEAR + timedelta(DAYS // 5))
    whole, seconds = _child(room, form, YEAR + timedelta(DAYS))
    mib = 1024 * 1024
    return Export(
        form=form,
        entries=entries,
        seconds=seconds,
        fifth_mib=fifth / mib,
        whole_mib=whole / mib,
    )


def _child(room: Room, form: str, last: date) -> tuple[int, float]:
    """Peak bytes, and seconds."""
    file = room.folder / "export"
    days = ["--from", str(YEAR), "--to", str(last), "--format", form, "--out", str(file)]
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, "revenue", "export", *days],
        env=room.environment(),
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    seconds = time.perf_counter() - began
    file.unlink()
    return int(done.stdout), seconds


def _booking(room: Room, rounds: int) -> tuple[float, float]:
    """Microseconds of an entry with the guard and without, no month being closed."""
    took: dict[str, list[float]] = {"ENABLE": [], "DISABLE": []}
    for number in range(2 * rounds):
        mode = ("ENABLE", "DISABLE")[number % 2]
        with room.engine.begin() as connection:
            for trigger in ("wait_for_close", "post"):
                connection.execute(text(f"ALTER TABLE revenue_entries {mode} TRIGGER {trigger}"))
        with room.engine.begin() as connection:
            began = time.perf_counter()
            connection.execute(
                ENTRIES, {"entries": BATCH, "year": YEAR + timedelta(number), "days": 1}
            )
            took[mode].append((time.perf_counter() - began) / BATCH * 1e6)
            connection.rollback()
    with room.engine.begin() as connection:
        for trigger in ("wait_for_close", "post"):
            connection.execute(text(f"ALTER TABLE revenue_entries ENABLE TRIGGER {trigger}"))
    return statistics.median(took["ENABLE"]), statistics.median(took["DISABLE"])
