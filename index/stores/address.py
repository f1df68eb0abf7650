"""Where a store is: the URL that a user types, taken apart."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from vsearch.errors import VsearchError

PORT = 19530  # Milvus' own
_FORM = "write it as milvus://host:port/collection"


class Address(NamedTuple):
    """A collection of a Milvus; `str` gives the URL back."""

    host: str
    port: int
    collection: str

    def __str__(self) -> str:
        return f"milvus://{self.server}/{self.collection}"

    @property
    def server(self) -> str:
        """HOST:PORT."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def parse(url: str) -> Address:
    """Take `milvus://host:port/collection` apart; without a port it is Milvus' own.

    Raises VsearchError for anything else, and for a URL that holds a password, which stands in no message.
    """
    scheme, _, rest = url.partition("://")
    if "@" in rest.partition("/")[0]:
        raise VsearchError(
            "a password does not belong into a store's URL", "put it into MILVUS_TOKEN, as USER:PASSWORD"
        )
    if scheme != "milvus":
        raise VsearchError(f"{url} is no store", _FORM)
    parts = urlsplit(url)
    try:
        port = PORT if parts.port is None else parts.port
    except ValueError:
        port = 0
    collection = parts.path.strip("/")
    if not parts.hostname or not port or parts.query or parts.fragment:
        raise VsearchError(f"{url} is no store", _FORM)
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,199}", collection):
        remedy = "name one of letters, digits and underscores, as in milvus://host:port/photos"
        raise VsearchError(f"{url} names no collection", remedy)
    return Address(parts.hostname, port, collection)
