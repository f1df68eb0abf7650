"""Options by when, where and with what pictures were taken, and how that is printed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsearch.console import remark
from vsearch.errors import QueryError

if TYPE_CHECKING:
    from index.database.details import Detail
    from index.library import Library

_DAY = ["%Y-%m-%d"]


class Order(StrEnum):
    """In what order hits are shown."""

    SCORE = "score"
    TAKEN = "taken"
    OLDEST = "oldest"


@dataclass(frozen=True)
class Shot:
    """When, where and with what pictures were taken, and whether hits come by date."""

    since: Annotated[
        datetime | None, typer.Option(formats=_DAY, metavar="DATE", help="Only pictures taken on that day or later.")
    ] = None
    until: Annotated[
        datetime | None, typer.Option(formats=_DAY, metavar="DATE", help="Only pictures taken on that day or earlier.")
    ] = None
    by_file_time: Annotated[
        bool, typer.Option("--by-file-time", help="Dates are when files last changed, not when pictures were taken.")
    ] = False
    camera: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only pictures by a camera with TEXT in its name.")
    ] = None
    near: Annotated[
        str | None, typer.Option(metavar="LAT,LON,KM", help="Only pictures taken at most KM kilometres from there.")
    ] = None
    sort: Annotated[
        Order, typer.Option(help="Order of the hits: the best, the latest or the earliest first.", show_default=True)
    ] = Order.SCORE

    def filters(self) -> dict[str, Any]:
        """Return what `Library.search` and `Library.similar` take. Raises BadParameter for a place that is none."""
        return {
            "since": self.since,
            "until": None if self.until is None else day_after(self.until),
            "by_file_time": self.by_file_time,
            "camera": self.camera,
            "near": None if self.near is None else as_place(self.near),
            "sort": self.sort.value,
        }


def day_after(day: datetime) -> datetime:
    """Return the day after, or the last there is."""
    return day if day.date() == datetime.max.date() else day + timedelta(days=1)


def as_place(text: str) -> tuple[float, ...]:
    """Return the three numbers of --near. Raises BadParameter if they are none."""
    from index.search.place import parse_near

    try:
        return parse_near(text)
    except QueryError:
        raise typer.BadParameter(
            f"--near takes latitude, longitude and kilometres, as in 48.858,2.294,5, not {text!r}"
        ) from None


def remark_missing(library: Library, shot: Shot) -> None:
    """Tell that an older library knows no cameras and places, where they are asked for."""
    if (shot.camera, shot.near) != (None, None) and not library.knows_details():
        remark("this library does not know cameras and places yet: `vsearch build-index` on its folders reads them")


def detail_row(detail: Detail | None) -> dict[str, Any]:
    """Return what is known of a picture as values of JSON, null where it is not; dates in local time."""
    if detail is None:
        return dict.fromkeys(("width", "height", "taken", "camera", "lens", "latitude", "longitude"))
    row: dict[str, Any] = {**detail._asdict(), "taken": None if detail.taken is None else moment(detail.taken)}
    return {**row, "width": detail.width or None, "height": detail.height or None}


def moment(nanoseconds: int) -> str:
    """Return nanoseconds since 1970 as local time with its distance from UTC, `2024-05-01T12:00:00+02:00`."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=nanoseconds // 1000)).astimezone().isoformat()
