"""A frozen encoder's features of every picture of a prepared file, computed once.

The file is HDF5: `name` (I,), `pool` (I, C) and `grid` (I, N, C) float16, or (I, A, ...) with A views of each picture,
and the attribute `key`, a hash of the encoder's weights and of the preprocessing: features of another are refused.
Files of any other network with `name`, `pool` and `grid` serve as well; they have no key and are taken on trust.
"""

from __future__ import annotations

import hashlib
import os
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

from training.prepare.store import read_encoded
from vsearch.config import PreprocessConfig
from vsearch.device import autocast
from vsearch.errors import DataError
from vsearch.image.decode import decode_bytes
from vsearch.image.transform import normalise, to_pixels
from vsearch.models.encoder import Encoder

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Features:
    """Features in memory: `pool` (I, A, C), `grid` (I, A, N, C) or None; A views, the first the plain picture."""

    pool: NDArray[np.float16]
    grid: NDArray[np.float16] | None


def key_of(encoder: Encoder, preprocess: PreprocessConfig) -> str:
    """A hash of the encoder's weights, its buffers and the preprocessing."""
    digest = hashlib.sha256(repr((encoder.config, preprocess)).encode())
    for name, value in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def write_features(
    encoder: Encoder, preprocess: PreprocessConfig, prepared: Path, output: Path, device: torch.device,
    grid: bool = True, views: int = 1, batch: int = 64, progress: Progress | None = None,
) -> None:  # fmt: skip
    """Compute the features of all pictures in `prepared`. View 0 is the picture, view 1 its mirror image, further ones
    are crops of seven eighths of both sides at a corner, mirrored at every other view."""
    with h5py.File(prepared, "r") as file:
        encoded, names = read_encoded(file), file["pictures/name"][:]
    encoder = encoder.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    partial = output.with_name(output.name + ".partial")
    output.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(partial, "w") as file:
        file["name"] = names
        file.attrs["key"] = key_of(encoder, preprocess)
        start = 0
        for pixels in _pixels(encoded, preprocess.side, views, batch):
            cells, pool = _encode(encoder, pixels, preprocess, device)
            shape = (len(pixels) // views, views)
            _append(file, "pool", pool.view(*shape, -1), len(encoded))
            if grid:
                _append(file, "grid", cells.reshape(*shape, *cells.shape[1:]), len(encoded))
            start += shape[0]
            if progress:
                progress(start, len(encoded))
        file.attrs["complete"] = True
    os.replace(partial, output)


@torch.inference_mode()
def _encode(
    encoder: Encoder, pixels: NDArray[np.uint8], preprocess: PreprocessConfig, device: torch.device
) -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2)
    with autocast(device):
        grid, pool = encoder(normalise(images, preprocess).contiguous(memory_format=torch.channels_last))
    return grid.half().cpu(), pool.half().cpu()


def _append(file: h5py.File, name: str, rows: Tensor, total: int) -> None:
    if name not in file:
        file.create_dataset(name, (total, *rows.shape[1:]), "f2", chunks=(1, *rows.shape[1:]))
        file[name].attrs["filled"] = 0
    start = int(file[name].attrs["filled"])
    file[name][start : start + len(rows)] = rows.numpy()
    file[name].attrs["filled"] = start + len(rows)


def _pixels(encoded: list[bytes], side: int, views: int, batch: int) -> Iterator[NDArray[np.uint8]]:
    """Batches of decoded pictures (n * views, S, S, 3), all views of a picture side by side."""
    per_batch = max(1, batch // views)
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(encoded), per_batch):
            chunk = encoded[start : start + per_batch]
            yield np.concatenate(list(pool.map(lambda piece: cut(piece, side, views), chunk)))


def cut(encoded: bytes, side: int, views: int) -> NDArray[np.uint8]:
    """The views of one picture, (views, S, S, 3)."""
    picture = decode_bytes(encoded)
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
    """The features of the pictures `names`, in that order.

    Raises DataError where a name is missing, or the features are another encoder's than `key` says.
    """
    if not path.is_file():
        raise DataError(f"features not found: {path}", "make them with `vsearch prepare features`")
    with h5py.File(path, "r") as file:
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
    if pool.ndim == 2:
        pool, cells = pool[:, None], None if cells is None else cells[:, None]
    return Features(pool, cells)
