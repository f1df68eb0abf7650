"""XMP packets: read what they say of a photo, write captions and keywords into them, take exactly those out again.

What vsearch writes it also notes in a namespace of its own, which other programs keep and do not show:

    dc:description    the caption, as x-default, unless a person wrote one
    dc:subject        the keywords that were not there yet
    vsearch:description, vsearch:subject    what vsearch wrote of these, word for word
    vsearch:generatedBy                     the version and the model that wrote it

So machine-made words can be told from a person's. One that a person has changed is theirs from then on; one that they
deleted is not written a second time. Everything else in a packet stays as it is, byte for byte. Properties and forms:
XMP specification part 1 (ISO 16684-1), sections 7 and 8.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

from index.metadata.tree import Element, XmlError, parse
from vsearch.distribution import NAMESPACE as OURS
from vsearch.text.line import one_line

RDF, DC, XMP = (
    "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "http://purl.org/dc/elements/1.1/",
    "http://ns.adobe.com/xap/1.0/",
)
TOOLKIT = "vsearch"  # in x:xmptk of a packet that vsearch made
_TOOLKIT_NAME = "adobe:ns:meta/ xmptk"
_ABOUT = (f"{RDF} about", "about")
_LISTS = (f"{RDF} Bag", f"{RDF} Seq", f"{RDF} Alt")
_LANGUAGE = "http://www.w3.org/XML/1998/namespace lang"
LONGEST, _LONGEST_KEYWORD, _MOST = 5_000, 200, 1_000  # letters of a text and of a keyword, keywords of a photo
_INDENT = 200  # the most blanks before an element that go with it
_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="{toolkit}">
 <rdf:RDF xmlns:rdf="{rdf}">
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""


class Said(NamedTuple):
    """What is said of a photo; a rating is -1 (rejected) to 5 stars, None where there is none."""

    title: str | None = None
    description: str | None = None
    keywords: tuple[str, ...] = ()
    rating: int | None = None


class Words(NamedTuple):
    """What is to be written, and by what; None: nothing is asked of it, what vsearch wrote before stays."""

    description: str | None
    keywords: tuple[str, ...] | None
    by: str


class Edit(NamedTuple):
    """A packet as it is to be, None if nothing would be left of it, and what vsearch then has in it."""

    packet: bytes | None
    description: str | None = None
    keywords: tuple[str, ...] = ()


def read(packet: bytes) -> Said:
    """Return what a packet says; a description that vsearch wrote is left out. Raises XmlError if it is no XMP."""
    seen = _Packet(packet)
    description = next(iter(seen.texts(f"{DC} description")), None)
    return Said(
        next(iter(seen.texts(f"{DC} title")), None),
        None if description == seen.wrote.description else description,
        keywords_of(seen.texts(f"{DC} subject")),
        rating_of(next(iter(seen.texts(f"{XMP} Rating")), None)),
    )


def keywords_of(texts: Iterable[str]) -> tuple[str, ...]:
    """Return keywords as they are kept: each once, in the order in which they came."""
    lines = (one_line(text, _LONGEST_KEYWORD) for text in texts)
    return tuple(dict.fromkeys(line for line in lines if line))[:_MOST]


def rating_of(text: object) -> int | None:
    """Return a rating as it is kept, None for what is none; 0 stands for a photo that was not rated."""
    try:
        stars = round(float(str(text)))
    except (ValueError, OverflowError):
        return None
    return stars if stars == -1 or 1 <= stars <= 5 else None


def write(packet: bytes | None, words: Words) -> Edit:
    """Return a packet with captions and keywords in it, of one that is there or a new one; None if it is to be none.

    It is the one given where nothing is to be changed. Raises XmlError if that is no XMP.
    """
    before = _Packet(_PACKET.format(toolkit=TOOLKIT, rdf=RDF).encode() if packet is None else packet)
    theirs, wrote = _Packet(_without(before, empty=True)), before.wrote
    there = set(before.texts(f"{DC} subject"))
    deleted = tuple(word for word in wrote.keywords if word not in there)
    refused = {word.casefold() for word in (*deleted, *theirs.texts(f"{DC} subject"))}
    wanted = wrote.keywords if words.keywords is None else keywords_of(words.keywords)
    keywords = tuple(word for word in wanted if word.casefold() not in refused)
    caption = wrote.description if words.description is None else one_line(words.description, LONGEST)
    emptied = wrote.description is not None and not before.has_description()
    line = None if emptied or theirs.texts(f"{DC} description") else caption or None
    if (line, keywords) == before.ours():
        return Edit(packet, line, keywords)
    if line is None and not keywords:
        return undo(before.data)
    made = theirs.with_words(line, keywords, line or wrote.description, (*keywords, *deleted), words.by)
    return Edit(made, line, keywords)


def undo(packet: bytes) -> Edit:
    """Return a packet without what vsearch wrote, and that; None for a packet of vsearch's that is empty then.

    Raises XmlError if it is no XMP.
    """
    before = _Packet(packet)
    bare = _without(before)
    if bare != packet and before.made_here and not _Packet(bare).blocks:
        return Edit(None, *before.ours())
    return Edit(bare, *before.ours())


class _Wrote(NamedTuple):
    description: str | None
    keywords: tuple[str, ...]


class _Packet:
    """A packet, its blocks (`rdf:Description`), and what vsearch noted that it wrote."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        root = parse(data.rstrip(b"\0"))
        rdf = next((one for one in root.walk() if one.name == f"{RDF} RDF"), None)
        if rdf is None:
            raise XmlError("no XMP")
        self.rdf = rdf
        self.made_here = root.attributes.get(_TOOLKIT_NAME, "").startswith(TOOLKIT)
        self.blocks = list(rdf.find(f"{RDF} Description"))
        noted = self.texts(f"{OURS} description")
        self.wrote = _Wrote(noted[0] if noted else None, tuple(self.texts(f"{OURS} subject")))

    def properties(self, name: str) -> Iterator[Element]:
        """Yield the elements of a property."""
        for block in self.blocks:
            yield from block.find(name)

    def texts(self, name: str) -> list[str]:
        """Return the values of a property in whatever form it has, that of x-default first; without empty ones."""
        found = [block.attributes[name] for block in self.blocks if name in block.attributes]
        for one in self.properties(name):
            items = items_of(one)
            items.sort(key=lambda item: item.attributes.get(_LANGUAGE) not in (None, "x-default"))
            found += [item.text for item in items] if items or one.children else [one.text]
        return [line for text in found if (line := one_line(text, LONGEST))]

    def has_description(self) -> bool:
        """Tell whether the description that vsearch wrote is there, as it wrote it."""
        return self.wrote.description is not None and self.wrote.description in self.texts(f"{DC} description")

    def ours(self) -> tuple[str | None, tuple[str, ...]]:
        """Return the description and the keywords that vsearch wrote and that are there."""
        there = set(self.texts(f"{DC} subject"))
        description = self.wrote.description if self.has_description() else None
        return description, tuple(word for word in self.wrote.keywords if word in there)

    def with_words(
        self,
        description: str | None,
        keywords: tuple[str, ...],
        noted: str | None,
        noted_keywords: tuple[str, ...],
        by: str,
    ) -> bytes:
        """Return the packet with these words in it, and notes of what vsearch wrote."""
        bag = next((items for one in self.properties(f"{DC} subject") if (items := items_of(one))), [])
        if keywords and not bag and self.texts(f"{DC} subject"):
            raise XmlError("its keywords are no list")
        rows = []
        if description:
            rows.append(_property("dc:description", "Alt", [description]))
        if keywords and not bag:
            rows.append(_property("dc:subject", "Bag", keywords))
        rows += [_property("vsearch:generatedBy", "Seq", [by])]
        if noted:
            rows.append(_property("vsearch:description", "Alt", [noted]))
        if noted_keywords:
            rows.append(_property("vsearch:subject", "Bag", noted_keywords))
        edits = [self._block(rows)]
        if keywords and bag:
            edits.append(_more(self.data, bag[-1], keywords))
        return _edited(self.data, edits)

    def _block(self, rows: list[str]) -> tuple[int, int, bytes]:
        """Return the edit that adds a block, after the last there is, about what that one is about."""
        abouts = (block.attributes[name] for block in self.blocks for name in _ABOUT if name in block.attributes)
        names = f'xmlns:rdf="{RDF}" xmlns:dc="{DC}" xmlns:vsearch="{OURS}"'
        head = f"<rdf:Description rdf:about={quoteattr(next(abouts, ''))} {names}>"
        text = f"\n  {head}{''.join(rows)}\n  </rdf:Description>"
        rdf = self.rdf
        if rdf.close == rdf.inside and self.data[rdf.inside - 2 : rdf.inside] == b"/>":
            name = f"{rdf.prefix}:RDF" if rdf.prefix else "RDF"
            return rdf.inside - 2, rdf.inside, f">{text}\n</{name}>".encode()
        at = rdf.children[-1].end if rdf.children else rdf.inside
        return at, at, text.encode()


def items_of(one: Element) -> list[Element]:
    """Return the items of a property that is a list; those of an empty list, and of what is no list, are none."""
    return [item for kind in one.children if kind.name in _LISTS for item in kind.find(f"{RDF} li")]


def _property(name: str, kind: str, values: Iterable[str]) -> str:
    language = ' xml:lang="x-default"' if kind == "Alt" else ""
    items = "".join(f"<rdf:li{language}>{escape(value)}</rdf:li>" for value in values)
    return f"\n   <{name}><rdf:{kind}>{items}</rdf:{kind}></{name}>"


def _more(data: bytes, last: Element, keywords: Iterable[str]) -> tuple[int, int, bytes]:
    """Return the edit that adds items after the last one of a list, each on a line of its own where that one is."""
    blank = data[_blank(data, last.start) : last.start].decode()
    name = f"{last.prefix}:li" if last.prefix else "li"
    return last.end, last.end, "".join(f"{blank}<{name}>{escape(word)}</{name}>" for word in keywords).encode()


def _without(seen: _Packet, *, empty: bool = False) -> bytes:
    """Return a packet without what vsearch wrote, and without blocks and lists that are empty then.

    `empty`: without descriptions and lists of keywords, of whomever, that say nothing.
    """
    gone: set[Element] = set()
    wrote: dict[str, set[str | None]] = {
        f"{DC} description": {seen.wrote.description},
        f"{DC} subject": set(seen.wrote.keywords),
    }
    for block in seen.blocks:
        for one in block.children:
            if one.name.startswith(OURS):
                gone.add(one)
            elif one.name in wrote:
                items = items_of(one)
                ours = [item for item in items if one_line(item.text, LONGEST) in wrote[one.name]]
                nothing = empty and not any(one_line(each.text, LONGEST) for each in one.walk())
                gone |= {one} if nothing or (ours and len(ours) == len(items)) else set(ours)
        taken = gone.intersection(block.children)
        if taken and len(taken) == len(block.children) and set(block.attributes) <= set(_ABOUT):
            gone = gone - taken | {block}
    return _edited(seen.data, [(_blank(seen.data, one.start), one.end, b"") for one in gone])


def _blank(data: bytes, at: int) -> int:
    """Return where the blanks before a place begin."""
    before = data[max(0, at - _INDENT) : at]
    return at - len(before) + len(before.rstrip(b" \t\r\n"))


def _edited(data: bytes, edits: Iterable[tuple[int, int, bytes]]) -> bytes:
    for start, end, text in sorted(edits, reverse=True):
        data = data[:start] + text + data[end:]
    return data
