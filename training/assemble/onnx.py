"""A model's encoder for ONNX Runtime, in eight bits: made of the trained one, checked against it, and only then kept.

Shapes: I pictures, S side in pixels, D word-vector size.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.assemble.quantise import quantised
from training.data.pictures import in_order
from training.data.prepared import open_prepared, read_stored_pixels
from training.evaluate.captions import Split, read_split, retrieval
from training.evaluate.decoder import score
from vsearch.captions.hypothesis import Hypothesis
from vsearch.distribution import install_hint
from vsearch.errors import DataError, ModelError, PictureError, VsearchError
from vsearch.image.decode import SUFFIXES
from vsearch.image.pixels import read_pixels
from vsearch.metrics.retrieval import mean_recall
from vsearch.networks.fast.onnx import OnnxModel
from vsearch.networks.joint import JointModel
from vsearch.storage import modelfolder, onnx
from vsearch.text.phrase import PhraseSpace
from vsearch.text.tokenise import tokenise

MEAN, LOW = 0.995, 0.98  # cosines of vectors with those of torch; 0.98 is where `duplicates` draws its line
SHARE = 1  # percent of the photos that may lie below LOW: those whose classes are a tie turn with any rounding
CIDER = 2.0  # points that captions may lose; of CAPTIONED photos the figure itself is no surer
CAPTIONED = 200  # dev photos that are captioned by both
RECALL = 0.5  # points that the mean of the six recalls may be lower
CALIBRATION, HELD_OUT = 240, 240  # photos that give the ranges, and others for the check
FEWEST = 16  # of each
BATCH = 25
NEEDED = "onnx", "onnxscript", "onnxruntime"

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Exported:
    """What the check of an export found: cosines of vectors with those of torch, and mean recall before and after.

    `low` is the cosine that all but SHARE percent of the photos reach. The recall, in percent, is None where the photos
    came without captions, and CIDEr, in percent, also where numpy writes no captions of this model.
    """

    pictures: int
    mean: float
    low: float
    least: float
    recall: tuple[float, float] | None
    cider: tuple[float, float] | None = None


def export_onnx(folder: Path, photos: Path) -> Exported:
    """Write the encoder of the model in `folder` in eight bits next to it, if it is as good as the model's own.

    `photos` is a folder of photos, or a prepared caption set, whose training photos then give the ranges and whose dev
    photos and captions are the check. Raises ModelError if the outcome is not good enough (nothing is written) or the
    model has no DeViSE head, DataError if there are too few photos, VsearchError if a package is not installed.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise VsearchError(f"{', '.join(missing)} not installed", install_hint("export"))
    model = modelfolder.load(folder, "cpu")
    if model.devise is None:
        raise ModelError("this model places no pictures among words", "export one with a DeViSE head")
    side = model.config.preprocess.side
    calibration, held_out, split = _read_set(photos, side) if photos.is_file() else _read_folder(photos, side)
    graphs = quantised(model, calibration)
    with tempfile.TemporaryDirectory(prefix="export-") as scratch:
        copy = Path(scratch)
        onnx.save(copy, graphs, model.config.identity)
        for path in folder.iterdir():
            if path.is_file() and path.name not in modelfolder.EXPORTED:
                (copy / path.name).symlink_to(path.resolve())
        small = onnx.load(copy, model.config)
        found = compare(model, small.embed, held_out, split, folder)
        if split is not None and onnx.captions(model.config):
            found = dataclasses.replace(found, cider=compare_captions(folder, small, held_out[:CAPTIONED], split))
    check(found)
    onnx.save(folder, graphs, model.config.identity)
    return found


def compare(
    model: JointModel, embed: Callable[[Pixels], Floats], pixels: Pixels, split: Split | None, words: Path
) -> Exported:
    """Compare the vectors of `embed` with those of `model`; recall is measured with the words in that folder."""
    parts = in_batches(pixels)
    with torch.inference_mode():
        reference = np.concatenate([model.embed(torch.from_numpy(part)).numpy() for part in parts])
    own = np.concatenate([embed(part) for part in parts])
    cosines = (own * reference).sum(1)
    recall = None
    if split is not None:
        space = PhraseSpace.load(words)
        recall = mean_recall(retrieval(reference, split, space)), mean_recall(retrieval(own, split, space))
    low = float(np.percentile(cosines, SHARE))
    return Exported(len(pixels), float(cosines.mean()), low, float(cosines.min()), recall)


def compare_captions(folder: Path, small: OnnxModel, pixels: Pixels, split: Split) -> tuple[float, float]:
    """Return CIDEr, in percent, of the captions of the first pictures of `split`: by torch, and by `small`."""
    fast = modelfolder.load_fast(folder, "cpu")

    def cider(write: Callable[[Pixels], list[list[Hypothesis]] | None]) -> float:
        captions = [best[0] for part in in_batches(pixels) for best in write(part) or []]
        texts = [tokenise(fast.text(caption)) for caption in captions]
        return score(split.captions[: len(texts)], texts)["cider"]

    torchs = cider(lambda part: fast.describe(torch.from_numpy(part)).captions)
    return torchs, cider(lambda part: small.describe(part)[1])


def in_batches(pixels: Pixels) -> list[Pixels]:
    """Return pixels (I, S, S, 3) in parts of at most BATCH pictures."""
    return np.array_split(pixels, -(-len(pixels) // BATCH))


def check(found: Exported) -> None:
    """Raise ModelError if an export is not good enough."""
    faults = []
    if not (found.mean >= MEAN and found.low >= LOW):
        faults.append(
            f"vectors of {found.pictures} photos lie at a mean cosine of {found.mean:.4f} to the model's own, all but"
            f" {SHARE} % of them at {found.low:.4f} or more, where {MEAN} and {LOW} are asked for"
        )
    if found.recall is not None and not found.recall[1] >= found.recall[0] - RECALL:
        faults.append(f"mean recall falls from {found.recall[0]:.1f} to {found.recall[1]:.1f}")
    if found.cider is not None and not found.cider[1] >= found.cider[0] - CIDER:
        faults.append(f"CIDEr of captions falls from {found.cider[0]:.1f} to {found.cider[1]:.1f}")
    if faults:
        raise ModelError(f"in eight bits {'; '.join(faults)}; nothing was written", "give other or more photos")


def _read_set(file: Path, side: int) -> tuple[Pixels, Pixels, Split]:
    """Read the photos of a prepared caption set: those for the ranges, those for the check, and their captions."""
    training, dev = read_split(file, "train"), read_split(file, "dev")
    some = np.random.default_rng(0).permutation(training.rows)[:CALIBRATION]
    _check_number(min(len(some), len(dev.rows)), file)
    with open_prepared(file, "captions") as opened:
        return read_stored_pixels(opened, sorted(some.tolist()), side), read_stored_pixels(opened, dev.rows, side), dev


def _read_folder(folder: Path, side: int) -> tuple[Pixels, Pixels, None]:
    """Read photos of a folder: half of them for the ranges, half for the check."""
    if not folder.is_dir():
        raise DataError(f"no folder and no prepared file at {folder}", "check the path")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    some = [paths[n] for n in np.random.default_rng(0).permutation(len(paths))[: CALIBRATION + HELD_OUT]]
    found = [read for _, read in in_order(lambda path: read_pixels(path, side), some)]
    pixels = [read for read in found if not isinstance(read, PictureError)]
    _check_number(len(pixels) // 2, folder)
    return np.stack(pixels[::2]), np.stack(pixels[1::2]), None


def _check_number(photos: int, place: Path) -> None:
    if photos < FEWEST:
        raise DataError(
            f"{place} has too few photos that can be read: {FEWEST} give the ranges of activations, and {FEWEST} more"
            " are for the check", "give a few hundred, of all kinds",
        )  # fmt: skip
