"""What Milvus and the way to it can refuse, for the user: one line of what is wrong, one of what to do about it."""

from __future__ import annotations

import re

from vsearch.errors import LibraryError

_LONGEST = 200  # letters of what Milvus says
_PASSWORD = ("unauthenticated", "auth check failure", "invalid token", "permissiondenied", "permission deny")
_FULL = (
    "no space left",
    "quota exceeded",
    "quota exhausted",
    "deny to write",
    "force deny",
    "disk full",
    "outofmemory",
)
_AWAY = (
    "fail connecting", "unavailable", "deadline", "timeout", "timed out", "not available", "offline", "no available",
    "connection", "not ready", "cancelled", "not healthy", "unhealthy", "not serving", "abnormal", "node not match",
    "node not found", "retry run out", "lag", "not loaded", "recovering", "not subscribed", "channel not found",
)  # fmt: skip


class UnreachableError(LibraryError):
    """A store cannot be reached, or not at the moment: the same may work a little later."""


class NoStoreError(LibraryError):
    """A server holds no collection of the name that a store has."""

    def __init__(self, url: str) -> None:
        super().__init__(f"there is no store at {url}", "build one there first, or name another collection")


def as_library_error(url: str, error: Exception) -> LibraryError:
    """Translate an error of pymilvus or gRPC."""
    said, text = _said(error), _all_text(error)
    if any(word in text for word in _PASSWORD):
        remedy = "set MILVUS_TOKEN to USER:PASSWORD of one who may use this collection"
        return LibraryError(f"the server of {url} refuses who asks", remedy)
    if any(word in text for word in _FULL):
        remedy = (
            "free disk or memory where Milvus keeps its data, restart it, then run this again: it goes on from here"
        )
        return LibraryError(f"the Milvus of {url} has no room left ({said})", remedy)
    if getattr(error, "code", None) == 100 or "collection not found" in text:
        return NoStoreError(url)
    if any(word in text for word in _AWAY):
        remedy = "look whether Milvus runs there and the network leads to it, then run this again: it goes on from here"
        return UnreachableError(f"{url} cannot be reached ({said})", remedy)
    return LibraryError(f"{url} cannot be used ({said})", "look into the log of Milvus")


def _said(error: Exception) -> str:
    """Return the message itself, on one line and not too long."""
    details = getattr(error, "details", None)
    text = str(getattr(error, "message", None) or (details() if callable(details) else None) or error)
    text = re.sub(r"\s+", " ", text).strip()
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def _all_text(error: BaseException) -> str:
    """Return what an error and those that led to it say, in small letters; a chain may lead back to its beginning."""
    seen: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in seen and len(seen) < 10:
        seen.append(at)
        at = at.__cause__
    return " ".join(str(one) for one in seen).lower()
