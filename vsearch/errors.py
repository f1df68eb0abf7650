"""Every error a user can meet: one line of what is wrong, one of what to do about it."""


class VsearchError(Exception):
    """Base of all expected errors. `str(error)` is the message; `hint` is the remedy, else the class's `remedy`."""

    remedy = ""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint or self.remedy


class ConfigError(VsearchError):
    """A configuration or recipe holds an unknown key or a value out of range."""

    remedy = "correct that setting"


class PictureError(VsearchError):
    """A file is not a picture that can be read; `str(error)` is only the reason, without the path."""


class ModelError(VsearchError):
    """A model folder is missing, damaged, of another task, or does not fit."""

    remedy = "copy the model again, or name another one"


class WordsError(VsearchError):
    """Word vectors are missing or damaged."""

    remedy = "copy the model again, or name another one"


class QueryError(VsearchError):
    """A search query cannot be parsed, or none of its words is known."""

    remedy = 'write it as in: boat engine -sail 2*red "hot dog"'


class LibraryError(VsearchError):
    """The library of pictures is missing, damaged, locked, read-only, or made by another model."""


class DataError(VsearchError):
    """A data set or prepared file is missing, damaged, or not of the expected kind."""

    remedy = "check the data set's folder, or prepare the file again"
