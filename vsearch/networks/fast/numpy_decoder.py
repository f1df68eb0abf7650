"""Equals `SoftAttentionDecoder` in evaluation mode, its `start` and `step`: in float32 by numpy, without torch.

Shapes: see `vsearch.networks`; G gates of the cell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vsearch.config import DecoderConfig

Floats: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.int64]
BLOCK = 1 << 18  # values of an attention that are worked on at once: they stay in the processor's cache


class NumpyState(NamedTuple):
    """What the decoder carries from step to step, as `vsearch.networks.decoder.State`."""

    hidden: Floats  # (R, H)
    cell: Floats  # (R, H), of a GRU (R, 0)
    memory: Floats  # (B, N, C)
    keys: Floats  # (B, N, A)
    image: Floats  # (B, G), or (B, 0)
    mask: NDArray[np.bool_] | None = None  # (B, N) True where the memory holds something; None: everywhere

    def select(self, rows: Ints, pictures: Ints | None = None) -> NumpyState:
        """Return the hypotheses `rows` of the pictures `pictures`; None: of all."""
        state = self._replace(hidden=self.hidden[rows], cell=self.cell[rows])
        if pictures is None:
            return state
        mask = None if self.mask is None else self.mask[pictures]
        memory, keys, image = self.memory[pictures], self.keys[pictures], self.image[pictures]
        return state._replace(memory=memory, keys=keys, image=image, mask=mask)


class NumpyDecoder:
    """A decoder of kind soft, to search over."""

    def __init__(self, config: DecoderConfig, weights: Mapping[str, Floats]) -> None:
        """Take the weights by their names in a `SoftAttentionDecoder`. Raises KeyError if one is missing."""
        if not runs(config):
            raise ValueError(f"numpy runs decoders of kind soft, not {config.kind}")
        self.config, self._weights = config, weights
        embedding = weights["embedding.weight"]
        self._inputs = self._linear("input", embedding)  # (V, G): the words' part of the gates
        self._project: Floats | None = None
        if config.tied:
            self._project, self._output = weights["output.project.weight"].T, embedding.T
        else:
            self._output = weights["output.weight"].T
        self._context = weights["context.weight"].T  # (C, G)

    def rehearse(self, vocabulary: int) -> None:
        """Write a word of no picture. Raises KeyError or ValueError if weights are missing or do not fit."""
        channels = self._weights["reduce.0.weight" if self.config.cells else "norm.weight"].size
        vectors = np.zeros((1, self.config.vector), np.float32)
        logits, *_ = self.step(np.array([0]), self.start(np.zeros((1, 1, channels), np.float32), vectors))
        if logits.shape != (1, vocabulary):
            raise ValueError(f"{logits.shape[1]} words come out, the vocabulary has {vocabulary}")

    def start(self, memory: Floats, vectors: Floats, mask: NDArray[np.bool_] | None = None) -> NumpyState:
        """Return the state before the first word of pictures, their cells (B, N, C), their places among words (B, D).

        Decoders that take no vectors leave those aside; others project them first, if they do. `mask` (B, N) is False
        in cells that are padding.
        """
        config = self.config
        if config.cells:
            reduced = normed(memory) * self._weights["reduce.0.weight"] + self._weights["reduce.0.bias"]
            memory = self._linear("reduce.1", reduced)
        plain = normed(memory)
        memory = plain * self._weights["norm.weight"] + self._weights["norm.bias"]
        first = self._linear("initial", _mean(memory, mask))  # (B, 2H), of a GRU (B, H)
        image = np.zeros((len(first), 0), np.float32)
        if config.vector:
            both = self._project_vectors(vectors) @ self._weights["vector.weight"].T  # (B, G + 2H)
            image, own = np.split(both, [self._inputs.shape[1]], axis=1)
            first = first + own
        hidden, cell = np.split(first, [config.hidden], axis=1)
        return NumpyState(hidden, cell, plain, self._linear("attention.key", memory), image, mask)

    def step(self, token: Ints, state: NumpyState) -> tuple[Floats, NumpyState, Floats]:
        """Feed `token` (R,) -> logits of the next one (R, V), the new state, attention (R, N)."""
        pictures = len(state.memory)
        scores = self._scores(state)  # (R, N)
        if state.mask is not None:
            scores[~np.repeat(state.mask, len(token) // pictures, 0)] = -np.inf
        weights = softmax(scores)
        context = (weights.reshape(pictures, -1, weights.shape[1]) @ state.memory).reshape(len(token), -1)  # (R, C)
        context = context * self._weights["norm.weight"] + self._weights["norm.bias"]
        if self.config.gate:
            context *= sigmoid(self._linear("gate", state.hidden))
        gates = self._inputs[token] + context @ self._context  # (R, G)
        if self.config.vector:
            gates = (gates.reshape(pictures, -1, gates.shape[1]) + state.image[:, None]).reshape(gates.shape)
        own = self._linear("cell.recurrent", state.hidden)
        hidden, cell = CELLS[self.config.cell](np.asarray(gates, np.float32), own, state.hidden, state.cell)
        features = hidden if self._project is None else hidden @ self._project
        logits = np.asarray(features @ self._output + self._weights["output.bias"], np.float32)
        return logits, state._replace(hidden=hidden, cell=cell), weights

    def _scores(self, state: NumpyState) -> Floats:
        """Return unnormalised scores (R, N) of the hypotheses over the cells of their pictures."""
        keys = state.keys  # (B, N, A)
        queries = (state.hidden @ self._weights["attention.query.weight"].T).reshape(len(keys), -1, keys.shape[2])
        if self.config.scoring == "dot":
            found = queries @ keys.transpose(0, 2, 1) / math.sqrt(keys.shape[2])
            return np.asarray(found.reshape(len(state.hidden), -1), np.float32)
        score, count = self._weights["attention.score.weight"][0], max(1, BLOCK // keys[0].size)
        rows = np.empty((*queries.shape[:2], keys.shape[1]), np.float32)  # (B, K, N)
        for k in range(queries.shape[1]):
            for b in range(0, len(keys), count):
                energy = keys[b : b + count] + queries[b : b + count, k, None]
                if self.config.scoring == "tanh":
                    np.tanh(energy, out=energy)
                else:
                    np.maximum(energy, 0, out=energy)
                rows[b : b + count, k] = energy @ score
        return rows.reshape(-1, keys.shape[1])

    def _project_vectors(self, vectors: Floats) -> Floats:
        """Return vectors (B, D) as `CaptionProjection` gives them, where the decoder has one."""
        if not self.config.centroids:
            return vectors
        centroids = self._weights["projection.centroids"]
        found = softmax(vectors @ centroids.T / np.float32(self.config.centroid_temperature)) @ centroids
        return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12), np.float32)

    def _linear(self, name: str, x: Floats) -> Floats:
        return np.asarray(x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"], np.float32)


def runs(config: DecoderConfig) -> bool:
    """Return whether numpy has such a decoder."""
    return config.kind == "soft" and config.cell in CELLS


def lstm(inputs: Floats, own: Floats, hidden: Floats, cell: Floats) -> tuple[Floats, Floats]:
    """Return hidden and cell (R, H) from what inputs and state add to the gates, (R, 4H) in torch's order (i f g o)."""
    i, f, g, o = np.split(inputs + own, 4, axis=1)
    cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(cell), cell


def gru(inputs: Floats, own: Floats, hidden: Floats, cell: Floats) -> tuple[Floats, Floats]:
    """Return hidden (R, H), and `cell` as it is; gates (R, 3H) in torch's order (r z n)."""
    (r, z, n), (own_r, own_z, own_n) = np.split(inputs, 3, axis=1), np.split(own, 3, axis=1)
    new = np.tanh(n + sigmoid(r + own_r) * own_n)
    return new + sigmoid(z + own_z) * (hidden - new), cell


CELLS = {"lstm": lstm, "gru": gru}


def _mean(memory: Floats, mask: NDArray[np.bool_] | None) -> Floats:
    """Return the mean (B, C) of the cells of `memory` (B, N, C), of those in `mask` (B, N) only."""
    if mask is None:
        return np.asarray(memory.mean(1), np.float32)
    held = mask[..., None].astype(np.float32)
    return np.asarray((memory * held).sum(1) / held.sum(1), np.float32)


def normed(x: Floats) -> Floats:
    """Return `torch.nn.functional.layer_norm` of the last axis, without scale and shift."""
    centred = x - x.mean(-1, keepdims=True)
    return np.asarray(centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + 1e-5), np.float32)


def softmax(x: Floats) -> Floats:
    """Return the softmax over the last axis."""
    shares = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(shares / shares.sum(-1, keepdims=True), np.float32)


def sigmoid(x: Floats) -> Floats:
    """Return 1 / (1 + exp(-x)), which holds for any float32."""
    return np.asarray(0.5 * np.tanh(0.5 * x) + 0.5, np.float32)
