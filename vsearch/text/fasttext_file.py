"""The layout of a fastText .bin, read without fastText: what a file holds, where, and whether it is whole.

fastText itself checks two numbers at the start and then trusts every size it reads, so a truncated file is loaded in
silence or ends the process, and one made on purpose reads and writes where it likes. So every size is checked here.
Little endian throughout, as fastText 0.9.2 writes it (args.cc, dictionary.cc, ...):

    int32 magic, int32 version
    int32 dim ws epoch minCount neg wordNgrams loss model bucket minn maxn lrUpdateRate, float64 t
    int32 size nwords nlabels, int64 ntokens pruned
    size x (word, one zero byte, int64 count, int8 type); pruned x (int32, int32), none where pruned is -1
    bool quantised; the input matrix: nwords + bucket rows of dim
    bool quantised output; the output matrix, which only training and prediction need

A plain matrix is int64 rows, int64 columns and float32 values. A quantised one is bool norms apart, int64 rows, int64
columns, int32 codes, one byte a code, and the table of values the codes stand for (productquantizer.cc): int32
dim parts width last, then 256 x dim float32; where norms are apart, one byte a row and a table of one part follow.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vsearch.errors import WordsError

MAGIC, VERSION = 793712314, 12
HEADER = struct.Struct("<2i12id")
LOSS_FIELD, LOSS_SOFTMAX = 2 + 6, 3
COUNTS = struct.Struct("<3i2q")
ENTRY = struct.Struct("<qb")
SHAPE = struct.Struct("<2q")
CODES = struct.Struct("<?2qi")
TABLE = struct.Struct("<4i")
LEVELS = 256
_SUPERVISED = 3  # the kind of model whose targets are the labels
_LONGEST_WORD = 4096  # bytes; fastText computes with all n-grams of every word as it loads a file
_LONGEST_GRAM = 32  # letters


@dataclass(frozen=True)
class Layout:
    """Where the parts of a .bin stand, in bytes from its start."""

    dim: int
    bucket: int
    words: int  # entries of the dictionary, "</s>" included
    dictionary: int
    matrix: int  # the byte that says whether the input matrix is quantised
    quantised: bool
    output: int  # the byte that says whether the output matrix is quantised
    output_rows: int
    end: int

    @property
    def values(self) -> int:
        """Where the float32 values of a plain input matrix start."""
        return self.matrix + 1 + SHAPE.size


@dataclass(frozen=True)
class Entry:
    """A word of the dictionary, and how often the text had it."""

    word: str
    count: int

    @property
    def packed(self) -> bytes:
        """The entry as the file has it."""
        return self.word.encode("utf-8", "surrogateescape") + b"\0" + ENTRY.pack(self.count, 0)


def read_entries(path: Path) -> Iterator[Entry]:
    """Yield the words of the dictionary of a whole .bin (see `read_layout`), "</s>" included, in their order."""
    layout = read_layout(path)
    with path.open("rb") as file:
        head = file.read(layout.matrix)
    at = layout.dictionary + COUNTS.size
    for _ in range(COUNTS.unpack_from(head, layout.dictionary)[0]):
        zero = head.index(b"\0", at)
        count, _ = ENTRY.unpack_from(head, zero + 1)
        yield Entry(head[at:zero].decode("utf-8", "surrogateescape"), count)
        at = zero + 1 + ENTRY.size


def read_layout(path: Path) -> Layout:
    """Walk through a fastText .bin from end to end.

    WordsError when it is missing, not a fastText .bin of version 12, or shorter or longer than its own sizes say.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _walk(data, path)
    except OSError as error:
        raise WordsError(f"cannot read the word vectors {path}: {error.strerror}") from None
    except (ValueError, struct.error):  # an empty file cannot be mapped; a read past the end
        raise WordsError(f"{path} is not a fastText .bin, or is cut short", "fetch or train it again") from None


def _walk(data: mmap.mmap, path: Path) -> Layout:
    header = HEADER.unpack_from(data, 0)
    if header[:2] != (MAGIC, VERSION):
        raise WordsError(f"{path} is not a fastText .bin (version {VERSION})", "give a .bin of fastText 0.2 or later")
    dim, loss, model, bucket, maxn = header[2], header[2 + 6], header[2 + 7], header[2 + 8], header[2 + 10]
    size, words, labels, _, pruned = COUNTS.unpack_from(data, HEADER.size)
    at = _skip_dictionary(data, HEADER.size + COUNTS.size, words, labels)
    kept, at = at, at + 8 * max(pruned, 0)
    matrix, (at, rows, quantised) = at, _skip_matrix(data, at, dim)
    output, (at, output_rows, _) = at, _skip_matrix(data, at, dim)
    expected = pruned if pruned >= 0 else bucket
    sound = (
        at == len(data)
        and size == words + labels
        and rows == words + expected
        and dim >= 1
        and loss in range(1, 5)
        and model in range(1, 4)
        and (labels > 0 or model != _SUPERVISED)
        and 0 <= maxn <= _LONGEST_GRAM
        and bucket >= (maxn > 0)
        and pruned >= -1
        and (quantised or pruned == -1)
        and all(0 <= row < pruned for _, row in struct.iter_unpack("<2i", data[kept:matrix]))
    )
    if not sound:
        raise WordsError(f"{path} is damaged: its parts do not fit together", "fetch or train it again")
    return Layout(dim, bucket, words, HEADER.size, matrix, quantised, output, output_rows, at)


def _skip_dictionary(data: mmap.mmap, at: int, words: int, labels: int) -> int:
    """Return the byte after the entries of a dictionary: first words, of type 0, then labels, of type 1.

    A count is below 2^48: fastText's tree of larger ones would end nowhere.
    """
    if not 0 < words <= len(data) or not 0 <= labels <= len(data):
        raise ValueError("dictionary")
    entry = rb"[^\0]{0,%d}+\0[\s\S]{6}\0\0" % _LONGEST_WORD
    found = re.compile(rb"(?:%b\0){%d}+(?:%b\x01){%d}+" % (entry, words, entry, labels)).match(data, at)
    if found is None:
        raise ValueError("dictionary")
    return found.end()


def _skip_matrix(data: mmap.mmap, at: int, dim: int) -> tuple[int, int, bool]:
    """Return the byte after the matrix at `at`, its rows, and whether it is quantised."""
    (quantised,) = struct.unpack_from("<B", data, at)
    at += 1
    if quantised > 1:
        raise ValueError("matrix")
    if not quantised:
        rows, columns = SHAPE.unpack_from(data, at)
        at += SHAPE.size + 4 * rows * columns
    else:
        (norms,) = struct.unpack_from("<B", data, at)
        _, rows, columns, codes = CODES.unpack_from(data, at)
        if norms > 1 or codes < 0:
            raise ValueError("matrix")
        at, parts = _skip_table(data, at + CODES.size + codes, dim)
        if codes != rows * parts:
            raise ValueError("codes")
        if norms:
            at, _ = _skip_table(data, at + rows, 1)
    if columns != dim or rows < 0 or at > len(data):
        raise ValueError("matrix")
    return at, rows, bool(quantised)


def _skip_table(data: mmap.mmap, at: int, dim: int) -> tuple[int, int]:
    """Return the byte after the table of values that codes stand for, and the codes of a row.

    A row of `dim` numbers is parted into pieces of `width`, the last one as long as is left.
    """
    size, parts, width, last = TABLE.unpack_from(data, at)
    if size != dim or parts < 1 or not 1 <= last <= width <= dim or (parts - 1) * width + last != dim:
        raise ValueError("table of codes")
    return at + TABLE.size + 4 * LEVELS * dim, parts
