"""XML as a tree whose elements know where in the bytes they stand, so that a part can be changed and all else kept.

A library that parses and writes again would change quotes, prefixes and blanks of what other programs wrote. Here the
standard library's expat only tells positions. Documents with a DOCTYPE are refused: entities that grow, and files that
are read from elsewhere, come in by it. XMP has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

LONGEST = 16 << 20  # bytes of a document; Lightroom's largest, with thousands of brush strokes, have a few MB
_DEEPEST = 200  # elements in each other; XMP needs 10
_TAG = re.compile(rb"""<[^"'>]*(?:"[^"]*"[^"'>]*|'[^']*'[^"'>]*)*>""")


class XmlError(Exception):
    """Bytes that are no XML as it is read here; its text says what they are."""


@dataclass(eq=False)
class Element:
    """An element: its name as "namespace local", the prefix it has in the text, its attributes by such names.

    In bytes of the document: `start` to `end` is all of it, `inside` to `close` what is between its tags.
    """

    name: str
    prefix: str
    attributes: dict[str, str]
    start: int
    inside: int
    close: int = 0
    end: int = 0
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def find(self, *names: str) -> Iterator[Element]:
        """Yield the children, or with several names the children's children, that are called so."""
        for child in self.children:
            if child.name == names[0]:
                yield from [child] if len(names) == 1 else child.find(*names[1:])

    def walk(self) -> Iterator[Element]:
        """Yield this element and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


def parse(data: bytes) -> Element:
    """Return the outermost element of a document in UTF-8.

    Raises XmlError for what is no XML, has a DOCTYPE, is in another encoding, too large or too deep.
    """
    if len(data) > LONGEST:
        raise XmlError(f"larger than {LONGEST >> 20} MB")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise XmlError("not in UTF-8") from None
    return _Builder(data).parse()


class _Builder:
    """Builds the tree as expat reports it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._open: list[Element] = []
        self._root: Element | None = None
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.namespace_prefixes = True
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.XmlDeclHandler = self._declaration

    def parse(self) -> Element:
        try:
            self._parser.Parse(self._data, True)
        except expat.ExpatError:
            raise XmlError("no XML") from None
        assert self._root is not None  # expat refuses a document without an element
        return self._root

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) >= _DEEPEST:
            raise XmlError("too deeply nested")
        start = self._parser.CurrentByteIndex
        tag = _TAG.match(self._data, start)
        if tag is None:
            raise XmlError("no XML")
        full, prefix = _split(name)
        element = Element(full, prefix, {_split(key)[0]: value for key, value in attributes.items()}, start, tag.end())
        if self._open:
            self._open[-1].children.append(element)
        else:
            self._root = element
        self._open.append(element)

    def _end(self, _: str) -> None:
        element = self._open.pop()
        if self._data[element.inside - 2 : element.inside] == b"/>":
            element.close = element.end = element.inside
        else:
            element.close = self._parser.CurrentByteIndex
            element.end = self._data.index(b">", element.close) + 1

    def _text(self, text: str) -> None:
        if self._open:
            self._open[-1].text += text

    def _doctype(self, *_: object) -> None:
        raise XmlError("it has a DOCTYPE")

    def _declaration(self, _: str, encoding: str | None, __: int) -> None:
        if encoding is not None and encoding.lower() not in ("utf-8", "utf8", "us-ascii", "ascii"):
            raise XmlError("not in UTF-8")


def _split(name: str) -> tuple[str, str]:
    """Return "namespace local" and the prefix, of expat's "namespace local prefix"; both may lack."""
    parts = name.split(" ")
    return (" ".join(parts[:2]), parts[2] if len(parts) > 2 else "")
