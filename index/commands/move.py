"""`vsearch move`: a library's pictures into a store, and back."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from vsearch.commands.options import ModelOption
from vsearch.console import many, out, progress_bar, shown
from vsearch.errors import VsearchError

app = typer.Typer(rich_markup_mode=None)


@app.command()
def move(
    to: Annotated[str, typer.Option("--to", metavar="STORE", help="Where to: milvus://HOST:PORT/NAME, or a library.")],
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="STORE", help="Where from; default: the library in your data directory."),
    ] = None,
    model: ModelOption = None,
) -> None:
    """Copy the pictures of a library into a store on Milvus, or back; nothing is embedded again.

    What is cut off goes on where it stopped when it is run again. At the end counts are compared, and the vectors of
    1,000 pictures. Who may use a Milvus stands in MILVUS_TOKEN.

    \b
    Example:
      vsearch move --to milvus://db:19530/photos
      vsearch move --from milvus://db:19530/photos --to photos.library
    """
    from index.move import move as copy
    from index.paths import default_path
    from index.stores import open_store
    from vsearch.model import load

    if to == (source or str(default_path())):
        raise VsearchError("pictures would be moved to where they are", "name two places: --from and --to")
    with closing(open_store(source)) as before, closing(open_store(to, create=True)) as after:
        with progress_bar("pictures") as show:
            done = copy(before, after, load(model), show)
        kept = f", {done.there:,} were there" if done.there else ""
        out(f"{many(done.written, 'picture')} copied{kept}; {many(done.total, 'picture')} in {shown(after.url)}")
        out(f"checked: the counts, and {many(done.sampled, 'vector')}, bit for bit")
