"""Equals `FastModel.describe`, without torch: ONNX Runtime runs the encoder, numpy what follows it.

In eight bits, which round, it equals at a mean cosine of 0.995 at least, which `vsearch export-onnx` checks.

Shapes: B batch, S side in pixels, C channels, H hidden, D word-vector size, K classes, O channels out of a convolution.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.captions.hypothesis import Hypothesis
from vsearch.networks.fast.numpy_captioner import NumpyCaptioner
from vsearch.networks.fast.numpy_decoder import Floats, softmax

PIXELS, GRID, POOL = "pixels", "grid", "pool"  # the graph's input and outputs
PROCESSOR, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"  # ONNX Runtime's names of what computes


class OnnxModel:
    """Embeds and captions pictures: an encoder's graph, head and decoder behind it in float32."""

    def __init__(
        self,
        graph: bytes,
        weights: Mapping[str, NDArray[Any]],
        head: Mapping[str, Floats],
        captioner: Callable[[], NumpyCaptioner] | None = None,
        provider: str = PROCESSOR,
    ) -> None:
        """Start the encoder's `graph`, an ONNX model that lacks `weights`, by their names in it.

        `head` are the weights of a `DeviseHead`. `captioner` is called when the first caption is asked for; None: there
        is none for this model. `provider` is ONNX Runtime's name of what computes. Raises RuntimeError or a kin of it,
        as ONNX Runtime has many, where it cannot run the graph.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what is fatal; the rest is raised
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the threads that read need the cores
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in weights.values()]
        options.add_external_initializers(list(weights), values)
        self._session = onnxruntime.InferenceSession(graph, options, providers=[provider])
        self.head = NumpyHead(head)
        self._captioner = None if captioner is None else functools.cache(captioner)

    def prepare(self) -> None:
        """Read what captions are written with, if anything is."""
        if self._captioner is not None:
            self._captioner()

    def describe(
        self,
        pixels: NDArray[np.uint8],
        captions: bool = True,
        beam: int | None = None,
        n_best: int = 1,
        block_repeats: bool | None = None,
    ) -> tuple[Floats, list[list[Hypothesis]] | None]:
        """Return unit vectors (B, D) of uint8 pixels (B, S, S, 3), and their captions, best first, if they are wanted.

        `beam` and `block_repeats` are the decoder's own where None. Raises ValueError for captions without captioner.
        """
        grid, pool = self.encode(pixels)
        vectors = self.head(pool)
        if not captions:
            return vectors, None
        if self._captioner is None:
            raise ValueError("there is no captioner")
        return vectors, self._captioner().write(grid, vectors, beam, n_best, block_repeats)

    def embed(self, pixels: NDArray[np.uint8]) -> Floats:
        """Return unit vectors (B, D) of uint8 pixels (B, S, S, 3)."""
        return self.head(self.encode(pixels)[1])

    def encode(self, pixels: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        """Return grid (B, N, C) and pool (B, C) of uint8 pixels (B, S, S, 3)."""
        some = pixels if len(pixels) else np.zeros((1, *pixels.shape[1:]), np.uint8)
        grid, pool = self._session.run([GRID, POOL], {PIXELS: np.ascontiguousarray(some)})
        return grid[: len(pixels)], pool[: len(pixels)]


class NumpyHead:
    """`DeviseHead` in evaluation mode: pooled features (B, C) to unit vectors (B, D), float32."""

    def __init__(self, weights: Mapping[str, Floats]) -> None:
        """Take the weights by their names in a `DeviseHead`. Raises KeyError if one is missing."""
        self.weights = weights
        self._first, self._second = ((weights[f"layers.{n}.weight"].T, weights[f"layers.{n}.bias"]) for n in (0, 3))
        self._branch: tuple[Floats, ...] = ()
        if "branch.vectors" in weights:
            warmth = np.exp(weights["branch.log_temperature"])
            places = weights["branch.vectors"] @ weights["branch.map"] + weights["branch.shift"]  # (K, D)
            parts = (
                weights["branch.classifier.weight"].T / warmth,  # (C, K)
                weights["branch.classifier.bias"] / warmth,
                places * np.exp(weights["branch.log_gate"]),
            )
            self._branch = tuple(np.asarray(part, np.float32) for part in parts)

    def __call__(self, pool: Floats) -> Floats:
        """Return the vectors of `pool`."""
        hidden = np.maximum(pool @ self._first[0] + self._first[1], 0)  # (B, H)
        out = hidden @ self._second[0] + self._second[1]  # (B, D)
        if self._branch:
            classifier, bias, places = self._branch
            logits = pool @ classifier + bias  # (B, K)
            out += softmax(logits) @ places
        return np.asarray(out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12), np.float32)


def codes_of(weight: Floats, step: Floats) -> NDArray[np.int8]:
    """Return a convolution's weights (O, ...) in steps: whole numbers, -127 to 127. A step of infinity gives zeros."""
    steps = step.reshape(-1, *[1] * (weight.ndim - 1))
    return np.asarray(np.clip(np.rint(weight / steps), -127, 127), np.int8)


def multiplied(weight: Floats, factor: Floats) -> Floats:
    """Return a convolution's weights (O, ...) with each channel times its factor (O,)."""
    return np.asarray(weight * factor.reshape(-1, *[1] * (weight.ndim - 1)), np.float32)
