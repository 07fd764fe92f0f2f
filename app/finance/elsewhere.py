"""Whether Stripe's rows are of the account and mode that they are compared with: a wrong option
makes every payment look like one that no webhook event told of."""

from collections import Counter
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection

from app.core.reconcile.frame import options, whose
from app.core.reconcile.match import Group
from app.core.reconcile.rows import StripeRow
from app.store.identities import Scope
from app.store.known_payments import known_as

SAMPLE = 1_000  # of the rows: one that is known here is enough


class KnownElsewhere(Exception):
    """None of the payments is known in the account and mode that were asked for, and some are in
    another: which."""


def check(connection: Connection, scope: Scope, rows: Iterable[StripeRow]) -> None:
    """Raises KnownElsewhere. What a platform's report has of its connected accounts is rightly
    known as theirs."""
    account, _ = scope
    own = [row for row in rows if row.connected_account in (None, account)]
    payments = sorted((row for row in own if row.category == "charge"), key=lambda row: row.id)
    some = payments[:: len(payments) // SAMPLE + 1]
    if any(scope in scopes for scopes in _scopes(connection, some)):
        return
    found = _scopes(connection, payments)
    if not any(found) or any(scope in scopes for scopes in found):
        return
    counts = Counter(one for scopes in found for one in sorted(scopes))
    [(other, number)] = counts.most_common(1)
    raise KnownElsewhere(
        f"{number:,} of the source's {len(payments):,} payments are known as {whose(*other)},"
        f" and none as {whose(*scope)}: say {options(*other)}. Nothing was kept."
    )


def _scopes(connection: Connection, rows: Sequence[StripeRow]) -> list[set[Scope]]:
    """In which accounts and modes each row is known."""
    known = known_as(connection, {one for row in rows for one in ids_of(row)})
    return [{one for id_ in ids_of(row) for one in known.get(id_, ())} for row in rows]


def ids_of(row: StripeRow) -> list[str]:
    """What a webhook event may have told of."""
    return [one for one in dict.fromkeys((row.source, row.charge, row.payment_intent)) if one]


def told(connection: Connection, scope: Scope, groups: Iterable[Group]) -> dict[str, Scope]:
    """Of the ids of these groups, of which nothing is known here: another account and mode in which
    webhook events told of them."""
    ids = {one for group in groups for row in group.rows for one in ids_of(row)}
    known = known_as(connection, ids)
    return {one: min(scopes) for one, scopes in known.items() if scope not in scopes}
