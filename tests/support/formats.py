"""Libraries as earlier formats had them."""

from __future__ import annotations

from index.database.database import Database

_FORGET = (
    "CREATE TRIGGER forget AFTER DELETE ON pictures BEGIN DELETE FROM vectors WHERE id = OLD.id;{}"
    " INSERT INTO removed (id) VALUES (OLD.id); END"
)
_DETAILS_3 = (
    "CREATE TABLE details (id INTEGER PRIMARY KEY, width INTEGER NOT NULL, height INTEGER NOT NULL, taken INTEGER,"
    " camera TEXT)"
)


def as_format(library: Database, number: int) -> None:
    """Take away what came after a format; of its details nothing is left."""
    gone = ["details", "notes", "ocr", "texts", "excludes", "taught"]
    gone += ["votes", "written"] if number < 3 else []
    gone += ["caption_vectors"] if number < 2 else []
    more = {1: "", 2: " DELETE FROM caption_vectors WHERE id = OLD.id;"}
    more[3] = more[2] + " DELETE FROM details WHERE id = OLD.id;"
    with library.writing():
        for statement in ["DROP TRIGGER forget", "DROP TRIGGER reword", *(f"DROP TABLE {table}" for table in gone)]:
            library.connection.execute(statement)
        if number == 3:
            library.connection.execute(_DETAILS_3)
            library.connection.execute("INSERT INTO details SELECT id, 1, 1, NULL, 'old' FROM pictures")
        library.connection.execute(_FORGET.format(more[number]))
        library.write.note("format", str(number))
