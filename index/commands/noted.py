"""Options about what people wrote on pictures, in `vsearch search` and `vsearch similar`, and how it is printed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from index.database.notes import Note


@dataclass(frozen=True)
class Noted:
    """Which keywords and how many stars pictures have."""

    keyword: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD", help="Only pictures with this keyword; may be given often.", show_default=False),
    ] = None
    rating: Annotated[
        int | None, typer.Option(min=1, max=5, metavar="N", help="Only pictures with N stars or more.")
    ] = None

    def filters(self) -> dict[str, Any]:
        """Return what `Library.search` and `Library.similar` take."""
        return {"keywords": tuple(self.keyword or ()), "rating": self.rating}


def note_row(note: Note | None) -> dict[str, Any]:
    """Return what is written about a picture as values of JSON, null where nothing is."""
    if note is None:
        return {"title": None, "description": None, "keywords": [], "rating": None}
    return {
        "title": note.title,
        "description": note.description,
        "keywords": list(note.keywords),
        "rating": note.rating,
    }
