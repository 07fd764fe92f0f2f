"""A month's defects, each as it happens in life."""

from tests.month.books import Books
from tests.month.correctable import CORRECTABLE
from tests.month.explained import EXPLAINED
from tests.month.lasting import LASTING, ONCE
from tests.month.mendable import MENDABLE
from tests.month.planted import Planted


def plant_all(books: Books) -> Planted:
    planted = Planted()
    for one in (*MENDABLE, *CORRECTABLE, *EXPLAINED, *LASTING, *ONCE):
        one(books, planted)
    return planted


def plant_mendable(books: Books) -> Planted:
    planted = Planted()
    for one in (*MENDABLE, *CORRECTABLE, *EXPLAINED):
        one(books, planted)
    return planted
