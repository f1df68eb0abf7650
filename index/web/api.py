"""The HTTP API: JSON for programs and for the pages' own scripts."""

from __future__ import annotations

import hashlib
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Path, Query, Request, Security, UploadFile
from fastapi.security import HTTPBearer
from pydantic import BeforeValidator, Field
from starlette.responses import FileResponse, Response

from index.web import folders, opinions, pictures, search, sidecar, status, whole
from index.web.answers import (
    AttentionAnswer,
    CaptionRow,
    CheckAnswer,
    FoldersAnswer,
    InfoAnswer,
    PictureAnswer,
    ProblemRow,
    SearchAnswer,
    SidecarAnswer,
    SidecarRow,
    Similar,
    TimeAnswer,
    VoteRow,
    WhereAnswer,
    WordsAnswer,
)
from index.web.photos import as_jpeg, checked, media_type
from index.web.problems import Problem
from index.web.search import PAGE, Wish
from index.web.service import Service
from index.web.thumbnails import rounded
from vsearch.errors import PictureError
from vsearch.image.decode import decode_bytes

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": ProblemRow} for code in (400, 401, 403, 404, 409, 410, 413, 415, 421, 422, 501, 503)
}
_KEY = HTTPBearer(
    description="The key in the address that the server printed; browsers keep it as a cookie.", auto_error=False
)
router = APIRouter(responses=_PROBLEMS, dependencies=[Security(_KEY)])
_JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}
_FOREVER = "private, max-age=31536000, immutable"


def service_of(request: Request) -> Service:
    """Return the service of the application that a request came to."""
    found: Service = request.app.state.service
    return found


_BLANK = BeforeValidator(lambda value: None if value == "" else value)  # a field of a form that is left empty
Served = Annotated[Service, Depends(service_of)]
Id = Annotated[int, Path(alias="id", ge=1, le=2**63 - 1, description="A picture's number in the library.")]
Words = Annotated[str, Query(max_length=1000, description='Words, as in: boat engine -sail 2*red "hot dog"')]
Number = Annotated[int, Field(ge=1, le=2**63 - 1)]
Like = Annotated[Number | None, _BLANK, Query(description="A picture of the library to look like.")]
Factor = Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)]
Weight = Annotated[
    Factor,
    BeforeValidator(lambda value: 1.0 if value == "" else value),
    Query(description="How much the picture counts."),
]
Within = Annotated[str, Query(alias="in", max_length=5000, description="Only pictures below this folder.")]
Since = Annotated[date | None, _BLANK, Query(alias="from", description="Only pictures taken from that day on.")]
Until = Annotated[date | None, _BLANK, Query(alias="to", description="Only pictures taken up to that day.")]
Camera = Annotated[
    str | None, Query(max_length=500, description="Only pictures taken with this camera: a name, or a part of it.")
]
Nearby = Annotated[
    str | None,
    Query(max_length=100, description="Only pictures taken near a place: latitude,longitude,kilometres."),
]
Bound = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
MinScore = Annotated[Bound | None, _BLANK, Query(description="Only hits with this score.")]
Text = Annotated[
    str | None,
    Query(
        max_length=500,
        description='Only pictures that say this (caption, keywords, file name, in it): stop "all way" sig*',
    ),
]
Sort = Annotated[str, Query(pattern="^(match|newest|oldest)$")]
Ids = Annotated[str, Query(max_length=200_000, pattern=r"^(\d{1,18}(,\d{1,18})*)?$", description="Only these ids.")]
Count = Annotated[int, Query(ge=1, le=500, description="How many hits.")]
After = Annotated[int, Query(ge=0, le=10_000, description="How many hits to pass over.")]


def wish_of(
    q: Words = "",
    like: Like = None,
    like_weight: Weight = 1.0,
    within: Within = "",
    since: Since = None,
    until: Until = None,
    camera: Camera = None,
    min_score: MinScore = None,
    text: Text = None,
    sort: Sort = "match",
    ids: Ids = "",
    near: Nearby = None,
) -> Wish:
    """Return what the parameters of a request ask for."""
    chosen = tuple(int(one) for one in ids.split(",")) if ids else None
    known = (within or None, since, until, camera or None, text or None, min_score, sort, chosen)
    return Wish(q, like, like_weight, *known, near=near or None)


Wished = Annotated[Wish, Depends(wish_of)]


@router.get("/api/search")
def get_search(service: Served, wish: Wished, k: Count = PAGE, after: After = 0, why: bool = False) -> SearchAnswer:
    """Search by words, by a picture of the library, or by both; without either the newest pictures."""
    return search.search(service, wish, k, after, why=why)


@router.post("/api/search")
def post_search(
    service: Served,
    file: Annotated[UploadFile, File(description="The picture to look like: 32 MB at most, never kept.")],
    q: Annotated[str, Form(max_length=1000)] = "",
    like_weight: Annotated[Factor, Form()] = 1.0,
    within: Annotated[str, Form(alias="in", max_length=5000)] = "",
    since: Annotated[date | None, _BLANK, Form(alias="from")] = None,
    until: Annotated[date | None, _BLANK, Form(alias="to")] = None,
    camera: Annotated[str, Form(max_length=500)] = "",
    min_score: Annotated[Bound | None, _BLANK, Form()] = None,
    text: Annotated[str, Form(max_length=500)] = "",
    sort: Annotated[str, Form(pattern="^(match|newest|oldest)$")] = "match",
    near: Annotated[str, Form(max_length=100)] = "",
    k: Annotated[int, Form(ge=1, le=500)] = PAGE,
    after: Annotated[int, Form(ge=0, le=10_000)] = 0,
) -> SearchAnswer:
    """Search by a picture that is sent with the request, and by words where there are some."""
    data = file.file.read()
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    side = service.model.side
    try:
        picture = decode_bytes(data, at_least=2 * side)
    except PictureError as error:
        raise Problem(413 if "too large" in str(error) else 415, f"this picture cannot be read: {error}") from None
    vector = service.asked(("picture", digest), lambda: service.model.embed_image(picture))
    known = (within or None, since, until, camera or None, text or None, min_score, sort)
    wish = Wish(q, None, like_weight, *known, picture_key=digest, near=near or None)
    return search.search(service, wish, k, after, picture=vector)


@router.get("/api/similar/{id}")
def get_similar(service: Served, id_: Id, k: Count = 12) -> Similar:
    """Find other pictures like one of the library."""
    return Similar(hits=search.similar(service, id_, k))


@router.get("/api/picture/{id}")
def get_picture(service: Served, id_: Id) -> PictureAnswer:
    """Give all about one picture: its row, EXIF, the words and nouns nearest to it, its copies."""
    return pictures.picture(service, id_)


@router.get("/api/attention/{id}")
def get_attention(service: Served, id_: Id) -> AttentionAnswer:
    """Give the model's caption of a picture, and where in it each word looked."""
    return pictures.attention(service, id_)


@router.get("/api/where/{id}")
def get_where(service: Served, id_: Id, q: Words) -> WhereAnswer:
    """Say how much each cell of a picture speaks for a query, or against it."""
    return pictures.where(service, id_, q)


@router.get("/api/words")
def get_words(
    service: Served,
    prefix: Annotated[str, Query(min_length=1, max_length=100)],
    k: Annotated[int, Query(ge=1, le=100)] = 10,
) -> WordsAnswer:
    """Complete known words that begin with some letters, the most usual first."""
    return WordsAnswer(words=[] if service.words is None else service.words.complete(prefix, k))


@router.get("/api/folders")
def get_folders(
    service: Served,
    within: Annotated[str, Query(alias="in", max_length=5000, description="The folder; none: the topmost ones.")] = "",
    k: Annotated[int, Query(ge=1, le=1000, description="How many folders.")] = folders.PAGE,
    after: Annotated[int, Query(ge=0, le=1_000_000, description="How many to pass over.")] = 0,
) -> FoldersAnswer:
    """Give the folders right below one of the library, by name, with the number of pictures in each."""
    return folders.folders(service, within, k, after)


@router.get("/api/info")
def get_info(service: Served) -> InfoAnswer:
    """Say what `vsearch info` says, and how far a build is."""
    return status.info(service)


@router.get("/api/map", response_class=Response, responses={200: {"content": {"application/octet-stream": {}}}})
def get_map(service: Served, x: Words = "", y: Words = "") -> Response:
    """Give a place for each picture: n ids as float64, then n pairs of float32, little-endian; axes are words."""
    return Response(whole.points(service, x, y), media_type="application/octet-stream")


@router.get("/api/time")
def get_time(
    service: Served,
    q: Words = "",
    like: Like = None,
    like_weight: Weight = 1.0,
    by: Annotated[str, Query(pattern="^month$")] = "month",
) -> TimeAnswer:
    """Say how many pictures of each month are expected to fit a query, and how many there are."""
    return whole.time_line(service, Wish(q, like, like_weight))


@router.post("/api/vote", status_code=204, response_class=Response)
def post_vote(service: Served, vote: VoteRow) -> Response:
    """Keep a vote on a picture for the words of a query: searches heed it at once."""
    opinions.vote(service, vote.id, vote.q, vote.good)
    return Response(status_code=204)


@router.delete("/api/vote", status_code=204, response_class=Response)
def delete_vote(service: Served, id_: Annotated[int, Query(alias="id", ge=1, le=2**63 - 1)], q: Words) -> Response:
    """Take a vote back."""
    opinions.vote(service, id_, q, None)
    return Response(status_code=204)


@router.get("/api/votes", response_class=Response, responses={200: {"content": {"application/jsonl": {}}}})
def get_votes(service: Served) -> Response:
    """Give all votes as JSON lines: query, path, caption, hash and whether it fits."""
    headers = {"Content-Disposition": 'attachment; filename="votes.jsonl"'}
    return Response("".join(opinions.exported(service)), media_type="application/jsonl", headers=headers)


@router.patch("/api/picture/{id}")
def patch_picture(service: Served, id_: Id, row: CaptionRow) -> PictureAnswer:
    """Give a picture a caption by hand, which later builds keep; the picture gets a new id."""
    return opinions.rewrite(service, id_, row.caption)


@router.post("/api/sidecar")
def post_sidecar(service: Served, row: SidecarRow) -> SidecarAnswer:
    """Write the captions of pictures into XMP files next to them, as `vsearch tag` does."""
    return sidecar.write(service, row.ids)


@router.post("/api/check")
def post_check(service: Served) -> CheckAnswer:
    """Verify library, caches and files, as `vsearch check` does; a damaged cache is deleted."""
    return status.check(service)


@router.get("/thumb/{id}", response_class=Response, responses={**_JPEG, 304: {"description": "It has not changed."}})
def get_thumb(
    request: Request,
    service: Served,
    id_: Id,
    s: Annotated[
        int, Query(ge=1, le=10_000, description="Pixels on the longer side; rounded up to a size kept.")
    ] = 320,
    v: Annotated[str, Query(max_length=40, description="The beginning of the content's hash, as hits have it.")] = "",
) -> Response:
    """Give a small copy of a picture: a JPEG without EXIF."""
    with service.reading() as (database, _):
        picture = checked(database, id_)
    name = picture.hash.hex()
    tag = f'"{name}-{rounded(s)}"'
    exact = bool(v) and name.startswith(v)  # an address that names the content never stands for another picture
    headers = {"ETag": tag, "Cache-Control": _FOREVER if exact else "private, no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(service.thumbnails.get(picture, rounded(s)), media_type="image/jpeg", headers=headers)


@router.get(
    "/photo/{id}",
    response_class=Response,
    responses={
        200: {"content": {f"image/{kind}": {} for kind in ("jpeg", "png", "gif", "webp", "avif")}},
        206: {"description": "The part that the header Range names."},
        416: {"description": "The file has no such part."},
    },
)
def get_photo(service: Served, id_: Id) -> Response:
    """Give the file itself if browsers show its kind, else a JPEG of it."""
    with service.reading() as (database, _):
        picture = checked(database, id_)
    headers = {"Cache-Control": "private, no-cache"}
    try:
        kind = media_type(picture.path)
    except OSError as error:
        raise Problem(410, f"the file cannot be read: {(error.strerror or 'error').lower()}") from None
    if kind is not None:
        return FileResponse(picture.path, media_type=kind, headers=headers)
    return Response(as_jpeg(picture.path), media_type="image/jpeg", headers=headers)


@router.get("/healthz", status_code=204, response_class=Response)
def healthz() -> Response:
    """Answer that the server is there. Needs no key."""
    return Response(status_code=204)
