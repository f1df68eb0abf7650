"""Words parted into frequent pieces by byte-pair encoding (Sennrich et al. 2016), by the library `tokenizers`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vsearch.distribution import install_hint
from vsearch.errors import ModelError, VsearchError

END_OF_WORD = "</w>"


class Pieces:
    """Merges learnt from a text; as JSON they are a file of the library `tokenizers`, no pickle."""

    def __init__(self, text: str) -> None:
        """Read `text`, which `to_json` gave. Raises ModelError if it is damaged, VsearchError without the
        library."""
        library = _library()
        try:
            self._model = library.Tokenizer.from_str(text)
        except Exception as error:  # the library raises nothing narrower
            raise ModelError(f"the pieces of words are damaged: {error}") from None

    @classmethod
    def train(cls, sentences: Iterable[Sequence[str]], size: int) -> Pieces:
        """Learn at most `size` pieces from tokenised sentences; the letters count among them."""
        tokenizers = _library()
        model = tokenizers.Tokenizer(tokenizers.models.BPE(end_of_word_suffix=END_OF_WORD))
        model.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=size, show_progress=False, special_tokens=[], end_of_word_suffix=END_OF_WORD
        )
        model.train_from_iterator((" ".join(tokens) for tokens in sentences), trainer)
        return cls(model.to_str())

    def split(self, tokens: Sequence[str]) -> list[str]:
        """Return the pieces of the tokens; the last one of each ends in `</w>`. A letter never seen is left out."""
        return list(self._model.encode(" ".join(tokens)).tokens) if tokens else []

    @staticmethod
    def join(pieces: Sequence[str]) -> list[str]:
        """Return the tokens again."""
        return "".join(pieces).replace(END_OF_WORD, " ").split()

    def to_json(self) -> str:
        return str(self._model.to_str())


def load_pieces(path: Path) -> Pieces | None:
    """Read the pieces in the file; None where there is none."""
    return Pieces(path.read_text("utf-8")) if path.is_file() else None


def _library() -> Any:
    try:
        import tokenizers
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError:
        raise VsearchError("splitting words into pieces needs tokenizers", install_hint("bpe")) from None
    return tokenizers
