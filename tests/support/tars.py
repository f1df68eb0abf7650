"""WebDataset shards of drawn photos."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

from tests.support.pictures import draw


def photo(seed: int, kind: str = "JPEG") -> bytes:
    """The file of a small photo, another one for every seed."""
    file = io.BytesIO()
    draw(seed).save(file, kind)
    return file.getvalue()


def write_tar(path: Path, members: Iterable[tuple[str, bytes]], mtime: int = 1_700_000_000) -> Path:
    """A tar with these members, as `tarfile` writes one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), mtime
            tar.addfile(info, io.BytesIO(data))
    return path


def draw_tars(folder: Path, tars: int, photos: int) -> list[Path]:
    """00000.tar, 00001.tar, ... of `photos` photos each, a .json next to every photo."""
    return [
        write_tar(
            folder / f"{n:05}.tar",
            [
                member
                for k in range(photos)
                for member in ((f"{n:05}{k:04}.jpg", photo(n * photos + k)), (f"{n:05}{k:04}.json", b"{}"))
            ],
        )
        for n in range(tars)
    ]
