"""Places: distances on the sphere, over the date line and the poles."""

from __future__ import annotations

import math

import numpy as np
import pytest

from index.database.database import Database
from index.database.details import Detail
from index.database.write import NewPicture
from index.search.place import Near, as_near, distances, ids_near
from vsearch.errors import QueryError

PARIS, BERLIN, FIJI = (48.8566, 2.3522), (52.52, 13.405), (-17.0, 179.9)


def exact(one: tuple[float, float], other: tuple[float, float]) -> float:
    """The same by the angle between two vectors from the middle of the earth."""

    def direction(place: tuple[float, float]) -> np.ndarray:
        up, east = math.radians(place[0]), math.radians(place[1])
        return np.array([math.cos(up) * math.cos(east), math.cos(up) * math.sin(east), math.sin(up)])

    a, b = direction(one), direction(other)
    return 6371.0088 * math.atan2(float(np.linalg.norm(np.cross(a, b))), float(a @ b))


@pytest.mark.parametrize(
    "one, other",
    [(PARIS, BERLIN), (FIJI, (-17.0, -179.9)), ((89.9, 0.0), (89.9, 180.0)), (PARIS, (-48.8566, -177.6478)),
     (PARIS, PARIS)],
)  # fmt: skip
def test_distances_are_those_on_a_sphere(one: tuple[float, float], other: tuple[float, float]) -> None:
    [found] = distances(np.array([one]), *other)
    assert found == pytest.approx(exact(one, other), abs=1e-4)


def test_a_known_distance() -> None:
    assert distances(np.array([PARIS]), *BERLIN)[0] == pytest.approx(878, abs=3)  # as atlases say


@pytest.fixture
def placed(library: Database) -> Database:
    library.adopt("m", 2)
    places = [PARIS, BERLIN, FIJI, (-17.0, -179.9), (89.95, 10.0), (89.95, -170.0), None]
    for number, place in enumerate(places):
        library.write.put(NewPicture(f"/p/{number}", 1, 1, b"h", np.ones(2, np.float32), None))
        library.details.put([(number + 1, Detail(1, 1, None, None, None, *(place or (None, None))))])
    return library


@pytest.mark.parametrize(
    "near, wanted",
    [
        (Near(48.85, 2.35, 1), [1]),
        (Near(48.85, 2.35, 870), [1]),
        (Near(48.85, 2.35, 880), [1, 2]),
        (Near(-17.0, 180.0, 11), [3, 4]),  # both sides of the date line, 10.6 km from it
        (Near(-17.0, -180.0, 11), [3, 4]),
        (Near(-17.0, 180.0, 10), []),
        (Near(90.0, 0.0, 6), [5, 6]),  # both sides of the pole
        (Near(0.0, 0.0, 21_000), [1, 2, 3, 4, 5, 6]),
        (Near(48.0, 2.3522, 95.5), [1]),  # 95.3 km north
        (Near(48.0, 2.3522, 95.0), []),
    ],
)
def test_pictures_near_a_place(placed: Database, near: Near, wanted: list[int]) -> None:
    assert ids_near(placed.details, near).tolist() == wanted


@pytest.mark.parametrize(
    "given", [(), (1, 2), (91, 0, 1), (0, 181, 1), (0, 0, 0), (0, 0, -1), (math.nan, 0, 1), (0, 0, math.inf)]
)
def test_what_is_no_place(given: tuple[float, ...]) -> None:
    with pytest.raises(QueryError, match="place") as caught:
        as_near(given)
    assert "48.858,2.294,5" in caught.value.hint
