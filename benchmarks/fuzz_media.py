"""Damage videos, raw photos and JPEG XL at random and have them decoded: what becomes of the process that does it?

    python -m benchmarks.fuzz_media FOLDER [--minutes 3]

FOLDER holds a few small files of each kind. Every try changes up to forty bytes of a copy, or cuts it off.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

from vsearch.errors import PictureError
from vsearch.image import apart
from vsearch.image.decode import decode
from vsearch.image.kinds import OPTIONAL, VIDEO, moment_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    suffixes = frozenset[str]().union(*(kind.suffixes for kind in OPTIONAL))
    files = [path for path in sorted(given.folder.iterdir()) if path.suffix in suffixes]
    apart.PATIENCE = 10.0
    dice, seen, end = random.Random(given.seed), Counter[tuple[str, str]](), time.monotonic() + 60 * given.minutes
    with tempfile.TemporaryDirectory() as scratch:
        while time.monotonic() < end:
            source = dice.choice(files)
            damaged = Path(scratch) / f"damaged{source.suffix}"
            damaged.write_bytes(mutated(source.read_bytes(), dice))
            path = moment_path(str(damaged), dice.choice((0, 5))) if source.suffix in VIDEO else str(damaged)
            seen[source.suffix, outcome(path)] += 1
    for (suffix, what), number in sorted(seen.items()):
        print(f"{suffix:8} {number:7,}  {what}")


def mutated(data: bytes, dice: random.Random) -> bytes:
    """Return the bytes of a file with some of them changed, most often near its beginning or end, or cut off."""
    if dice.random() < 0.1:
        return data[: dice.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(dice.randint(1, 40)):
        near = min(len(data), dice.choice((64, 1024, len(data))))
        at = dice.randrange(near)
        changed[at if dice.random() < 0.5 else len(data) - 1 - at] = dice.choice((0, 255, dice.randrange(256)))
    return bytes(changed)


def outcome(path: str) -> str:
    """Return what came of a file: a picture, or why there is none."""
    try:
        decode(path)
    except PictureError as error:
        return str(error) if "crashed" in str(error) or "too long" in str(error) else "refused"
    return "a picture"


if __name__ == "__main__":
    main()
