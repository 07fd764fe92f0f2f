"""A person's word on whose a Stripe object is: what waits for it leaves at once."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from app.core.facts import Link
from app.core.identity import MANUAL
from app.release import release
from app.settings import Settings
from app.store import analytics_events, audit, erasures, identities
from app.store.identities import Scope


class Forgotten(ValueError):
    """The object, or one of the ids, is of a person who was forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """`released` analytics events left with it; `told` had left under a pseudonym before, and
    stay as they are: what a destination has, it keeps."""

    released: int
    told: int


def link(
    connection: Connection,
    settings: Settings,
    scope: Scope,
    object_id: str,
    ids: Mapping[str, str],
    *,
    who: str,
    why: str,
) -> Linked:
    """Link a customer, subscription, invoice or payment to these ids, in the caller's transaction.

    It speaks for all that has no ids of its own: what waits, what was withheld for want of an
    identity, and what comes later. Names of ids are those of the checkout's metadata. Raises
    Forgotten where the object is of somebody who was forgotten.
    """
    account, livemode = scope
    own = {(account, livemode, object_id)}
    identities.lock(connection, own)
    if any(erasures.known(connection, own, {(account, value) for value in ids.values()})):
        raise Forgotten("this person was forgotten: nothing is linked to them any more")
    said = Link(
        objects=(object_id,),
        customer=None,
        source=MANUAL,
        rank=0,
        ids=ids,
        campaign={},
        consent=None,
        stated_at=identities.now(connection),
        completed_at=None,
    )
    identities.add_links(connection, [(scope, said)])
    waiting = analytics_events.waiting_for(connection, own)
    withheld = analytics_events.withheld_for_nobody(connection, scope, object_id)
    refs = identities.refs_of(connection, own)
    release(connection, settings, told=[], held=waiting, refs=refs)
    # Their hold has ended: what else they lack is not waited for a second time.
    release(connection, settings, told=[], held=withheld, refs=refs, final=True)
    asked = {"object": object_id, "account": account, "livemode": livemode, "ids": sorted(ids)}
    released = analytics_events.released(connection, [one.id for one in (*waiting, *withheld)])
    audit.note(connection, who, "link", why, asked, released)
    told = analytics_events.told_of_nobody(connection, scope, object_id)
    return Linked(released=released, told=told)
