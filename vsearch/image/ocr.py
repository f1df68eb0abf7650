"""Read the text in a picture, by RapidOCR on ONNX Runtime (the extra `ocr`); its networks come in its wheel.

PP-OCRv6 finds lines of text and reads them: Latin letters, digits, Chinese and Japanese. Nothing is fetched: the
networks are named by their files.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vsearch.distribution import install_hint
from vsearch.errors import PictureError, VsearchError
from vsearch.image.decode import decode

LONGEST = 2000  # pixels; of a page of 12 MP with 60 lines 88 % of the words come out right, 75 % with 1600
_SURE = 0.6  # of a line, 0 to 1; below it are the letters that are seen in leaves and bricks
_SHORTEST = 2  # letters of a line
_PARTS = ("Det", "Cls", "Rec")  # what finds lines, turns them and reads them


def installed() -> bool:
    """Tell whether text can be read."""
    return find_spec("rapidocr") is not None


def require() -> None:
    """Raise VsearchError if no text can be read."""
    if not installed():
        raise VsearchError(
            "text in pictures is read by RapidOCR, which is not here", f"install it: {install_hint('ocr')}"
        )


class TextReader:
    """Reads text, in the thread that asks and in no other: a reader for each thread."""

    def __init__(self) -> None:
        """Load the networks, 32 MB. Raises VsearchError if they are not there."""
        require()
        import rapidocr

        found = _networks(Path(rapidocr.__file__).parent / "models")
        settings: dict[str, Any] = {f"{part}.model_path": str(file) for part, file in found.items()}
        settings |= {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}
        settings |= {"Global.log_level": "critical", "Rec.rec_batch_num": 1}  # a line at a time: less memory, as fast
        self._engine = rapidocr.RapidOCR(params=settings)

    def read(self, photo: str | os.PathLike[str]) -> str:
        """Return the text in a picture, a line for each line seen, empty if there is none.

        A larger picture is made smaller, to LONGEST on its longer side. Raises PictureError if it cannot be read.
        """
        import numpy as np

        picture = decode(photo, at_least=LONGEST)
        picture.thumbnail((LONGEST, LONGEST), reducing_gap=3.0)
        try:
            found = self._engine(np.ascontiguousarray(np.asarray(picture)[:, :, ::-1]))  # blue, green, red
        except Exception as error:  # OpenCV raises its own, and any
            raise PictureError(f"no text can be read in it: {error}") from None
        lines = zip(found.txts or (), found.scores or (), strict=True)
        return "\n".join(line for line, sure in lines if sure >= _SURE and len(line.strip()) >= _SHORTEST)


def _networks(folder: Path) -> dict[str, Path]:
    """Return the file of each network. Raises VsearchError if one is not there: RapidOCR would fetch it."""
    found = {part: sorted(folder.glob(f"*_{part.lower()}_*.onnx")) for part in _PARTS}
    if not all(found.values()):
        raise VsearchError(f"this RapidOCR has no networks in {folder}", f"install it again: {install_hint('ocr')}")
    return {part: files[0] for part, files in found.items()}
