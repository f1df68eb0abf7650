"""What the HTTP API gives back, field by field: /openapi.json is made of these."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field


class Unknown(BaseModel):
    """A word that is not in the dictionary, and the known one nearest to it by its letters."""

    word: str
    guess: str | None


class TermRow(BaseModel):
    """A part of the query: a word or label as it is typed, the picture, what was learned, or what votes add."""

    word: str
    kind: str = Field(description="word, picture, taught (what was learned from votes) or votes")
    weight: float


class Said(BaseModel):
    """Where a picture says the text that was asked for, and some words around it."""

    field: str = Field(description="caption (with title and description), keywords, name or picture (text seen in it)")
    snippet: str


class HitRow(BaseModel):
    """A picture found."""

    id: int
    path: str = Field(description="as text: bytes that are no UTF-8 are U+FFFD")
    score: float | None = Field(description="the share of such hits that fit, or the cosine; null without a query")
    cosine: float | None
    caption: str | None
    by_hand: bool = Field(description="whether the caption was written by a person")
    width: int = Field(description="pixels, upright; 0 if not known")
    height: int
    taken: str | None = Field(description="when it was taken, else when the file changed: local time")
    why: list[str] = Field(description="the words nearest to the picture, if they were asked for")
    parts: list[float] = Field(description="its product with each term; see `gram`")
    vote: bool | None = Field(description="whether it was voted to fit this query")
    v: str = Field(description="the beginning of the content's hash: names the thumbnail")
    match: Said | None = Field(description="where it says the text that was asked for")


class SearchAnswer(BaseModel):
    """What /api/search gives back. `next` is the value of `after` for the next hits, null at the end."""

    total: int
    took_ms: float
    unknown: list[Unknown]
    terms: list[TermRow]
    gram: list[list[float]] = Field(description="the products of the terms' vectors with each other")
    curve: tuple[float, float] | tuple[tuple[float, float], ...] | None = Field(
        description="what makes scores of cosines: slope and offset of a logistic curve, or knots of straight lines"
    )
    hits: list[HitRow]
    next: int | None


class Similar(BaseModel):
    """What /api/similar gives back."""

    hits: list[HitRow]


class Near(BaseModel):
    """A word or noun near a picture, with its cosine."""

    word: str
    cosine: float


class Copy(BaseModel):
    """A picture that is the same as another one, or nearly."""

    id: int
    path: str
    v: str
    exact: bool = Field(description="whether the files have the same content")


class PictureAnswer(BaseModel):
    """What /api/picture gives back."""

    id: int
    path: str
    v: str
    caption: str | None
    by_hand: bool = Field(description="whether the caption was written by a person")
    width: int
    height: int
    size: int = Field(description="bytes")
    taken: str | None
    trouble: str | None = Field(description="why the file cannot be shown any more")
    exif: dict[str, str]
    words: list[Near]
    nouns: list[Near]
    duplicates: list[Copy]


class InfoAnswer(BaseModel):
    """What /api/info gives back."""

    version: str
    library: str
    pictures: int
    folders: list[str]
    model: str
    identity: str
    captions: bool
    read_only: bool
    trouble: str | None = Field(description="why the library cannot be searched")
    hint: str | None
    building: bool
    done: int = Field(description="files that the build has opened")
    todo: int = Field(description="files that the build must open")


class WordsAnswer(BaseModel):
    """What /api/words gives back."""

    words: list[str]


class FolderRow(BaseModel):
    """A folder of the library: how many pictures lie below it, and whether it has folders of its own."""

    path: str = Field(description="what a search takes for its folder")
    name: str
    pictures: int
    more: bool


class FoldersAnswer(BaseModel):
    """What /api/folders gives back. `next` is the value of `after` for the next ones, null at the end."""

    folders: list[FolderRow]
    next: int | None


class AttendedWord(BaseModel):
    """A word of a caption: how much it drew on each cell, row by row, and how much on language only."""

    word: str
    sentinel: float | None = Field(description="null if the decoder has none")
    cells: list[float] = Field(description="side * side numbers; none if the decoder attends to nothing")


class AttentionAnswer(BaseModel):
    """What /api/attention gives back."""

    caption: str
    words: list[AttendedWord]
    side: int


class WhereAnswer(BaseModel):
    """What /api/where gives back: a signed share for each cell, row by row, and their sum, the cosine."""

    side: int
    cells: list[float]
    sum: float


class ProblemRow(BaseModel):
    """An error as RFC 9457 writes it."""

    type: str
    title: str
    status: int
    detail: str
    hint: str


class MonthRow(BaseModel):
    """A month, how many pictures there are, and how many are expected to fit the query; null without a query."""

    month: str
    expected: float | None
    total: int


class TimeAnswer(BaseModel):
    """What /api/time gives back."""

    months: list[MonthRow]


def _whole(value: object) -> object:
    """Return a number that is whole, as JSON has it, as an int; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Number = Annotated[int, Field(ge=1, le=2**53 - 1), BeforeValidator(_whole)]  # of a picture; JSON is exact up to there


class VoteRow(BaseModel, strict=True):
    """A vote: whether a picture fits a query."""

    id: Number
    q: str = Field(max_length=1000)
    good: bool


class CaptionRow(BaseModel, strict=True):
    """A caption that a person writes."""

    caption: str = Field(max_length=2000)


class FindingRow(BaseModel):
    """One thing that is wrong with the library, and what to do about it."""

    message: str
    remedy: str


class CheckAnswer(BaseModel):
    """What /api/check gives back."""

    pictures: int
    findings: list[FindingRow]


class SidecarRow(BaseModel, strict=True):
    """Of which pictures captions are to be written as XMP files."""

    ids: list[Number] = Field(max_length=1000)


class SkippedRow(BaseModel):
    """A picture that was left out, and why."""

    id: int
    reason: str


class SidecarAnswer(BaseModel):
    """What /api/sidecar gives back: the files written, and the pictures left out."""

    written: list[str]
    skipped: list[SkippedRow]
