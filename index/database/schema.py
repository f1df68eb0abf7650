"""The tables of a library, and how a vector lies in one: float16, so that a million of them stay under a gigabyte."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FORMAT = 4
APPLICATION = 0x76737263  # "vsrc", in the header of every library: what lacks it may be another program's
READABLE = ("1", "2", "3", str(FORMAT))  # what each lacked is said below; `Writing.upgrade` adds it

# A picture's id stands for its vectors for ever: a changed picture, or a new caption, gets a new id (AUTOINCREMENT
# never reuses one), and an id that goes is kept in `removed`. So a cache of vectors by id never lies; it can only
# miss new rows or hold dead ones. `runs` holds a random token for every build that changed something: a cache names
# the last one it knew, and a cache whose token is not here was made of another library (or of this one before it was
# restored from a copy). Vectors have their own tables, so that walking over paths and dates does not read them; that
# of captions has no row where a picture has no caption, or one without a known word.
CAPTION_VECTORS = "CREATE TABLE caption_vectors (id INTEGER PRIMARY KEY, vector BLOB NOT NULL)"
# Added by format 3. Votes and captions by hand belong to a content, and so outlive every row of `pictures`.
OPINIONS = (
    "CREATE TABLE votes (id INTEGER PRIMARY KEY, query TEXT NOT NULL, hash BLOB NOT NULL, good INTEGER NOT NULL)",
    "CREATE UNIQUE INDEX votes_once ON votes (query, hash)",
    "CREATE TABLE written (hash BLOB PRIMARY KEY, caption TEXT NOT NULL) WITHOUT ROWID",
)
# Added by format 4 (3 had `details`, but neither lens nor place). `details` has no row before a build has read the head
# of a file, `notes` none where neither file nor sidecar says anything; keywords are a JSON list, `sidecar` is the
# mtime_ns of the sidecar, NULL where the file itself says it. Text in a picture belongs to its content.
TEXTS = (
    "CREATE VIRTUAL TABLE texts USING fts5(caption, keywords, name, picture,"
    " tokenize = 'unicode61 remove_diacritics 2')"
)
DETAILS = (
    "CREATE TABLE details (id INTEGER PRIMARY KEY, width INTEGER NOT NULL, height INTEGER NOT NULL, taken INTEGER,"
    " camera TEXT, lens TEXT, latitude REAL, longitude REAL)",
    "CREATE TABLE notes (id INTEGER PRIMARY KEY, title TEXT, description TEXT, keywords TEXT NOT NULL, rating INTEGER,"
    " sidecar INTEGER)",
    "CREATE TABLE ocr (hash BLOB PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID",
    TEXTS,
    "CREATE TABLE excludes (pattern TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE taught (id INTEGER PRIMARY KEY, weight REAL NOT NULL, query BLOB NOT NULL, picture BLOB NOT NULL)",
)
OF_PICTURES = {"details": "id", "notes": "id", "texts": "rowid"}  # table of DETAILS: where the id lies
BY_CONTENT = {"votes": "query, good", "written": "caption", "ocr": "text"}  # tables by content, and their other columns
# Whatever words are made of takes the row of `texts` away when it changes; `Texts.fill` writes those that are missing.
REWORD = (
    "CREATE TRIGGER reword AFTER UPDATE OF path, caption ON pictures"
    " WHEN OLD.path IS NOT NEW.path OR OLD.caption IS NOT NEW.caption"
    " BEGIN DELETE FROM texts WHERE rowid = NEW.id; END",
    *(
        f"CREATE TRIGGER reword_notes_{when} AFTER {when} ON notes BEGIN DELETE FROM texts WHERE rowid = {row}.id; END"
        for when, row in (("insert", "NEW"), ("update", "NEW"), ("delete", "OLD"))
    ),
    *(
        f"CREATE TRIGGER reword_ocr_{when} AFTER {when} ON ocr BEGIN"
        f" DELETE FROM texts WHERE rowid IN (SELECT id FROM pictures WHERE hash = {row}.hash); END"
        for when, row in (("insert", "NEW"), ("update", "NEW"), ("delete", "OLD"))
    ),
)
FORGET = (
    "CREATE TRIGGER forget AFTER DELETE ON pictures BEGIN DELETE FROM vectors WHERE id = OLD.id;"
    " DELETE FROM caption_vectors WHERE id = OLD.id; "
    + " ".join(f"DELETE FROM {table} WHERE {column} = OLD.id;" for table, column in OF_PICTURES.items())
    + " INSERT INTO removed (id) VALUES (OLD.id); END"
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
    *OPINIONS,
    *DETAILS,
    *REWORD,
    FORGET,
)


def pack(vector: NDArray[np.float32] | NDArray[np.float16]) -> bytes:
    """Return a vector (D,) of any length above zero as the library stores it: unit length, float16, little-endian.

    One that is float16 comes out of a library already, and is kept bit for bit.
    Raises ValueError for a vector that is not finite or is zero: it has no place among the others.
    """
    norm = float(np.linalg.norm(vector.astype(np.float64)))
    if not np.isfinite(norm) or norm == 0:
        raise ValueError("the vector is not finite, or is zero")
    return (vector if vector.dtype == np.float16 else vector / norm).astype("<f2").tobytes()


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
