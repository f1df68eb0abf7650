"""Open the one file of a library: one SQLite file, the only truth about which pictures there are, and their vectors.

Readers may read while one build writes (write-ahead log). Every method raises LibraryError if the file fails.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from index import remedies
from index.database.connection import Connection, translated
from index.database.details import Details
from index.database.look import look
from index.database.notes import Notes
from index.database.opinions import Opinions
from index.database.read import Reading
from index.database.schema import FORMAT, READABLE
from index.database.taught import Taught
from index.database.texts import Texts
from index.database.write import Writing
from vsearch.errors import LibraryError
from vsearch.files import make_empty, make_private_folder


class NoLibraryError(LibraryError):
    """There is no library at a path, or an empty file."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"there is no library at {path}", f"make one: {remedies.build(path, remedies.FOLDER)}")


class OtherModelError(LibraryError):
    """The vectors of a library were made by another model."""


class Database:
    """An open library file: `read` asks it, `write` changes it. A context manager that closes it.

    `details` holds what is known of pictures next to that, `notes` what their files say, `opinions` what people said
    about them here, `texts` all their words, `taught` what was learned from votes.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.read = Reading(connection)
        self.write = Writing(connection, self.read)
        self.details = Details(connection)
        self.notes = Notes(connection)
        self.opinions = Opinions(connection)
        self.texts = Texts(connection)
        self.taught = Taught(connection)

    @classmethod
    def open(cls, path: Path, *, create: bool = False, read_only: bool = False) -> Database:
        """Open the library at `path`; `create` makes it, and its folder, if it is not there.

        Raises LibraryError if it is missing, damaged, of another format, or cannot be written (unless `read_only`).
        What is no library is not changed.
        """
        path = Path(path).absolute()
        with translated(path):
            there = look(path)
            if not there and create and not read_only:
                make_private_folder(path.parent)
                make_empty(path)  # SQLite gives its logs the mode of the file
            elif not there:
                raise NoLibraryError(path)
        database = cls(Connection(path, read_only=read_only))
        try:
            database._prepare(create)
        except BaseException:
            database.close()
            raise
        return database

    def _prepare(self, create: bool) -> None:
        if not self.read_only:
            self.connection.share()
        if create and not self.read_only and not self.read.tables():
            self.write.make_tables()
        tables = self.read.tables()
        if not tables:
            raise NoLibraryError(self.path)
        if self.read.noted("format") not in READABLE:
            message = f"{self.path} has format {self.read.noted('format')}, this vsearch reads format {FORMAT}"
            raise LibraryError(message, "use the vsearch that made it, or name another file with `Library.open(path)`")

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was closed cannot be used again."""
        self.connection.close()

    # ---- the file and its transactions, see `Connection`

    @property
    def path(self) -> Path:
        """Where the file is, an absolute path."""
        return self.connection.path

    @property
    def read_only(self) -> bool:
        """Whether nothing can be written."""
        return self.connection.read_only

    def building(self) -> AbstractContextManager[None]:
        """Hold the right to build, see `Connection.building`."""
        return self.connection.building()

    def writing(self) -> AbstractContextManager[None]:
        """Open a transaction that writes, see `Connection.writing`."""
        return self.connection.writing()

    def snapshot(self) -> AbstractContextManager[None]:
        """Open a transaction that reads, see `Connection.snapshot`."""
        return self.connection.snapshot()

    def version(self) -> tuple[int, int]:
        """Return two numbers that change with the file, see `Connection.version`."""
        return self.connection.version()

    # ---- whose vectors it holds

    def check_identity(self, identity: str) -> None:
        """Raise LibraryError if the vectors were made by another model than that of this identity."""
        mine = self.read.identity
        if mine is not None and mine != identity:
            message = f"{self.path} was made by another model ({mine[:12]}; this one is {identity[:12]})"
            raise OtherModelError(message, f"re-index it: {self.reindex_code()}")

    def adopt(self, identity: str, dim: int) -> None:
        """Write down, before the first vector, whose they are; raises LibraryError if they are another's already."""
        self.check_identity(identity)
        if self.read.identity is None:
            self.write.set_model(identity, dim)
        elif self.read.dim != dim:
            message = f"{self.path} holds vectors of {self.read.dim} numbers, the model makes {dim}"
            raise OtherModelError(message, f"re-index it: {self.reindex_code()}")

    def reindex_code(self) -> str:
        """Return the code that embeds every folder of this library again."""
        return remedies.build(self.path, None if self.read.folders() else remedies.FOLDER, reindex=True)
