"""What a library asks of a model, so that any can stand behind it: `vsearch.Model`, or a fake in tests.

B is the pictures of a batch, S the side the network takes, D the length of a vector.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

    from vsearch.scores import Scores
    from vsearch.text.nouns import EmbeddedNouns
    from vsearch.text.phrase import PhraseSpace
    from vsearch.text.phrase import Query as Phrase

Photo: TypeAlias = "str | os.PathLike[str] | Image | NDArray[np.uint8]"  # a file, or its pixels (H, W, 3)
Weighted: TypeAlias = "Photo | tuple[Photo, float]"  # a photo, and how much it counts, by default 1


class Describer(Protocol):
    """What a build needs: pixels become vectors and captions."""

    @property
    def identity(self) -> str:
        """The model's identity: vectors of different identities are never compared."""

    @property
    def dim(self) -> int:
        """D."""

    @property
    def side(self) -> int:
        """S."""

    @property
    def captions(self) -> bool:
        """Whether it can describe pictures in words."""

    @property
    def scores(self) -> Scores:
        """How hits are ranked and scored, and how much captions count in searches by words."""

    def embed_captions(self, captions: Sequence[str]) -> Sequence[NDArray[np.float32] | None]:
        """Return the unit vector (D,) of each caption, None where it has none."""

    def describe(
        self, pixels: NDArray[np.uint8], captions: bool, beam: int | None
    ) -> tuple[NDArray[np.float32], Sequence[str] | None]:
        """Return float32 (B, D) of uint8 (B, S, S, 3), and a caption for each if `captions`, else None.

        `beam` is the width of the search for captions, None for the model's own.
        """


class Model(Describer, Protocol):
    """What searches need, too: words and a picture become a vector, and explain hits."""

    @property
    def space(self) -> PhraseSpace:
        """The words of the model; raises ModelError if it has none."""

    def query(self, query: str) -> Phrase:
        """Return the unit vector (D,) of a query, and its unknown words. Raises QueryError if no word is known."""

    def nouns(self, name: str) -> EmbeddedNouns:
        """Return a list of nouns with vectors, by its name. Raises DataError if it cannot be read."""

    def embed_image(self, photo: Photo) -> NDArray[np.float32]:
        """Return the unit vector (D,) of a picture. Raises PictureError if it cannot be read."""
