"""Equals `JointModel.embed`, in eight bits and without torch: ONNX Runtime runs the encoder, numpy the DeViSE head.

Eight bits round: it equals at a mean cosine of 0.995 at least, which `vsearch export-onnx` checks.

Shapes: B batch, S side in pixels, C channels, H hidden, D word-vector size, K classes, O channels out of a convolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
PIXELS, GRID, POOL = "pixels", "grid", "pool"  # the graph's input and outputs


class Int8Model:
    """Embeds pictures: an encoder's graph in eight bits, and the head behind it in float32."""

    def __init__(self, graph: bytes, codes: Mapping[str, NDArray[np.int8]], head: Mapping[str, Floats]) -> None:
        """Start the encoder's `graph`, an ONNX model that lacks the weights `codes`, by their names in it.

        `head` are the weights of a `DeviseHead`. Raises RuntimeError or a kin of it, as ONNX Runtime has many, where
        it cannot run the graph; ImportError where it is not installed.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what is fatal; the rest is raised
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the threads that read need the cores
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(code) for code in codes.values()]
        options.add_external_initializers(list(codes), values)
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._head = NumpyHead(head)

    def embed(self, pixels: NDArray[np.uint8]) -> Floats:
        """Return unit vectors (B, D) of uint8 pixels (B, S, S, 3)."""
        return self._head(self.encode(pixels)[1])

    def encode(self, pixels: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        """Return grid (B, N, C) and pool (B, C) of uint8 pixels (B, S, S, 3)."""
        some = pixels if len(pixels) else np.zeros((1, *pixels.shape[1:]), np.uint8)
        grid, pool = self._session.run([GRID, POOL], {PIXELS: np.ascontiguousarray(some)})
        return grid[: len(pixels)], pool[: len(pixels)]


class NumpyHead:
    """`DeviseHead` in evaluation mode: pooled features (B, C) to unit vectors (B, D), float32."""

    def __init__(self, weights: Mapping[str, Floats]) -> None:
        """Take the weights by their names in a `DeviseHead`. Raises KeyError if one is missing."""
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
            shares = np.exp(logits - logits.max(1, keepdims=True))
            out += shares / shares.sum(1, keepdims=True) @ places
        return np.asarray(out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12), np.float32)


def codes_of(weight: Floats, step: Floats) -> NDArray[np.int8]:
    """Return a convolution's weights (O, ...) in steps: whole numbers, -127 to 127. A step of infinity gives zeros."""
    steps = step.reshape(-1, *[1] * (weight.ndim - 1))
    return np.asarray(np.clip(np.rint(weight / steps), -127, 127), np.int8)
