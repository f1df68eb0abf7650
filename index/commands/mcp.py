"""`vsearch mcp`."""

from __future__ import annotations

import typer

from index.commands.options import Place
from vsearch.commands.group import expanded
from vsearch.commands.terms import typed
from vsearch.distribution import install_hint
from vsearch.errors import VsearchError

app = typer.Typer(rich_markup_mode=None)


@app.command("mcp")
@expanded
def mcp(place: Place) -> None:
    """Let an assistant search the library: an MCP server over stdin and stdout, which only reads.

    It is started by the assistant's program, not by hand. Its tools are search, similar, describe and info; it reads
    no file but pictures of the library, and writes none.

    \b
    Example:
      vsearch mcp --library /media/photos.library
    """
    try:
        from index.assistant.server import make_server
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in ("mcp", "mcp_types", "pydantic"):
            raise
        raise VsearchError(f"the server needs {package}", f"install the extra: {install_hint('mcp')}") from None
    from index.assistant.desk import Desk
    from vsearch.model import load

    make_server(Desk(place.library, load(place.model, place.device)), typed).run("stdio")
