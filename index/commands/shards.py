"""What `vsearch build-index --store` does: sources built into a store, shard by shard, here or on a cluster."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from index.commands.options import StoreOption
from vsearch.console import UNREADABLE, clock, many, out, progress_bar, remark, shown_path
from vsearch.errors import VsearchError

if TYPE_CHECKING:
    from index.build.describe import Settings
    from index.commands.build import Work
    from index.model import Describer
    from index.shards.run import Pool, ShardReport, State
    from index.stores.protocol import Store

_EVERY = 60.0  # seconds between lines of progress where there is no terminal


@dataclass(frozen=True)
class Far:
    """Where pictures go if not into a library, and who does the work."""

    store: StoreOption = None
    ray: Annotated[
        str | None,
        typer.Option("--ray", metavar="auto|HOST:PORT", help="Have a Ray cluster do the work; auto: by RAY_ADDRESS."),
    ] = None
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, metavar="N", help="Workers of --ray; default: one a CPU, or a GPU."),
    ] = None
    markers: Annotated[
        str | None,
        typer.Option("--markers", metavar="PLACE", help="Folder or s3:// prefix that keeps which shards are done."),
    ] = None


def is_far(sources: Sequence[str], far: Far) -> bool:
    """Tell whether sources are built in shards. Raises VsearchError if that needs a store and none is named."""
    from index.shards.source import is_sharded

    if far.store is not None:
        return True
    option = next((name for name in ("ray", "workers", "markers") if getattr(far, name) is not None), None)
    source = next((source for source in sources if is_sharded(source)), None)
    if option is not None or source is not None:
        what = f"--{option}" if option is not None else shown_path(source or "")
        raise VsearchError(f"{what} needs a store to write to", "name it: --store milvus://HOST:PORT/COLLECTION")
    return False


def run_shards(
    sources: Sequence[str], far: Far, work: Work, *, captions: bool, reindex: bool, follow_links: bool
) -> None:
    """Build sources into a store, and tell what was done; exit code 3 where something could not be read."""
    from index.shards.run import build_shards
    from index.stores import open_store
    from vsearch.model import load

    model = load(work.model, work.device)
    store = open_store(far.store, create=True)
    try:
        with progress_bar("shards") as progress:
            report = build_shards(
                [os.path.expanduser(source) for source in sources],
                store,
                model,
                captions=captions,
                batch=work.batch,
                beam=work.beam,
                reindex=reindex,
                follow_links=follow_links,
                markers=None if far.markers is None else os.path.expanduser(far.markers),
                pool=_pool(far, work, model, store),
                show=_Shown(progress),
            )
    finally:
        store.close()
    print_report(report, far.store or "")
    if report.unreadable:
        raise typer.Exit(UNREADABLE)


def _pool(far: Far, work: Work, model: Describer, store: Store) -> Callable[[Settings], Pool] | None:
    """Return what makes the workers of a cluster, None for this process."""
    if far.ray is None:
        return None
    from index.shards.ray import Errand, RayPool

    folder = None if work.model is None else os.fspath(work.model.absolute())

    def pool(settings: Settings) -> Pool:
        return RayPool(far.ray or "auto", Errand(folder, work.device, model.identity, store.url, settings), far.workers)

    return pool


class _Shown:
    """How far a build is: a line when it begins, then a bar on a terminal, else a line every minute."""

    def __init__(self, progress: Callable[..., None]) -> None:
        self._progress = progress
        self._said = 0.0

    def __call__(self, state: State) -> None:
        """Show one state after the other."""
        if not self._said:
            self._said = time.monotonic()
            before = f"{many(state.shards + state.done_before, 'shard')}, {state.done_before:,} done before"
            remark(f"{before}; {state.shards:,} to do on {many(state.workers, 'worker')}")
        self._progress(state.done, state.shards, _note(state))
        if not sys.stderr.isatty() and time.monotonic() - self._said > _EVERY:
            self._said = time.monotonic()
            remark(f"{state.done:,} of {many(state.shards, 'shard')}, {_note(state)}")


def _note(state: State) -> str:
    """Return photos a second, the time left, and the workers."""
    rate = f"{state.photos / max(state.seconds, 1e-9):,.1f} photos/s"
    left = f", {clock(state.seconds / state.done * (state.shards - state.done))} left" if state.done else ""
    return f"{rate}{left}, {many(state.workers, 'worker')}"


def print_report(report: ShardReport, store: str) -> None:
    """Print what a build did, and on stderr what it could not do."""
    counts = {"written": report.written, "unchanged": report.unchanged, "skipped": report.skipped_count}
    told = [f"{number:,} {name}" for name, number in counts.items() if number] or ["nothing to do"]
    out(f"{', '.join(told)} in {_lasted(report.seconds)}; {many(report.total, 'picture')} in {shown_path(store)}")
    if not report.shards:
        remark("no file there ends like a picture")
    for path, reason in report.skipped:
        remark(f"skipped {shown_path(path)}: {reason}")
    if (more := report.skipped_count - len(report.skipped)) > 0:
        remark(f"skipped {more:,} more: see {shown_path(report.skipped_in)}")
    if report.links:
        remark(f"did not follow {many(len(report.links), 'link')} to folders; --follow-links does")
    for place, reason in report.unreadable:
        remark(f"could not read {shown_path(place)}: {reason}; the next build tries it again")


def _lasted(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else clock(seconds)
