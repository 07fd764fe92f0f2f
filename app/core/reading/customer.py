"""customer.*: ids in the customer's own metadata, the last place to look."""

from datetime import datetime

from app.core.facts import Reading
from app.core.identity import CUSTOMER_METADATA, link_in
from app.core.reading import shapes
from app.core.reading.shapes import Json


def stated(customer: Json, announced: datetime, _previous: Json | None) -> Reading:
    """customer.created, customer.updated: what the metadata says from now on; of no visit."""
    return Reading(
        links=link_in(
            shapes.metadata(customer),
            objects=(shapes.text(customer, "id"),),
            customer=None,
            source=CUSTOMER_METADATA,
            rank=3,
            stated_at=announced,
            completed_at=None,
        )
    )
