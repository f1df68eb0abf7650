"""The desk as an MCP server over stdio: tools that only read, each with structured output and the same as text."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import date
from typing import Annotated, Any, TypeVar

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp_types import CallToolResult, ContentBlock, ImageContent, TextContent, ToolAnnotations
from pydantic import Field, ValidationError

from index.assistant.desk import LARGE, MOST, Described, Desk, Facts, Found, Hits
from vsearch import distribution
from vsearch.errors import VsearchError

T = TypeVar("T")
_READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
_ABOUT = (
    "Searches the user's own photos, on this machine. A query is words: -sail subtracts one, 2*boat weighs it, "
    '"hot dog" is one label. Captions are machine-made and may be wrong; a score is how likely a photo fits.'
)

Query = Annotated[str, Field(min_length=1, max_length=1000, description='As in: dog snow, boat -sail, "hot dog".')]
Photo = Annotated[str | int, Field(description="A picture of the library: its path or id, as search gives them.")]
Count = Annotated[int, Field(ge=1, le=MOST, description="How many pictures.")]
InFolder = Annotated[str | None, Field(max_length=5000, description="Only pictures below this folder.")]
Since = Annotated[date | None, Field(description="Only pictures taken on that day or later.")]
Until = Annotated[date | None, Field(description="Only pictures taken on that day or earlier.")]
MinScore = Annotated[float | None, Field(ge=-1, le=1, description="Only pictures that score as much.")]
Show = Annotated[bool, Field(description="Also give small pictures of the best five.")]
ShowOne = Annotated[bool, Field(description="Also give the picture, at most 640 pixels a side.")]


class OneLine(MCPServer[Any]):
    """An MCP server whose errors are one line each: what is wrong, and what to do about it."""

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None) -> Any:
        """Run a tool. Raises ToolError with one line, whatever it is about."""
        try:
            return await super().call_tool(name, arguments, context)
        except UnexpectedToolError:
            raise
        except ToolError as error:
            if isinstance(error.__cause__, ValidationError):
                first = error.__cause__.errors()[0]
                where = ".".join(str(part) for part in first["loc"][:1])
                raise ToolError(f"{where}: {first['msg']}") from None
            raise ToolError(" ".join(str(error.__cause__ or error).split())) from None


def make_server(desk: Desk, say: Callable[[str], str] = str) -> MCPServer[Any]:
    """Return the server of a desk; `say` puts what errors say into the terms of those who read it."""
    server = OneLine("vsearch", version=distribution.version(), instructions=_ABOUT, log_level="ERROR")

    def asked(question: Callable[[], T]) -> T:
        try:
            return question()
        except VsearchError as error:
            hint = f"; {say(error.hint)}" if error.hint else ""
            raise ToolError(f"{say(str(error))}{hint}") from None

    @server.tool(annotations=_READS)
    def search(
        query: Query,
        k: Count = 10,
        folder: InFolder = None,
        since: Since = None,
        until: Until = None,
        min_score: MinScore = None,
        thumbnails: Show = False,
    ) -> Annotated[CallToolResult, Hits]:
        """Find photos by words, the best first, with captions and scores."""
        found, rows = asked(lambda: desk.search(query, k, folder, since, until, min_score))
        return _result(_lines(found), found, asked(lambda: desk.thumbnails(rows)) if thumbnails else ())

    @server.tool(annotations=_READS)
    def similar(
        photo: Photo, k: Count = 10, folder: InFolder = None, thumbnails: Show = False
    ) -> Annotated[CallToolResult, Hits]:
        """Find photos like one of the library."""
        found, rows = asked(lambda: desk.similar(photo, k, folder))
        return _result(_lines(found), found, asked(lambda: desk.thumbnails(rows)) if thumbnails else ())

    @server.tool(annotations=_READS)
    def describe(photo: Photo, thumbnail: ShowOne = False) -> Annotated[CallToolResult, Described]:
        """Tell what is known of a photo of the library: its caption, the words nearest to it, size, date, camera."""
        found, row = asked(lambda: desk.describe(photo))
        lines = [f"{found.path}: {found.caption or 'no caption'}", f"near: {', '.join(found.words)}"]
        facts = {"taken": found.taken, "camera": found.camera, "trouble": found.trouble}
        lines += [f"{name}: {value}" for name, value in facts.items() if value]
        return _result("\n".join(lines), found, asked(lambda: desk.thumbnails([row], LARGE)) if thumbnail else ())

    @server.tool(annotations=_READS)
    def info() -> Annotated[CallToolResult, Facts]:
        """Say which library this is, which folders it has, and how many photos."""
        found = asked(desk.info)
        folders = "".join(f"\n  {folder}" for folder in found.folders)
        return _result(f"{found.pictures:,} pictures in {found.library}{folders}", found)

    return server


def _result(text: str, structured: Any, pictures: Sequence[bytes] = ()) -> CallToolResult:
    content: list[ContentBlock] = [TextContent(type="text", text=text)]
    for one in pictures:
        data = base64.b64encode(one).decode("ascii")
        content.append(ImageContent(type="image", data=data, mime_type="image/jpeg"))
    return CallToolResult(content=content, structured_content=asdict(structured))


def _lines(found: Hits) -> str:
    rows = [_line(hit) for hit in found.hits] or ["no picture fits"]
    if found.unknown:
        rows.append(f"not in the dictionary: {', '.join(found.unknown)}")
    return "\n".join(rows)


def _line(hit: Found) -> str:
    return f"{hit.score:.3f}  {hit.path}" + (f": {hit.caption}" if hit.caption else "")
