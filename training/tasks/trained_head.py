"""Where a finished DeViSE training puts pictures and captions among words, for trainings and evaluations that use it.

Shapes: I pictures, A views, C channels, M captions, D word-vector size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.features import read_features
from training.data.prepared import open_prepared
from training.data.word_table import WordTable, read_words
from training.loop.checkpoint import below, best_weights
from training.run_folder import RECIPE, noted_key, read_note
from training.tasks.devise import DeviseRecipe
from training.tasks.devise_classes import ClassesRecipe
from training.tasks.targets import phrase_encoder
from vsearch.config import from_dict
from vsearch.errors import ConfigError, DataError
from vsearch.networks.devise import DeviseHead

AT_ONCE = 4096  # captions embedded in one go


class TrainedHead:
    """A DeViSE head and its words, fixed or tuned, as the training in a folder left them."""

    def __init__(self, run: Path, data: Path, features: Path) -> None:
        """Load the training in the folder `run`, on the captions `data` and the features `features`.

        Raises DataError if the folder holds no such training, or one of other features or words.
        """
        self.run, self.features = run, features
        with open_prepared(data, "captions") as file:
            self.table: WordTable = read_words(file)
            self.names = file["pictures/name"][:]
        self.known = set(self.table.words)
        self.config = _head_config(run)
        self.state = best_weights(run)
        self.tuned = bool(below(self.state, "phrases."))
        blend = self.state.get("phrases.blend", torch.tensor(0.0))
        self.encoder = phrase_encoder(self.table, blend=float(blend))
        try:
            self.encoder.load_state_dict(below(self.state, "phrases.") or self.encoder.state_dict())
        except RuntimeError as error:
            raise self._misfit(error) from None

    @torch.no_grad()
    def embed_pictures(self, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Return the unit vectors (I, A, D) of every view of the pictures `rows` of the data; None: of all."""
        names: NDArray[Any] = self.names if rows is None else self.names[rows]
        cached = read_features(self.features, names, grid=False)
        if noted_key(self.run) not in (None, "", cached.key):
            raise DataError(
                f"{self.run} was trained on features of another encoder", "name those it was trained on"
            )  # fmt: skip
        pool = torch.from_numpy(cached.pool.astype(np.float32))  # (I, A, C)
        head = DeviseHead(self.config, pool.shape[2]).eval()
        try:
            head.load_state_dict(below(self.state, "devise."))
        except RuntimeError as error:
            raise self._misfit(error) from None
        return np.asarray(head(pool.flatten(0, 1)).view(*pool.shape[:2], -1).numpy(), np.float32)

    @torch.no_grad()
    def embed_captions(self, captions: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Return the unit vectors (M, D) of tokenised captions; words that the data do not have count for nothing."""
        found = []
        for start in range(0, len(captions), AT_ONCE):
            part = captions[start : start + AT_ONCE]
            rows = self.table.rows([" ".join(word for word in words if word in self.known) for words in part])
            found.append(self.encoder(torch.from_numpy(rows)).numpy())
        return np.concatenate(found) if found else np.zeros((0, self.table.vectors.shape[1]), np.float32)

    def _misfit(self, error: RuntimeError) -> DataError:
        reason = " ".join(str(error).split())
        return DataError(f"{self.run} does not fit these captions and features: {reason}", "train it on them")


def _head_config(run: Path) -> Any:
    """Return the settings of the head that was trained in the folder `run`."""
    table = read_note(run / RECIPE)
    kinds = {recipe.kind: recipe for recipe in (DeviseRecipe, ClassesRecipe)}
    if table.get("kind") not in kinds:
        raise DataError(f"{run} trained no DeViSE head", "name the output folder of `training.run.train('devise')`")
    try:
        return from_dict(kinds[table["kind"]], table).settings("devise")
    except ConfigError as error:
        raise DataError(f"cannot read {run / RECIPE}: {error}", "train into a new folder") from None
