"""Pictures by where they were taken. n is a number of pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.database.details import Details
from vsearch.errors import QueryError

_HINT = "give latitude, longitude and kilometres, as in 48.858,2.294,5"
_EARTH = 6371.0088  # mean radius in km
_DEGREE = math.pi * _EARTH / 180  # km from one degree of latitude to the next


class Near(NamedTuple):
    """At most `km` kilometres from a place; latitude and longitude in degrees, north and east above zero."""

    latitude: float
    longitude: float
    km: float


def as_near(given: Sequence[float]) -> Near:
    """Return three numbers as a place and a distance. Raises QueryError if they are none."""
    if len(given) != 3:
        raise QueryError("a place to be near to has three numbers", _HINT)
    near = Near(*(float(number) for number in given))
    if not (abs(near.latitude) <= 90 and abs(near.longitude) <= 180 and 0 < near.km < math.inf):
        raise QueryError(f"no place: {near.latitude:g},{near.longitude:g} within {near.km:g} km", _HINT)
    return near


def parse_near(text: str) -> Near:
    """Return "48.858,2.294,5" as a place and a distance. Raises QueryError if it is none."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise QueryError(f"no place: {text!r}", _HINT) from None
    return as_near(numbers)


def ids_near(details: Details, near: Near) -> NDArray[np.int64]:
    """Return the ids of the pictures that were taken near a place: int64 (n,), ascending."""
    reach = 1.001 * near.km / _DEGREE  # degrees of latitude, and a little for rounding
    ids, places = details.places(near.latitude - reach, near.latitude + reach)
    return ids[distances(places, near.latitude, near.longitude) <= near.km]


def distances(places: NDArray[np.float64], latitude: float, longitude: float) -> NDArray[np.float64]:
    """Return how far places (n, 2), latitude and longitude in degrees, are from one: km (n,), by the haversine formula
    on a sphere, which is right to 0.6 %.
    """
    there, here = np.radians(places), np.radians([latitude, longitude])
    half = np.sin((there - here) / 2) ** 2  # (n, 2); sines have no date line
    share = half[:, 0] + np.cos(there[:, 0]) * np.cos(here[0]) * half[:, 1]
    return np.asarray(2 * _EARTH * np.arcsin(np.sqrt(np.clip(share, 0, 1))))
