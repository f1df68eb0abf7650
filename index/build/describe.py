"""Have the network describe what was decoded, whoever decoded it and wherever it is to be written.

B is the pictures of a batch, S the side the network takes, D the length of a vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from index.model import Describer


@dataclass(frozen=True)
class Described:
    """What the network made of a picture: its vector (D,), its caption and the vector (D,) of that, if any."""

    vector: NDArray[np.float32]
    caption: str | None = None
    caption_vector: NDArray[np.float32] | None = None

    @property
    def usable(self) -> bool:
        """Whether the vector is one: finite, and not zero."""
        return bool(np.isfinite(self.vector).all() and self.vector.any())


class Settings(NamedTuple):
    """How pictures are described: whether with captions, how many at once, and how wide the search for captions is."""

    captions: bool
    batch: int
    beam: int | None


class Pixels(Protocol):
    """A picture that was decoded: pixels (S, S, 3), and the hash of its file's content."""

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """Pixels (S, S, 3)."""

    @property
    def digest(self) -> bytes:
        """The hash of the content."""


NO_VECTOR = "the model makes no vector of it"


def describe(
    model: Describer,
    items: Sequence[Pixels],
    settings: Settings,
    by_hand: Callable[[Iterable[bytes]], Mapping[bytes, str]] | None = None,
) -> list[Described]:
    """Run the network once over all items. Raises ValueError if it loses a row.

    `by_hand` gives the captions that people wrote for some contents; they come before the model's.
    """
    if not items:
        return []
    pixels = np.stack([item.pixels for item in items])  # (B, S, S, 3)
    made, captions = model.describe(pixels, settings.captions, settings.beam)
    vectors = np.asarray(made, np.float32)
    if vectors.shape != (len(items), model.dim):
        raise ValueError(f"the model made vectors {vectors.shape} of {len(items)} pictures")
    if captions is not None and len(captions) != len(items):
        raise ValueError(f"the model made {len(captions)} captions of {len(items)} pictures")
    written = {} if by_hand is None else by_hand(item.digest for item in items)
    said = [None] * len(items) if captions is None else captions
    texts = [written.get(item.digest, text) for item, text in zip(items, said, strict=True)]
    placed = iter(model.embed_captions([text for text in texts if text is not None]))
    rows = zip(vectors, texts, strict=True)
    return [Described(vector, text, None if text is None else next(placed)) for vector, text in rows]
