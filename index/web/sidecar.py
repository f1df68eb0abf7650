"""Captions as XMP files next to the pictures, as other photo programs read them: PHOTO.jpg.xmp.

A file that another program has written is left alone: it may hold years of somebody's work.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import escape

from index.paths import readable
from index.web.answers import SidecarAnswer, SkippedRow
from index.web.photos import checked
from index.web.problems import Problem
from index.web.service import Service
from vsearch.files import replacing

_MARK = 'x:xmptk="vsearch"'
_TEXT = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" {mark}>
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">
   <dc:description><rdf:Alt><rdf:li xml:lang="x-default">{caption}</rdf:li></rdf:Alt></dc:description>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""


def write(service: Service, ids: Iterable[int]) -> SidecarAnswer:
    """Write the captions of these pictures next to them; return what was written, and why anything was not.

    Raises Problem 403 if nothing may be written.
    """
    if service.read_only:
        raise Problem(403, "this server only reads", "start one that may write")
    answer = SidecarAnswer(written=[], skipped=[])
    for id_ in dict.fromkeys(ids):
        try:
            with service.reading() as (database, _):
                found = checked(database, id_)
            answer.written.append(readable(str(_write(Path(found.path), found.caption))))
        except Problem as error:
            answer.skipped.append(SkippedRow(id=id_, reason=str(error)))
        except OSError as error:
            answer.skipped.append(SkippedRow(id=id_, reason=(error.strerror or "cannot be written").lower()))
    return answer


def _write(photo: Path, caption: str | None) -> Path:
    if not caption:
        raise Problem(400, "the picture has no caption")
    place = photo.with_name(photo.name + ".xmp")
    if place.is_symlink() or (place.exists() and _MARK not in place.read_text("utf-8", "replace")):
        raise Problem(409, f"{readable(place.name)} is another program's file")
    with replacing(place, unique=True) as fresh:
        fresh.write_text(_TEXT.format(mark=_MARK, caption=escape(caption)), "utf-8")
    return place
