"""Every error a user can meet: one line of what is wrong, one of what to do about it."""


class VsearchError(Exception):
    """Base of all expected errors. `str(error)` is the message; `hint` is the remedy, possibly empty."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(VsearchError):
    """A configuration or recipe holds an unknown key or a value out of range."""


class PictureError(VsearchError):
    """A file is not a picture that can be read; `str(error)` is the reason alone, without the path."""


class ModelError(VsearchError):
    """A model folder is missing, damaged, of another task, or does not fit."""


class WordsError(VsearchError):
    """Word vectors are missing or damaged."""


class QueryError(VsearchError):
    """A search query cannot be parsed, or none of its words is known."""


class LibraryError(VsearchError):
    """The library of pictures is missing, damaged, locked, read-only, or made by another model."""


class DataError(VsearchError):
    """A data set or prepared file is missing, damaged, or not of the expected kind."""
