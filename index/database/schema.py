"""The tables of a library, and how a vector lies in one: float16, so that a million of them stay under a gigabyte."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FORMAT = 3
APPLICATION = 0x76737263  # "vsrc", in the header of every library: what lacks it may be another program's
READABLE = ("1", "2", str(FORMAT))  # 1 had no caption vectors, 2 no details and votes; `Writing.upgrade` adds them

# A picture's id stands for its vectors for ever: a changed picture, or a new caption, gets a new id (AUTOINCREMENT
# never reuses one), and an id that goes is kept in `removed`. So a cache of vectors by id never lies; it can only
# miss new rows or hold dead ones. `runs` holds a random token for every build that changed something: a cache names
# the last one it knew, and a cache whose token is not here was made of another library (or of this one before it was
# restored from a copy). Vectors have their own tables, so that walking over paths and dates does not read them; that
# of captions has no row where a picture has no caption, or one without a known word.
CAPTION_VECTORS = "CREATE TABLE caption_vectors (id INTEGER PRIMARY KEY, vector BLOB NOT NULL)"
# Added by format 3. `details` has no row before a build has read the head of a file. Votes and captions by hand belong
# to a content, and so outlive every row of `pictures`.
DETAILS = (
    "CREATE TABLE details (id INTEGER PRIMARY KEY, width INTEGER NOT NULL, height INTEGER NOT NULL, taken INTEGER,"
    " camera TEXT)",
    "CREATE TABLE votes (id INTEGER PRIMARY KEY, query TEXT NOT NULL, hash BLOB NOT NULL, good INTEGER NOT NULL)",
    "CREATE UNIQUE INDEX votes_once ON votes (query, hash)",
    "CREATE TABLE written (hash BLOB PRIMARY KEY, caption TEXT NOT NULL) WITHOUT ROWID",
)
FORGET = (
    "CREATE TRIGGER forget AFTER DELETE ON pictures BEGIN DELETE FROM vectors WHERE id = OLD.id;"
    " DELETE FROM caption_vectors WHERE id = OLD.id; DELETE FROM details WHERE id = OLD.id;"
    " INSERT INTO removed (id) VALUES (OLD.id); END"
)
SCHEMA = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE folders (path BLOB PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE mounts (path BLOB PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE pictures (id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB NOT NULL UNIQUE, size INTEGER NOT NULL,"
    " mtime_ns INTEGER NOT NULL, hash BLOB NOT NULL, caption TEXT)",
    "CREATE INDEX pictures_hash ON pictures (hash)",
    "CREATE TABLE vectors (id INTEGER PRIMARY KEY, vector BLOB NOT NULL)",
    CAPTION_VECTORS,
    "CREATE TABLE removed (id INTEGER PRIMARY KEY)",
    "CREATE TABLE skipped (path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,"
    " reason TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE runs (token TEXT PRIMARY KEY) WITHOUT ROWID",
    *DETAILS,
    FORGET,
)


def pack(vector: NDArray[np.float32]) -> bytes:
    """Return a vector (D,) of any length above zero as the library stores it: unit length, float16, little-endian.

    Raises ValueError for a vector that is not finite or is zero: it has no place among the others.
    """
    norm = float(np.linalg.norm(vector.astype(np.float64)))
    if not np.isfinite(norm) or norm == 0:
        raise ValueError("the vector is not finite, or is zero")
    return (vector / norm).astype("<f2").tobytes()


def unpack(blobs: Sequence[bytes], dim: int) -> NDArray[np.float32]:
    """Unpack vectors -> float32 (n, D), unit length: every path of search sees exactly these values.

    Raises ValueError if a blob is not of `dim` finite numbers.
    """
    if any(len(blob) != 2 * dim for blob in blobs):
        raise ValueError(f"a vector is not of {dim} numbers")
    rows = np.frombuffer(b"".join(blobs), dtype="<f2").astype(np.float32).reshape(len(blobs), dim)
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    if not np.isfinite(norms).all():
        raise ValueError("a vector is not finite")
    rows /= np.maximum(norms, 1e-12)[:, None]
    return rows  # (n, D)
