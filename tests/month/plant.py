"""A month's defects, each as it happens in life."""

from tests.month.books import Books
from tests.month.explained import EXPLAINED
from tests.month.lasting import LASTING
from tests.month.mendable import MENDABLE
from tests.month.planted import Planted


def plant_all(books: Books) -> Planted:
    planted = Planted()
    for one in (*MENDABLE, *EXPLAINED, *LASTING):
        one(books, planted)
    return planted


def plant_mendable(books: Books) -> Planted:
    planted = Planted()
    for one in (*MENDABLE, *EXPLAINED):
        one(books, planted)
    return planted
