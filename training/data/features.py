"""A frozen encoder's features of every picture of a prepared file, computed once.

The file is HDF5: `name` (I,), `pool` (I, C) and `grid` (I, N, C) float16, or (I, A, ...) with A views of each picture,
and the attribute `key`, a hash of the encoder's weights and of the preprocessing: features of another are refused.
Files of any other network with `name`, `pool` and `grid` serve as well; they have no key and are taken on trust.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.distil import TEACHER_SIDE, load_teacher
from training.data.prepared import Stored, read_stored, to_picture
from vsearch.config import PreprocessConfig
from vsearch.device import autocast, fast_bf16
from vsearch.errors import DataError
from vsearch.files import replacing
from vsearch.image.pixels import channels_first, to_pixels
from vsearch.networks.encoder import Encoder
from vsearch.networks.fast.encoder import quick_encoder
from vsearch.networks.fast.process import keep_memory
from vsearch.progress import Progress
from vsearch.storage.modelfolder import stored


@dataclass(frozen=True)
class Features:
    """Features in memory: `pool` (I, A, C), `grid` (I, A, N, C) or None; A views, the first the plain picture; and the
    key of what made them, "" where the file does not say."""

    pool: NDArray[np.float16]
    grid: NDArray[np.float16] | None
    key: str = ""


def key_of(encoder: Encoder, preprocess: PreprocessConfig) -> str:
    """Return a hash of the encoder's weights, its buffers and the preprocessing.

    Weights count as a model folder stores them, so that a trained encoder and the model made of it have one key.
    """
    digest = hashlib.sha256(repr((encoder.config, preprocess)).encode())
    for name, value in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(stored(value, half=True).numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Network:
    """What features are made with: uint8 pictures (B, S, S, 3) -> grid (B, N, C) and pool (B, C); S is `side`."""

    encode: Callable[[Tensor], tuple[Tensor, Tensor]]
    side: int
    key: str


def encoder_network(encoder: Encoder, preprocess: PreprocessConfig, device: torch.device) -> Network:
    """Return an encoder of ours, moved to `device`."""
    key = key_of(encoder, preprocess)
    encode = quick_encoder(encoder.to(device), preprocess, fast_bf16(device))
    return Network(encode, preprocess.side, key)


def teacher_network(folder: Path, device: torch.device) -> Network:
    """Return a network by a `teacher.py`, as `distil.load_teacher` reads it, whose answer has a `grid` (B, C, H, W),
    too."""
    teacher = load_teacher(folder).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        digest.update(path.name.encode() + path.read_bytes())

    def encode(images: Tensor) -> tuple[Tensor, Tensor]:
        out = teacher(channels_first(images).contiguous(memory_format=torch.channels_last))  # (B, 3, S, S)
        cells = out["grid"] if "grid" in out else out["pool"][:, :, None]
        return cells.flatten(2).transpose(1, 2), out["pool"]

    return Network(encode, TEACHER_SIDE, digest.hexdigest())


def write_features(
    network: Network, prepared: Path, output: Path, device: torch.device, grid: bool = True, views: int = 1,
    batch: int = 64, progress: Progress | None = None,
) -> None:  # fmt: skip
    """Compute the features of all pictures in `prepared`. View 0 is the picture, view 1 its mirror image, further ones
    are crops of seven eighths of both sides at a corner, mirrored at every other view.

    Raises DataError if `prepared` is no prepared file."""
    output.parent.mkdir(parents=True, exist_ok=True)
    if device.type == "cpu":
        keep_memory()
    opened = _opened(prepared, ("pictures/name",))
    with opened as pictures, replacing(output) as fresh, h5py.File(fresh, "w") as file:
        file["name"] = pictures["pictures/name"][:]
        total = len(file["name"])
        file.attrs["key"] = network.key
        start = 0
        for pixels in _pixels(pictures, total, network.side, views, batch):
            cells, pool = _encode(network, pixels, device)
            shape = (len(pixels) // views, views)
            _append(file, "pool", pool.view(*shape, -1), total)
            if grid:
                _append(file, "grid", cells.reshape(*shape, *cells.shape[1:]), total)
            start += shape[0]
            if progress:
                progress(start, total)
        file.attrs["complete"] = True


@torch.inference_mode()
def _encode(network: Network, pixels: NDArray[np.uint8], device: torch.device) -> tuple[Tensor, Tensor]:
    with autocast(device):
        grid, pool = network.encode(torch.from_numpy(pixels).to(device))
    return grid.half().cpu(), pool.half().cpu()


def _append(file: h5py.File, name: str, rows: Tensor, total: int) -> None:
    if name not in file:
        file.create_dataset(name, (total, *rows.shape[1:]), "f2", chunks=(1, *rows.shape[1:]))
        file[name].attrs["filled"] = 0
    start = int(file[name].attrs["filled"])
    file[name][start : start + len(rows)] = rows.numpy()
    file[name].attrs["filled"] = start + len(rows)


def _pixels(file: h5py.File, total: int, side: int, views: int, batch: int) -> Iterator[NDArray[np.uint8]]:
    """Yield batches of decoded pictures (n * views, S, S, 3), all views of a picture side by side."""
    per_batch = max(1, batch // views)
    with ThreadPoolExecutor() as pool:
        for start in range(0, total, per_batch):
            chunk = read_stored(file, range(start, min(start + per_batch, total)))
            yield np.concatenate(list(pool.map(lambda stored: cut(stored, side, views), chunk)))


def cut(stored: Stored, side: int, views: int) -> NDArray[np.uint8]:
    """Return the views of one picture, encoded or raw: (views, S, S, 3)."""
    picture = to_picture(stored)
    width, height = picture.size
    out = []
    for view in range(views):
        box = (0.0, 0.0, float(width), float(height))
        if view > 1:
            left, top = ((view // 2 - 1) % 2) * width / 8, ((view // 4) % 2) * height / 8
            box = (left, top, left + width * 7 / 8, top + height * 7 / 8)
        pixels = to_pixels(picture.crop(tuple(round(x) for x in box)) if view > 1 else picture, side)  # type: ignore[arg-type]
        out.append(pixels[:, ::-1] if view % 2 else pixels)
    return np.stack(out)


def read_features(path: Path, names: NDArray[Any], key: str | None = None, grid: bool = True) -> Features:
    """Read the features of the pictures `names`, in that order.

    Raises DataError if a name is missing, or the features are another encoder's than `key` says.
    """
    if not path.is_file():
        raise DataError(f"features not found: {path}", "make them with `training.data.features.write_features`")
    with _opened(path, ("name", "pool")) as file:
        if key is not None and file.attrs.get("key", key) != key:
            raise DataError(f"{path} holds features of another encoder or preprocessing", "prepare the features again")
        rows = {name: i for i, name in enumerate(file["name"][:])}
        missing = [n for n in names if n not in rows]
        if missing:
            raise DataError(f"{path} lacks {len(missing)} pictures, {missing[0].decode()} first", "prepare them again")
        order = np.asarray([rows[n] for n in names])
        pool = file["pool"][:][order]
        cells = file["grid"][:] if grid and "grid" in file else None
        if cells is not None and not np.array_equal(order, np.arange(len(cells))):
            cells = cells[order]
        found = str(file.attrs.get("key", ""))
    if pool.ndim == 2:
        pool, cells = pool[:, None], None if cells is None else cells[:, None]
    return Features(pool, cells, found)


def read_grid(features: Path, names: NDArray[Any]) -> NDArray[np.float16]:
    """Return the cells (I, A, N, C) of the pictures `names`, A views each. Raises DataError if there are none."""
    grid = read_features(features, names).grid
    if grid is None:
        raise DataError(f"{features} holds no grid", "prepare the features with their grid")
    return grid


def key_in(path: Path) -> str:
    """Read the key of the network and preprocessing that made the features in a file; "" where it does not say.

    Raises DataError if there is no such file.
    """
    if not path.is_file():
        raise DataError(f"features not found: {path}", "make them with `training.data.features.write_features`")
    with _opened(path, ("name", "pool")) as file:
        return str(file.attrs.get("key", ""))


def _opened(path: Path, held: tuple[str, ...]) -> h5py.File:
    """Open an HDF5 file that holds the data sets `held`; DataError if it is none."""
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path} is not a readable HDF5 file", "make it with `training.data`") from error
    missing = [name for name in held if name not in file]
    if missing:
        file.close()
        raise DataError(f"{path} has no {missing[0]!r}: it is another kind of file", "check which file goes where")
    return file
