"""A month of Stripe's transactions against a ledger of many entries, both made by SQL: how long
each step of a reconciliation takes, and how much memory."""

import contextlib
import csv
import gc
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

import orjson
from sqlalchemy import text

from app.cli.reconcile_files import write_csv, write_xlsx
from app.core.reconcile.rows import Period
from app.finance.reconcile import Asked, reconcile
from app.finance.snapshot import File, by_csv
from app.settings import load_from_environment
from app.store.db import make_engine
from bench.room import ROOT, Room

MONTH = Period(start=date(2026, 10, 1), end=date(2026, 11, 1), zone=ZoneInfo("UTC"))
NOW = datetime(2026, 11, 5, tzinfo=UTC)
KEY = "0123456789abcdef0123456789abcdef"

# The month's payments lie between its first and its last ten minutes, the others in the nine months
# before. Four fifths are in euros. Each is of an invoice, by a payment intent, by a charge.
LEDGER = """
    SET LOCAL session_replication_role = replica;
    INSERT INTO revenue_entries (account, livemode, key, kind, minor, currency, tax_minor, invoice,
        occurred_at, effective_date, posting_date, origin)
    SELECT '', true, 'payment:in_' || n, 'payment', 1000 + n % 97,
        CASE WHEN n % 5 = 0 THEN 'usd' ELSE 'eur' END, 160, 'in_' || n, at, at::date, at::date,
        'webhook'
    FROM (
        SELECT n, CASE WHEN n > {earlier}
            THEN timestamptz '2026-10-01 00:10:00Z'
                + (n - {earlier}) * (interval '44620 minutes' / {month})
            ELSE timestamptz '2026-01-01 00:00:00Z' + n * (interval '272 days' / {earlier})
            END AS at
        FROM generate_series(1, {earlier} + {month}) n
    ) AS made;
    INSERT INTO stripe_refs (account, livemode, child, parent, customer)
    SELECT '', true, 'pi_' || n, 'in_' || n, false FROM generate_series(1, {earlier} + {month}) n;
    INSERT INTO stripe_refs (account, livemode, child, parent, customer)
    SELECT '', true, 'ch_' || n, 'pi_' || n, false
    FROM generate_series({earlier} + 1, {earlier} + {month}) n;
    INSERT INTO analytics_events (account, livemode, key, uuid, schema_version, name, occurred_at,
        state, about, properties, minor, currency, held_until, tax_minor)
    SELECT '', true, key, gen_random_uuid(), 2, 'payment_succeeded', occurred_at, 'released',
        ARRAY[invoice], '{{}}', minor, currency, occurred_at, tax_minor
    FROM revenue_entries WHERE effective_date >= '2026-10-01';
    INSERT INTO deliveries (destination, analytics_event_id, dedupe_id, state, payload)
    SELECT 'amplitude', id, gen_random_uuid(), 'delivered', convert_to(format(
        '{{"event_type":"payment_succeeded","time":1,"user_id":"u_%s","event_properties":'
        '{{"invoice_id":"%s","amount":12.34,"tax":1.6}},"revenue":%s,"currency":"%s"}}',
        id, key, (minor / 100.0)::numeric(12, 2), upper(currency)), 'UTF8')
    FROM analytics_events;
"""
FILE = text("""
    SELECT 'txn_' || n AS balance_transaction_id,
        to_char(occurred_at - interval '3 seconds', 'YYYY-MM-DD HH24:MI:SS') AS created_utc,
        currency, amount AS gross, '0.30' AS fee, amount - 0.30 AS net,
        'charge' AS reporting_category, 'ch_' || n AS source_id, amount AS customer_facing_amount,
        currency AS customer_facing_currency, 'ch_' || n AS charge_id, 'pi_' || n AS
        payment_intent_id, 'Subscription creation' AS description
    FROM revenue_entries, substr(invoice, 4) AS n, CAST(minor / 100.0 AS numeric(12, 2)) AS amount
    WHERE effective_date >= '2026-10-01' ORDER BY id
""")
# A process of its own has a peak of its own.
CHILD = "import sys; from bench.reconcile import take; take(*sys.argv[1:])"

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Seconds on the clock and of our own CPU (the rest is Postgres), and the peak of the memory
    by its end in MiB."""

    name: str
    seconds: float
    cpu: float
    peak_mib: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconcile:
    """`first` knows no settlements, `again` finds all of them kept."""

    load_average: float
    entries: int
    transactions: int
    first: list[Step]
    again: list[Step]


def measure(room: Room, *, entries: int, transactions: int) -> Reconcile:
    """`transactions` are the month's; as many of the `entries` are theirs."""
    busy = os.getloadavg()[0]
    room.empty()
    file = make(room, entries, transactions)
    first, again = _child(room, file, "first"), _child(room, file, "again")
    room.empty()
    return Reconcile(
        load_average=busy, entries=entries, transactions=transactions, first=first, again=again
    )


def _child(room: Room, file: Path, *words: str) -> list[Step]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(file), *words],
        env=room.environment(
            BRIDGE_DEST_AMPLITUDE_API_KEY=KEY, BRIDGE_DEST_AMPLITUDE_LIVEMODE="both"
        ),
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
    )
    return [Step(**each) for each in orjson.loads(done.stdout)]


def make(room: Room, entries: int, transactions: int) -> Path:
    """The ledger with its deliveries, and Stripe's file of the month."""
    with room.engine.begin() as connection:
        statements = LEDGER.format(earlier=entries - transactions, month=transactions)
        connection.exec_driver_sql(statements.replace("%", "%%"))
    with room.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
        found = connection.execute(FILE)
        path = room.folder / "balance.csv"
        with path.open("w", newline="") as lines:
            file = csv.writer(lines)
            file.writerow(found.keys())
            file.writerows(tuple(row) for row in found)
    return path


def take(path: str, which: str) -> None:
    """The steps one after the other, in a process of their own; they are told as JSON."""
    steps: list[Step] = []
    settings = load_from_environment()
    assert settings.database_url
    engine = make_engine(settings.database_url, "bench", statement_timeout=0)
    folder = Path(path).parent
    asked = Asked(period=MONTH, account="", livemode=True, who="bench", now=NOW)
    gc.disable()  # as `bridge reconcile` does
    _timed(steps, "start", lambda: None)
    snapshot = _timed(steps, "read the file", lambda: by_csv(_file(path), [], MONTH, NOW))
    report = _timed(steps, "compare", lambda: reconcile(engine, settings, asked, snapshot))
    assert (report.verdict, report.agrees) == ("clean", True)
    if which == "first":
        _timed(steps, "write CSV", lambda: write_csv(report, folder / "csv"))
        _timed(steps, "write XLSX", lambda: write_xlsx(report, folder / "report.xlsx"))
    sys.stdout.buffer.write(orjson.dumps([asdict(step) for step in steps]))


def _file(path: str) -> File:
    return File("balance.csv", Path(path).read_bytes())


def _timed(steps: list[Step], name: str, step: Callable[[], Value]) -> Value:
    seconds, cpu = time.perf_counter(), time.process_time()
    value = step()
    steps.append(
        Step(
            name=name,
            seconds=time.perf_counter() - seconds,
            cpu=time.process_time() - cpu,
            peak_mib=_peak(),
        )
    )
    return value


def _peak() -> float:
    """MiB, of this process alone: getrusage would say the parent's where that was larger."""
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return int(found.group(1)) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
