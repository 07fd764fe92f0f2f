"""Customers: ids in their own metadata, without a visit."""

import pytest

from app.core.facts import Reading
from tests.core.stripe_objects import IDS, Json, a_link, read

TYPES = pytest.mark.parametrize("type_", ["customer.created", "customer.updated"])


@TYPES
def test_ids_of_a_customer_are_stated_when_they_are_announced(type_: str) -> None:
    customer: Json = {
        "id": "cus_1",
        "object": "customer",
        "email": "jane@example.com",
        "metadata": {**IDS, "plan": "pro"},
    }
    link = a_link("cus_1", source="customer.metadata", rank=3, ids=IDS, completed_at=None)

    assert read(type_, customer) == Reading(links=(link,))


@TYPES
@pytest.mark.parametrize("metadata", [None, {}, {"plan": "pro"}])
def test_a_customer_without_ids_says_nothing(type_: str, metadata: object) -> None:
    customer = {"id": "cus_1", "object": "customer", "metadata": metadata}

    assert read(type_, customer) == Reading()
