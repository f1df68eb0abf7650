"""Rank and score hits: captions mixed into the pictures' vectors, cosines turned into probabilities.

A score is the probability that the photo shows what was asked, calibrated on photos whose contents are known.

Read from ranking.json in the model folder, which `vsearch evaluate ranking --write` makes; not part of the model's
identity, as no vector depends on it. Shapes: n pictures, D word-vector size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vsearch.config import from_dict, to_dict
from vsearch.errors import ConfigError, ModelError
from vsearch.files import MODEL_JSON, load_json, write_json

Kind = Literal["words", "picture"]  # what is searched by; words and a picture together rank as words do
Curve = tuple[float, float]  # slope and offset of a logistic curve
Knots = tuple[tuple[float, float], ...]  # (cosine, share) of a curve of straight lines, both rising
Shares = Curve | Knots
FILE = "ranking.json"


@dataclass(frozen=True)
class Scores:
    """How much a caption counts next to its picture (0 to 1), and the curve of each kind of query, if any: logistic, or
    of straight lines between knots, which goes before it."""

    caption_weight: float = 0.0
    words: Curve | None = None
    picture: Curve | None = None
    words_knots: Knots = ()

    def __post_init__(self) -> None:
        """Check the settings. Raises ConfigError for a weight outside 0 to 1, and for a curve that does not rise."""
        if not 0 <= self.caption_weight <= 1:
            raise ConfigError(f"caption_weight must lie between 0 and 1, not {self.caption_weight}")
        for name, curve in (("words", self.words), ("picture", self.picture)):
            if curve is not None and not (curve[0] > 0 and all(map(math.isfinite, curve))):
                raise ConfigError(f"the curve of {name} must have a slope above 0, not {curve}")
        rising = all(a[0] < b[0] and a[1] <= b[1] for a, b in pairwise(self.words_knots))
        if self.words_knots and not (rising and all(0 <= share <= 1 for _, share in self.words_knots)):
            raise ConfigError(f"words_knots must rise, with shares between 0 and 1, not {self.words_knots}")

    @classmethod
    def load(cls, folder: Path) -> Scores:
        """Read ranking.json of the model in `folder`; without it only pictures count, and scores are cosines.

        Raises ModelError if the file is damaged.
        """
        path = folder / FILE
        try:
            return from_dict(cls, load_json(path, MODEL_JSON))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, ConfigError) as error:
            remedy = "make it again with `training.evaluate.scores`, or delete it"
            raise ModelError(f"cannot read {path}: {error}", remedy) from None

    def save(self, folder: Path) -> None:
        """Write ranking.json into the model folder."""
        write_json(folder / FILE, to_dict(self))

    def weight(self, kind: Kind) -> float:
        """Return how much captions count for such a query: nothing if it is only a picture."""
        return self.caption_weight if kind == "words" else 0.0

    def is_calibrated(self, kind: Kind) -> bool:
        """Return whether scores are probabilities, 0 to 1, and not cosines."""
        return self.curve(kind) is not None

    def calibrate(self, cosine: float, kind: Kind) -> float:
        """Return the probability that a photo with this cosine shows what was asked; the cosine itself if the model has
        no curve."""
        return float(self.calibrate_all(np.array([cosine]), kind)[0])

    def calibrate_all(self, cosines: NDArray[np.floating], kind: Kind) -> NDArray[np.float64]:
        """Return what `calibrate` says of each cosine: (n,)."""
        curve = self.curve(kind)
        return np.asarray(cosines, np.float64) if curve is None else shares_of(cosines, curve)

    def curve(self, kind: Kind) -> Shares | None:
        """Return the curve of a kind of query, None if scores are cosines."""
        if kind == "picture":
            return self.picture
        return self.words_knots or self.words


def shares_of(cosines: NDArray[np.floating], curve: Shares) -> NDArray[np.float64]:
    """Return the shares (H,) that a curve gives cosines (H,): 1 / (1 + exp(-(slope cosine + offset))) of a logistic one
    (Platt 1999, "Probabilistic outputs for support vector machines"); between knots, straight lines."""
    if isinstance(curve[0], tuple):
        at, shares = np.array(curve).T
        return np.asarray(np.interp(cosines, at, shares), np.float64)
    slope, offset = curve
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * (slope * cosines + offset))), np.float64)  # never overflows


def mix(vectors: NDArray[np.float32], captions: NDArray[np.float32], weight: float) -> NDArray[np.float32]:
    """Return unit vectors (n, D) of (1 - weight) v + weight c, of pictures v and captions c, unit vectors (n, D) each.

    A row of zeros among the captions means that there is none: the picture's vector stays as it is, and so it does
    where the two cancel each other out.
    """
    if weight == 0:
        return vectors
    mixed = np.float32(1 - weight) * vectors + np.float32(weight) * captions  # (n, D)
    norms = np.sqrt(np.einsum("nd,nd->n", mixed, mixed))
    mixed /= np.maximum(norms, 1e-12)[:, None]
    alone = ~captions.any(axis=1) | (norms < 1e-6)
    mixed[alone] = vectors[alone]
    return mixed
