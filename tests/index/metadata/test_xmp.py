"""XMP packets: what is read out of them, what is written, what is never touched, and what is refused."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.metadata.tree import XmlError, parse
from index.metadata.xmp import Said, Words, read, undo, write

BY = "vsearch 1.0, model 0123456789ab"
DIGIKAM = b"""<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="uuid:1" xmlns:xmp='http://ns.adobe.com/xap/1.0/' xmp:Rating='4'
    xmlns:dc="http://purl.org/dc/elements/1.1/">
   <!-- kept --><dc:subject>
    <rdf:Bag>
     <rdf:li>Holiday</rdf:li>
     <rdf:li>dog</rdf:li>
    </rdf:Bag>
   </dc:subject>
   <dc:title><rdf:Alt><rdf:li xml:lang="de">Hund</rdf:li>
    <rdf:li xml:lang="x-default">Rex &amp; I</rdf:li></rdf:Alt></dc:title>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""
DESCRIBED = DIGIKAM.replace(b"dc:title", b"dc:description")
BARE = b'<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>'


def test_a_new_packet_says_what_was_written_and_is_gone_after_undo() -> None:
    made = write(None, Words("a <dog> & a cat", ("dog", "cat", "dog"), BY))
    assert made.packet is not None and (made.description, made.keywords) == ("a <dog> & a cat", ("dog", "cat"))
    assert read(made.packet) == Said(keywords=("dog", "cat"))  # the machine's description is not a person's
    texts = [
        element.text for element in ElementTree.fromstring(made.packet).iter() if element.text and element.text.strip()
    ]
    assert texts.count("a <dog> & a cat") == 2 and BY in texts
    assert undo(made.packet) == (None, "a <dog> & a cat", ("dog", "cat"))
    assert write(made.packet, Words("a <dog> & a cat", None, "another")).packet is made.packet


def test_what_others_wrote_is_read() -> None:
    assert read(DIGIKAM) == Said("Rex & I", None, ("Holiday", "dog"), 4)
    assert read(DESCRIBED).description == "Rex & I"
    simple = DIGIKAM.replace(b"xmp:Rating='4'", b"xmp:Rating='-1' dc:description='plain  text'")
    assert (read(simple).description, read(simple).rating) == ("plain text", -1)
    assert read(BARE) == Said()


@pytest.mark.parametrize("stars", [b"0", b"6", b"nan", b"inf", b"many", b"-3", b""])
def test_what_is_no_rating_is_none(stars: bytes) -> None:
    assert read(DIGIKAM.replace(b"'4'", b"'" + stars + b"'")).rating is None


def test_words_are_added_to_a_strangers_packet_and_taken_out_to_the_byte() -> None:
    made = write(DIGIKAM, Words("a dog", ("Dog", "beach", "sea"), BY))
    assert made.packet is not None and (made.description, made.keywords) == ("a dog", ("beach", "sea"))
    assert read(made.packet).keywords == ("Holiday", "dog", "beach", "sea")
    assert b'rdf:about="uuid:1" xmlns:rdf' in made.packet  # about the same photo
    assert undo(made.packet) == (DIGIKAM, "a dog", ("beach", "sea"))
    again = write(made.packet, Words("two dogs", ("hill",), BY))
    assert again.packet is not None and read(again.packet).keywords == ("Holiday", "dog", "hill")
    assert undo(again.packet).packet == DIGIKAM


def test_a_persons_description_is_never_replaced() -> None:
    assert write(DESCRIBED, Words("a dog", None, BY)) == (DESCRIBED, None, ())
    made = write(DIGIKAM, Words("a dog", ("sea",), BY)).packet
    assert made is not None
    edited = made.replace(b'x-default">a dog</rdf:li></rdf:Alt></dc:', b'x-default">Rex</rdf:li></rdf:Alt></dc:')
    assert edited != made
    after = write(edited, Words("two dogs", ("sea",), BY))
    assert after.packet is not None and read(after.packet).description == "Rex" and b"two dogs" not in after.packet
    gone = undo(edited)
    assert gone.packet is not None and gone.description is None and read(gone.packet).description == "Rex"
    assert b"vsearch:" not in gone.packet.replace(b"xmlns:vsearch=", b"")


def test_what_a_person_deleted_is_not_written_again() -> None:
    made = write(DIGIKAM, Words("a dog", ("sea", "hill"), BY)).packet
    assert made is not None
    cut = made.replace(b"\n     <rdf:li>sea</rdf:li>", b"")
    start, end = cut.index(b"<dc:description>"), cut.index(b"</dc:description>") + len(b"</dc:description>")
    cut = cut[:start] + cut[end:]
    for _ in range(2):
        after = write(cut, Words("a new dog", ("sea", "hill", "sun"), BY))
        assert after.packet is not None and (after.description, after.keywords) == (None, ("hill", "sun"))
        assert read(after.packet).keywords == ("Holiday", "dog", "hill", "sun")
        cut = after.packet
    bare = undo(cut).packet
    assert bare is not None and read(bare) == read(DIGIKAM)


def test_empty_properties_do_not_keep_words_out() -> None:
    empty = DIGIKAM.replace(b"<rdf:li>Holiday</rdf:li>", b"").replace(b"<rdf:li>dog</rdf:li>", b"")
    made = write(empty, Words("a dog", ("sea",), BY)).packet
    assert made is not None and read(made).keywords == ("sea",) and made.count(b"<dc:subject>") == 1
    assert undo(empty).packet == empty


def test_an_empty_list_and_other_prefixes() -> None:
    made = write(BARE, Words("a dog", ("sea",), BY)).packet
    assert made is not None and read(made).keywords == ("sea",)
    bare = undo(made).packet
    assert bare is not None and read(bare) == Said()


def test_nothing_asked_for_makes_no_packet_and_fewer_nouns_take_the_others_out() -> None:
    assert write(None, Words(None, (), BY)).packet is None
    made = write(None, Words("a dog", ("sea",), BY)).packet
    assert write(made, Words(None, (), BY))[1:] == ("a dog", ())
    assert write(write(None, Words(None, ("sea",), BY)).packet, Words(None, (), BY)).packet is None


BOMB = b'<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>' + BARE.replace(b"/>", b">&b;</r:RDF>")
BAD = {
    "no XML": [b"", b"not xml", b"<a", b"\0\0", DIGIKAM[:400], b"<a></b>"],
    "no XMP": [b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>", b"<html/>"],
    "it has a DOCTYPE": [BOMB, b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>'],
    "not in UTF-8": ["<a/>".encode("utf-16"), b"<a>\xff</a>", b'<?xml version="1.0" encoding="latin-1"?>' + BARE],
    "too deeply nested": [b"<a>" * 5000],
    "larger than 16 MB": [b" " * (17 << 20)],
}


@pytest.mark.parametrize(("reason", "data"), [(reason, data) for reason, some in BAD.items() for data in some])
def test_what_is_no_packet_is_refused(reason: str, data: bytes) -> None:
    for act in (read, undo, lambda packet: write(packet, Words("a dog", ("sea",), BY))):
        with pytest.raises(XmlError, match=reason):
            act(data)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=40), st.lists(st.text(max_size=12), max_size=5), st.booleans())
def test_any_words_go_in_and_come_out(description: str, keywords: list[str], new: bool) -> None:
    before = None if new else DIGIKAM
    made = write(before, Words(description, tuple(keywords), BY))
    if made.packet is None:
        assert before is None and not made.keywords and made.description is None
        return
    parse(made.packet)
    said = read(made.packet)
    assert set(made.keywords) <= set(said.keywords) and said.description is None
    assert undo(made.packet).packet == before
    assert write(made.packet, Words(description, tuple(keywords), BY)).packet is made.packet
