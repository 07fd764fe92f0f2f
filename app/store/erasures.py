"""People who were forgotten: who asked for it, and by what they are known again. Stripe's ids stay,
as in the ledger; ids of persons become salted digests."""

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, Row, text

from app.store.bulk import insert_rows
from app.store.identities import Scoped, columns
from app.store.schema import tombstones

Owned = tuple[str, str]  # account, an id of a person: user 42 of two connected accounts are two
FORGET_LOCK = 7_203_514_006  # an advisory lock; any constant that nothing else takes

# One salt for the database, so that one query can ask for many. It is kept beside the digests:
# short ids could still be guessed by who has both, other databases' digests say nothing of ours.
SALT = "(SELECT salt FROM erasures ORDER BY id LIMIT 1)"
OWNED = "v.account || ' ' || v.value"
DIGEST = f"sha256({SALT} || convert_to({{}}, 'UTF8'))"

# OFFSET 0: each is looked up by its index. Else Postgres reads all tombstones for every batch.
KNOWN = text(f"""
    SELECT o.account, o.livemode, o.id, NULL AS value
    FROM unnest(CAST(:accounts AS text[]), CAST(:livemodes AS boolean[]), CAST(:ids AS text[]))
        AS o (account, livemode, id)
    CROSS JOIN LATERAL (
        SELECT FROM tombstones t
        WHERE t.object_id = o.id AND t.account = o.account AND t.livemode = o.livemode OFFSET 0
    ) AS t
    UNION ALL
    SELECT v.account, NULL, NULL, v.value
    FROM unnest(CAST(:owners AS text[]), CAST(:values AS text[])) AS v (account, value)
    CROSS JOIN LATERAL (
        SELECT FROM erased_ids e WHERE e.digest = {DIGEST.format(OWNED)} OFFSET 0
    ) AS e
""")


def known(
    connection: Connection, objects: Collection[Scoped], ids: Collection[Owned]
) -> tuple[set[Scoped], set[Owned]]:
    """Of these Stripe ids and ids of persons, those of people who were forgotten."""
    values = {**columns(objects), **owned(ids)}
    found = list(connection.execute(KNOWN, values))
    return (
        {(row.account, row.livemode, row.id) for row in found if row.id is not None},
        {(row.account, row.value) for row in found if row.id is None},
    )


def owned(ids: Collection[Owned]) -> dict[str, list[object]]:
    ordered = sorted(ids)
    return {"owners": [one[0] for one in ordered], "values": [one[1] for one in ordered]}


# --- requests to forget


def begin(connection: Connection, seed: str, salt: bytes, *, who: str, why: str) -> int:
    """The request's id: that of an earlier one for the same that did not come to its end, or new.

    `salt` is for a database that has none. `seed`, what was typed, is kept as a digest.
    """
    query = text(f"""
        WITH salted AS (SELECT coalesce({SALT}, :salt) AS salt),
        seeded AS (SELECT salt, sha256(salt || convert_to(:seed, 'UTF8')) AS seed FROM salted),
        open AS (SELECT e.id FROM erasures e JOIN seeded s ON e.seed = s.seed
                 WHERE e.finished_at IS NULL ORDER BY e.id LIMIT 1),
        made AS (INSERT INTO erasures (who, why, salt, seed)
                 SELECT :who, :why, salt, seed FROM seeded WHERE NOT EXISTS (SELECT FROM open)
                 RETURNING id)
        SELECT id FROM open UNION ALL SELECT id FROM made
    """)
    values = {"seed": seed, "salt": salt, "who": who, "why": why or None}
    return int(connection.execute(query, values).scalar_one())


def earlier(connection: Connection, seed: str) -> list[Row[Any]]:
    """Requests for the same (id, begun_at, finished_at, seed), newest first."""
    query = text(f"""
        SELECT id, begun_at, finished_at, encode(seed, 'hex') AS seed FROM erasures
        WHERE seed = {DIGEST.format(":seed")} ORDER BY id DESC
    """)
    return list(connection.execute(query, {"seed": seed}))


def bury(connection: Connection, objects: Collection[Scoped], ids: Collection[Owned] = ()) -> None:
    """From now on these are known as forgotten."""
    rows = [
        {"object_id": one, "account": account, "livemode": livemode}
        for account, livemode, one in sorted(objects)
    ]
    insert_rows(connection, tombstones, rows)
    query = text(f"""
        INSERT INTO erased_ids (digest)
        SELECT DISTINCT {DIGEST.format(OWNED)}
        FROM unnest(CAST(:owners AS text[]), CAST(:values AS text[])) AS v (account, value)
        ON CONFLICT DO NOTHING
    """)
    connection.execute(query, owned(ids))


def answered(connection: Connection, erasure: int, destination: str, words: str) -> None:
    """How the deletion at this destination went: no id, no word of theirs."""
    query = text("""
        UPDATE erasures SET destinations = destinations || jsonb_build_object(
            CAST(:destination AS text), CAST(:words AS text)) WHERE id = :id
    """)
    connection.execute(query, {"id": erasure, "destination": destination, "words": words})


def finish(connection: Connection, erasure: int, rows: Mapping[str, int]) -> str:
    """The request came to its end; the digest of what was typed, in hexadecimals."""
    query = text("""
        UPDATE erasures SET finished_at = clock_timestamp(),
            rows = CAST(:rows AS jsonb) WHERE id = :id RETURNING encode(seed, 'hex')
    """)
    counts = "{" + ", ".join(f'"{name}": {count}' for name, count in rows.items()) + "}"
    return str(connection.execute(query, {"id": erasure, "rows": counts}).scalar_one())
