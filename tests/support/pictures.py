"""Small pictures drawn on the spot, and a model that costs nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vsearch.scores import Scores


def draw(seed: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A small RGB picture of coloured shapes, another one for every seed."""
    rng = np.random.default_rng(seed)
    width, height = size
    image = Image.new("RGB", size, tuple(rng.integers(0, 256, 3).tolist()))
    pen = ImageDraw.Draw(image)
    for _ in range(4):
        left, top = int(rng.integers(0, width)), int(rng.integers(0, height))
        right, bottom = left + int(rng.integers(4, width)), top + int(rng.integers(4, height))
        pen.rectangle((left, top, right, bottom), fill=tuple(rng.integers(0, 256, 3).tolist()))
    return image


def draw_folder(folder: Path, count: int, *, first: int = 0) -> list[Path]:
    """`count` PNG files 000.png, 001.png, ... whose pixels all differ; returns their paths in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03d}.png" for number in range(first, first + count)]
    for number, path in enumerate(paths, first):
        draw(number).save(path)
    return paths


class FakeDescriber:
    """A model in place of the real one: the vector is the centred 2 x 2 thumbnail, the caption a digest of the pixels.

    `seen` counts the pictures that went through it.
    """

    def __init__(self, identity: str = "fake-model-1", side: int = 16, captions: bool = True) -> None:
        self.identity = identity
        self.side = side
        self.dim = 13
        self.captions = captions
        self.scores = Scores()
        self.seen = 0

    def embed_captions(self, captions: Sequence[str]) -> Sequence[NDArray[np.float32] | None]:
        """Another direction for every caption; none for one that ends in a zero."""
        return [None if caption.endswith("0") else self.direction(caption) for caption in captions]

    def direction(self, caption: str) -> NDArray[np.float32]:
        """What `embed_captions` gives to a caption that it embeds: (13,)."""
        bits = np.unpackbits(np.frombuffer(hashlib.sha256(caption.encode()).digest()[:2], np.uint8))[:13]
        return (bits.astype(np.float32) - 0.4) / np.float32(np.linalg.norm(bits - 0.4))

    def describe(
        self, pixels: NDArray[np.uint8], captions: bool, beam: int | None = None
    ) -> tuple[NDArray[np.float32], Sequence[str] | None]:
        assert pixels.dtype == np.uint8 and pixels.shape[1:] == (self.side, self.side, 3)
        self.seen += len(pixels)
        half = self.side // 2
        cells = pixels.reshape(len(pixels), 2, half, 2, half, 3).mean(axis=(2, 4)).reshape(len(pixels), 12)  # (B, 12)
        vectors = np.concatenate([cells / 127.5 - 1.0, np.full((len(pixels), 1), 0.1)], axis=1)  # (B, 13)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        texts = [self.caption_of(row) for row in pixels] if captions else None
        return vectors.astype(np.float32), texts

    @staticmethod
    def caption_of(pixels: NDArray[np.uint8]) -> str:
        """The caption it gives to pixels (S, S, 3)."""
        return f"picture {hashlib.sha256(pixels.tobytes()).hexdigest()[:8]}"
