"""What Postgres alone does: the door's three inserts, one webhook event to a commit.

By pgbench where Postgres brought it along, else by processes of our own (slower: say which).
"""

import os
import re
import subprocess
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url

from app.local.programs import StoresUnavailable, postgres_program

# The body travels as a parameter with every statement, as it does from the door.
INSERTS = """
WITH kept AS (
    INSERT INTO webhook_event_keys (account, livemode, event_id)
    VALUES ('', false, 'evt_reference' || {n}::text) ON CONFLICT DO NOTHING RETURNING id, event_id
), event AS (
    INSERT INTO webhook_events
        (id, account, livemode, event_id, type, created, api_version, origin, raw)
    SELECT id, '', false, event_id, 'invoice.paid', now(), '2025-03-31.basil', 'webhook',
        convert_to({body}::text, 'UTF8')
    FROM kept RETURNING id
)
INSERT INTO work (lane, ref_id) SELECT 'process', id FROM event
"""
SCRIPT = "\\set n random(1, 1000000000000000)\n" + INSERTS.format(n=":n", body=":body") + ";\n"
PROCESSES = 2  # of our own, each with half of the connections


def name() -> str:
    """Which reference it is."""
    return "pgbench" if _pgbench() else "psycopg, one row a commit"


def rate(database_url: str, connections: int, seconds: float, body: bytes) -> float:
    """Rows kept a second."""
    program = _pgbench()
    if program is None:
        return _own(database_url, connections, seconds, body)
    host = str(make_url(database_url).query["host"])
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(SCRIPT)
        script.flush()
        command = [
            str(program),
            "-h",
            host,
            "-U",
            "postgres",
            "-n",
            "-M",
            "prepared",
            "-f",
            script.name,
        ]
        command += ["-c", str(connections), "-j", "2", "-T", str(max(1, round(seconds)))]
        command += ["-D", f"body={body.decode()}", "bridge"]
        env = {**os.environ, "PGOPTIONS": "-c synchronous_commit=on"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    found = re.search(r"^tps = ([0-9.]+)", done.stdout, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"pgbench: {done.stderr.strip()}")
    return float(found[1])


def _pgbench() -> Path | None:
    try:
        return postgres_program("pgbench")
    except StoresUnavailable:
        return None


def _own(database_url: str, connections: int, seconds: float, body: bytes) -> float:
    shares = [len(range(one, connections, PROCESSES)) for one in range(PROCESSES)]
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(_insert, database_url, own, seconds, body) for own in shares if own]
        return sum(job.result() for job in jobs)


def _insert(database_url: str, connections: int, seconds: float, body: bytes) -> float:
    """This process's share: rows a second of all its connections."""
    where = make_url(database_url).set(drivername="postgresql").render_as_string(False)
    query = INSERTS.format(n="%(n)s", body="%(body)s")

    def run(_: int) -> float:
        with psycopg.connect(where, autocommit=True, prepare_threshold=0) as connection:
            connection.execute("SET synchronous_commit = on")
            rows, began = 0, time.perf_counter()
            while time.perf_counter() - began < seconds:
                number = int.from_bytes(os.urandom(6), "big")
                connection.execute(query, {"n": number, "body": body.decode()})
                rows += 1
            return rows / (time.perf_counter() - began)

    with ThreadPoolExecutor(connections) as threads:
        return sum(threads.map(run, range(connections)))
