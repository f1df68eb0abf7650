"""`vsearch serve`."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from index.commands.options import Place
from vsearch.commands.group import expanded
from vsearch.commands.terms import typed
from vsearch.console import out, remark
from vsearch.distribution import install_hint
from vsearch.errors import VsearchError

if TYPE_CHECKING:
    from index.web.service import Service

app = typer.Typer(rich_markup_mode=None)


@app.command()
@expanded
def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="Port; 0 takes any that is free.")] = 8765,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in your browser.")] = True,
    read_only: Annotated[bool, typer.Option("--read-only", help="Keep no votes and change no captions.")] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", metavar="NAME", help="Answer to this name too: behind a proxy.")
    ] = None,
    *,
    place: Place,
) -> None:
    """Open the library as a page in your browser, and answer its HTTP API.

    The server listens on this machine only, and the address that it prints holds a key: only who has it gets in.
    Ctrl-C ends it. A build may run at the same time.

    \b
    Example:
      vsearch serve
      vsearch serve --port 8770 --no-open --read-only
      vsearch serve --library /media/photos.library
    """
    try:
        from index.web.serve import Server, open_browser
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "uvicorn", "starlette", "multipart", "python_multipart", "pydantic"):
            raise
        raise VsearchError(f"the server needs {error.name}", f"install the extra: {install_hint('web')}") from None
    service = open_service(place, read_only=read_only)
    server = Server(service, port, allow_host or ())
    out(f"vsearch: {server.address_with_key}")
    failed = partial(remark, "no browser was found: open the address above in one")
    try:
        with open_browser(server, failed) if open_ else nullcontext():
            server.run()
    finally:
        service.close()


def open_service(place: Place, *, read_only: bool) -> Service:
    """Return what answers for the library at a place, which may not be there yet; a file that is none is refused."""
    from index.caches.thumbnails import default_folder
    from index.database.database import Database, NoLibraryError
    from index.paths import default_path
    from index.web.service import Service
    from index.web.thumbnails import Thumbnails
    from vsearch.model import load

    path = (default_path() if place.library is None else place.library).absolute()
    with suppress(NoLibraryError), Database.open(path, read_only=True):
        pass
    model, thumbnails = load(place.model, place.device), Thumbnails(default_folder())
    return Service(path, model, thumbnails, read_only=read_only, say=typed)
