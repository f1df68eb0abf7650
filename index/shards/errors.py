"""What may go wrong between here and a source: what goes by, and what does not."""

from __future__ import annotations

from vsearch.errors import VsearchError


class PassingError(VsearchError):
    """Something that may be over in a minute: a server that does not answer. It is tried again, with pauses."""

    remedy = "run the same again when it is: what is done stays done"


class ShardError(VsearchError):
    """A shard, or the rest of one, that cannot be read; `str(error)` is only the reason, without its name."""
