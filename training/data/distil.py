"""Views of pictures with what a pretrained teacher says of each: the data of `training.tasks.distil`.

Teacher and student see the same view ("A good teacher is patient and consistent", Beyer et al. 2022), so the views
are cut here, once, and the teacher answers each of them once. Labelled small pictures are kept whole.
"""

from __future__ import annotations

import importlib.util
import io
import json
import math
import sys
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data.pictures import in_order
from training.data.prepared import PreparedWriter
from vsearch.errors import DataError, PictureError
from vsearch.image.decode import SUFFIXES
from vsearch.image.decode import decode as decode_file
from vsearch.image.pixels import channels_first
from vsearch.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor, nn

TEACHER_SIDE = 224


@dataclass(frozen=True)
class View:
    """One picture to show to the teacher: encoded bytes to store, and a name."""

    encoded: bytes
    name: str
    label: int = -1


def photos_below(folders: Sequence[Path]) -> list[Path]:
    """Return all photos in some folders and those below them, by path."""
    return sorted(path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def load_teacher(folder: Path) -> nn.Module:
    """Load the teacher in `folder`, whose `teacher.py` defines the module `Teacher`.

    It maps uint8 pictures (B, 3, 224, 224) to a dict of `pool` (B, C) and `logits` (B, K).
    """
    script = folder / "teacher.py"
    if not script.is_file():
        raise DataError(f"no teacher.py in {folder}", "name the folder that holds the teacher")
    spec = importlib.util.spec_from_file_location("vsearch_teacher", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    teacher: nn.Module = module.Teacher()
    return teacher.eval()


def crop_box(width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Draw a random box (left, top, right, bottom) of 15 to 70 % of the area, aspect ratio between 3/4 and 4/3."""
    area = rng.uniform(0.15, 0.7) * width * height
    ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    w, h = min(width, round(math.sqrt(area * ratio))), min(height, round(math.sqrt(area / ratio)))
    left, top = rng.integers(0, width - w + 1), rng.integers(0, height - h + 1)
    return int(left), int(top), int(left) + w, int(top) + h


def cut_views(path: Path, crops: int, side: int, seed: int) -> list[View]:
    """Return the whole picture and `crops` random crops of it, each squashed to side x side and encoded as JPEG.

    Raises PictureError if the file is no picture.
    """
    rng = np.random.default_rng([seed, *path.name.encode()])
    picture = decode_file(path)
    boxes = [(0, 0, *picture.size)] + [crop_box(*picture.size, rng) for _ in range(crops)]
    views = []
    for k, box in enumerate(boxes):
        buffer = io.BytesIO()
        picture.resize((side, side), Image.Resampling.BICUBIC, box=box, reducing_gap=2.0).save(
            buffer, "JPEG", quality=92
        )
        views.append(View(buffer.getvalue(), f"{path.name}#{k}"))
    return views


def photo_views(paths: list[Path], crops: int, side: int, seed: int) -> Iterator[View]:
    """Yield the views of all photos in order; a file that is no picture is left out."""
    for _, views in in_order(lambda path: cut_views(path, crops, side, seed), paths):
        if not isinstance(views, PictureError):
            yield from views


def shard_views(shards: list[Path]) -> Iterator[View]:
    """Yield the labelled pictures of Tiny-ImageNet shards (npz of `bytes`, `offsets`, `labels`)."""
    for shard in shards:
        flat, offsets, labels = read_shard(shard, "bytes", "offsets", "labels")
        if len(offsets) != len(labels) + 1:
            raise DataError(f"{shard} has {len(offsets)} offsets for {len(labels)} labels", "copy the shard again")
        for i, label in enumerate(labels):
            yield View(flat[offsets[i] : offsets[i + 1]].tobytes(), f"{shard.stem}#{i}", int(label))


def read_shard(shard: Path, *names: str) -> list[NDArray[Any]]:
    """Read the arrays of a shard by their names. Raises DataError if the file is damaged or lacks one."""
    try:
        with np.load(shard, allow_pickle=False) as arrays:
            return [arrays[name] for name in names]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{shard} is no shard of labelled pictures: {error}", "copy the shard again") from None


def batches(views: Iterator[View], size: int) -> Iterator[list[View]]:
    batch: list[View] = []
    for view in views:
        batch.append(view)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def decode(view: View) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(view.encoded)) as file:
        return np.asarray(file.convert("RGB").resize((TEACHER_SIDE, TEACHER_SIDE), Image.Resampling.BILINEAR))


def prepare_distil(
    output: Path, photos: list[Path], shards: list[Path], classes: list[tuple[str, list[str]]], teacher_folder: Path,
    crops: int = 8, side: int = 160, seed: int = 0, progress: Progress | None = None,
) -> None:  # fmt: skip
    """Write the distillation file: views of `photos` and the pictures of `shards`, each with the teacher's answer.

    A photo that cannot be read is left out. Raises DataError if no picture is given or can be read.
    """
    if not photos and not shards:
        raise DataError("neither a photo nor a labelled picture to distil on")
    teacher = _Teacher(teacher_folder)
    total = len(photos) * (crops + 1)
    total += sum(len(read_shard(shard, "labels")[0]) for shard in shards)
    labels: list[int] = []
    writer = PreparedWriter(output, "distil", classes=json.dumps(classes), teacher=teacher_folder.name, seed=seed)
    with writer, ThreadPoolExecutor() as threads:
        for batch in batches(chain(shard_views(shards), photo_views(photos, crops, side, seed)), 64):
            out = teacher.answer(np.stack(list(threads.map(decode, batch))))
            writer.add_pictures([v.encoded for v in batch], [v.name for v in batch], "train")
            for name in ("pool", "logits"):
                writer.append(f"teacher/{name}", out[name].half().cpu().numpy())
            labels += [v.label for v in batch]
            if progress:
                progress(len(labels), total)
        if not labels:
            raise DataError("not one picture to distil on can be read", "name folders of photos")
        writer.write("labels/class", np.asarray(labels, np.int16))


class _Teacher:
    """The network in a folder, on the GPU if there is one."""

    def __init__(self, folder: Path) -> None:
        """Load it by `load_teacher`."""
        import torch

        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        network = load_teacher(folder)
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def answer(self, pixels: NDArray[np.uint8]) -> dict[str, Tensor]:
        """Return what it says of pictures (B, S, S, 3)."""
        import torch

        pictures = channels_first(torch.from_numpy(pixels).to(self.device))  # channels last
        with torch.inference_mode(), torch.autocast(self.device, torch.bfloat16):
            out: dict[str, Tensor] = self.network(pictures)
        return out
