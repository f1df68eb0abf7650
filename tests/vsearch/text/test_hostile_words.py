"""Word vectors that somebody made to do harm never reach fastText, whatever checksum comes with them."""

from __future__ import annotations

import json
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import tiny_model
from training.data.words import trim
from vsearch.errors import WordsError
from vsearch.text.fasttext_file import CODES, COUNTS, HEADER, LEVELS, SHAPE, TABLE, Layout, read_layout
from vsearch.text.phrase import PhraseSpace
from vsearch.text.vectors import WordVectors, checksum

FIELDS = ["magic", "version", "dim", "ws", "epoch", "minCount", "neg", "wordNgrams", "loss", "model", "bucket", "minn"]
FIELDS += ["maxn", "lrUpdateRate"]
Edit = Callable[[bytearray], None]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quantised file as it ships."""
    path = tmp_path_factory.mktemp("words") / "words.bin"
    trim(tiny_model.words_file(), path, quantise=True)
    return path


def header(name: str, value: int) -> Edit:
    return lambda data: struct.pack_into("<i", data, 4 * FIELDS.index(name), value)


def count(at: int, value: int) -> Edit:
    """Change a field of COUNTS: 0 size, 4 words, 8 labels, 12 tokens, 20 pruned."""
    return lambda data: struct.pack_into("<i" if at < 12 else "<q", data, HEADER.size + at, value)


def table(field: int, value: int, *, norms: bool = False) -> Edit:
    """Change a field of the table of codes: 0 dim, 1 parts, 2 width, 3 last."""

    def edit(data: bytearray) -> None:
        matrix = layout_of(data).matrix + 1
        _, rows, columns, codes = CODES.unpack_from(data, matrix)
        at = matrix + CODES.size + codes
        if norms:
            at += TABLE.size + 4 * LEVELS * columns + rows
        struct.pack_into("<i", data, at + 4 * field, value)

    return edit


def shape(at: int, value: int) -> Edit:
    """Change a field of CODES: 1 rows, 9 columns (int64); or 17, the number of codes (int32)."""
    return lambda data: struct.pack_into("<q" if at < 17 else "<i", data, layout_of(data).matrix + 1 + at, value)


def flag(value: int, at: int = 0) -> Edit:
    def edit(data: bytearray) -> None:
        data[layout_of(data).matrix + at] = value

    return edit


def entry(at: int, value: int) -> Edit:
    """Change a byte of the first word's count (1 to 8) and type (9), counted from the zero that ends the word."""

    def edit(data: bytearray) -> None:
        data[data.index(b"\0", HEADER.size + COUNTS.size) + at] = value

    return edit


def layout_of(data: bytearray) -> Layout:
    path = tiny_model.scratch() / "layout.bin"
    path.write_bytes(data)
    return read_layout(path)


EDITS: dict[str, Edit] = {
    "parts times fifty": table(1, 600),
    "width times a thousand": table(2, 1000),
    "a last part of a hundred thousand": table(3, 100_000),
    "no parts": table(1, 0),
    "a negative width": table(2, -1),
    "dim of the table": table(0, 13),
    "norms of several parts": table(1, 4, norms=True),
    "a wide norm": table(2, 1000, norms=True),
    "rows": shape(1, 10**6),
    "negative rows": shape(1, -1),
    "columns": shape(9, 13),
    "codes": shape(17, 5),
    "negative codes": shape(17, -5),
    "neither quantised nor plain": flag(2),
    "neither with norms nor without": flag(7, at=1),
    "said to be plain": flag(0),
    "dim": header("dim", 13),
    "no dim": header("dim", 0),
    "no buckets": header("bucket", 0),
    "negative buckets": header("bucket", -1),
    "endless n-grams": header("maxn", 10**9),
    "an unknown loss": header("loss", 9),
    "an unknown model": header("model", 9),
    "a model of labels that there are not": header("model", 3),
    "no words": count(4, 0),
    "more words": count(4, 10**6),
    "labels": count(8, 1),
    "negative labels": count(8, -1),
    "another size": count(0, 10**6),
    "pruned": count(20, 5),
    "pruned by a lot": count(20, 10**12),
    "a count that ends nowhere": entry(8, 0x7F),
    "a word that is a label": entry(9, 1),
}


def hurt(sound: Path, target: Path, edit: Edit) -> Path:
    data = bytearray(sound.read_bytes())
    edit(data)
    assert bytes(data) != sound.read_bytes()
    target.write_bytes(data)
    return target


@pytest.mark.parametrize("what", EDITS)
def test_a_layout_that_lies_is_refused(sound: Path, tmp_path: Path, what: str) -> None:
    path = hurt(sound, tmp_path / "words.bin", EDITS[what])
    for digest in (None, "", checksum(path)):  # a stranger's config.json brings the right checksum
        with pytest.raises(WordsError):
            WordVectors.load(path, digest)


def test_a_strangers_model_is_refused_with_its_own_checksum(sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model.model_folder(), folder)
    path = hurt(sound, folder / "words.bin", EDITS["parts times fifty"])
    config = json.loads((folder / "config.json").read_text())
    for digest in ("", checksum(path)):
        config["words"]["sha256"] = digest
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(WordsError, match="fastText"):
            PhraseSpace.load(folder)


def test_pruned_rows_lie_inside_the_matrix(sound: Path, tmp_path: Path) -> None:
    """A dictionary that is pruned to one n-gram: its row must be the one after the words."""
    layout = read_layout(sound)
    data = sound.read_bytes()
    matrix = layout.matrix + 1
    norms, rows, columns, codes = CODES.unpack_from(data, matrix)
    kept = layout.words + 1
    per_row = codes // rows
    table_at = matrix + CODES.size + codes
    norms_at = table_at + TABLE.size + 4 * LEVELS * columns
    for row, sound_file in ((0, True), (1, False), (-1, False), (10**6, False)):
        parts = [
            data[: HEADER.size], COUNTS.pack(layout.words, layout.words, 0, 100, 1),
            data[HEADER.size + COUNTS.size : layout.matrix], struct.pack("<2i", 7, row),
            b"\1" + CODES.pack(norms, kept, columns, kept * per_row),
            data[matrix + CODES.size :][: kept * per_row], data[table_at:norms_at],
            data[norms_at : norms_at + kept], data[norms_at + rows : layout.output],
            b"\0" + SHAPE.pack(0, columns),
        ]  # fmt: skip
        path = tmp_path / "pruned.bin"
        path.write_bytes(b"".join(parts))
        if sound_file:
            assert WordVectors.load(path).unit("snowboat").shape == (layout.dim,)
        else:
            with pytest.raises(WordsError):
                WordVectors.load(path)


FUZZ = """
import random, sys
from pathlib import Path
from vsearch.errors import WordsError
from vsearch.text.vectors import WordVectors

data, path, rng, refused = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]), random.Random(int(sys.argv[3])), 0
places = [*range(8, 92), *range(len(data) - 3200, len(data) - 3000), *range(len(data))[:: max(1, len(data) // 97)]]
for _ in range(400):
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        changed[rng.choice(places)] = rng.choice((0, 1, 2, 127, 128, 255, rng.randrange(256)))
    path.write_bytes(changed)
    try:
        vectors = WordVectors.load(path)
        for word in ("dog", "snowboats", "zz", "x" * 300):
            vectors.unit(word), word in vectors
    except WordsError:
        refused += 1
print(refused)
"""


def test_bytes_at_random_end_no_process(sound: Path, tmp_path: Path) -> None:
    seed = random.Random(0).randrange(1000)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FUZZ, sound, tmp_path / "words.bin", str(seed)],
        capture_output=True, text=True, cwd=tiny_model.ROOT, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 50 < int(done.stdout) < 400


@pytest.mark.parametrize("first", ["1000000000 1000000000", "1000000 300", "-1 2", "2 -1"])
def test_a_table_takes_no_more_memory_than_its_file_can_fill(tmp_path: Path, first: str) -> None:
    (tmp_path / "words.vec").write_text(f"{first}\ndog 3 4\n")
    with pytest.raises(WordsError, match="no .vec|not a .vec"):
        WordVectors.load(tmp_path / "words.vec")
