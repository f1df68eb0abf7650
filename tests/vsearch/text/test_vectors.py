"""Word vectors from .bin and .vec, and the cutting of a trained .bin to the size that ships."""

from __future__ import annotations

import lzma
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from training.data.words import train_words, trim
from vsearch.errors import DataError, WordsError
from vsearch.text.fasttext_file import MAGIC, SHAPE, read_layout
from vsearch.text.vectors import WordVectors, checksum

LINES = ["the dog runs on the beach", "a dog jumps in the snow", "the boat has an engine", "a man rides a bicycle"]
WORDS = sorted({word for line in LINES for word in line.split()})
UNSEEN = ["dogs", "snowboat", "zzz", "é"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fastText .bin as fastText writes it: 6 values, 40 buckets."""
    import fasttext

    folder = tmp_path_factory.mktemp("words")
    (folder / "text.txt").write_text("\n".join(LINES * 5) + "\n")
    model = fasttext.train_unsupervised(
        str(folder / "text.txt"), dim=6, minCount=1, bucket=40, minn=3, maxn=4, epoch=5, t=1, thread=1, verbose=0
    )
    model.save_model(str(folder / "raw.bin"))
    return folder / "raw.bin"


@pytest.fixture
def table(tmp_path: Path) -> WordVectors:
    (tmp_path / "words.vec").write_text("4 2\ndog 3 4\ncat 4 3\nboat 0 -2\nnull 0 0\n")
    return WordVectors.load(tmp_path / "words.vec")


def test_the_layout_of_a_file_fasttext_wrote(trained: Path) -> None:
    layout = read_layout(trained)
    assert (layout.dim, layout.bucket, layout.quantised) == (6, 40, False)
    assert layout.words == len(WORDS) + 1  # and </s>
    assert layout.output_rows == layout.words
    assert layout.end == trained.stat().st_size


def test_trimming_keeps_every_vector_to_the_bit(trained: Path, tmp_path: Path) -> None:
    trim(trained, tmp_path / "words.bin")
    before, after = WordVectors.load(trained), WordVectors.load(tmp_path / "words.bin")
    assert after.words == before.words
    for word in WORDS + UNSEEN:
        assert np.array_equal(after.vector(word), before.vector(word)), word
        assert (word in after) == (word in before) == (word in WORDS)
    assert np.linalg.norm(after.vector("snowboat")) > 0
    saved = 4 * 6 * read_layout(trained).output_rows
    assert (tmp_path / "words.bin").stat().st_size == trained.stat().st_size - saved
    assert read_layout(tmp_path / "words.bin").output_rows == 0


def test_a_trimmed_file_loads_in_stock_fasttext(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import fasttext

    for quantise in (False, True):
        trim(trained, tmp_path / "words.bin", quantise=quantise)
        model = fasttext.load_model(str(tmp_path / "words.bin"))
        ours = WordVectors.load(tmp_path / "words.bin")
        assert np.array_equal(model.get_word_vector("snowboat"), ours.vector("snowboat"))
        assert model.is_quantized() == quantise
    capsys.readouterr()


def test_quantising_keeps_direction_and_length(trained: Path, tmp_path: Path) -> None:
    trim(trained, tmp_path / "words.bin", quantise=True)
    layout = read_layout(tmp_path / "words.bin")
    assert layout.quantised and layout.end == (tmp_path / "words.bin").stat().st_size
    before, after = WordVectors.load(trained), WordVectors.load(tmp_path / "words.bin")
    for word in WORDS + UNSEEN:
        assert np.any(before.vector(word)), word
        assert float(before.unit(word) @ after.unit(word)) > 0.999, word
        ratio = np.linalg.norm(after.vector(word)) / np.linalg.norm(before.vector(word))
        assert ratio == pytest.approx(1, abs=0.02), word


def test_what_is_no_fasttext_file_is_not_trimmed(trained: Path, tmp_path: Path) -> None:
    whole = trained.read_bytes()
    bad = {
        "text": b"hello " * 50,
        "empty": b"",
        "cut": whole[:-1],
        "longer": whole + b"\0",
        "half": whole[: len(whole) // 2],
    }
    bad["version"] = whole[:4] + b"\x0b" + whole[5:]
    for name, content in bad.items():
        (tmp_path / f"{name}.bin").write_bytes(content)
        with pytest.raises(WordsError, match=name):
            trim(tmp_path / f"{name}.bin", tmp_path / "out.bin")
        with pytest.raises(WordsError, match=name):
            WordVectors.load(tmp_path / f"{name}.bin")
    assert not (tmp_path / "out.bin").exists()


def test_a_quantised_file_is_not_trimmed_again(trained: Path, tmp_path: Path) -> None:
    trim(trained, tmp_path / "words.bin", quantise=True)
    with pytest.raises(DataError, match="already"):
        trim(tmp_path / "words.bin", tmp_path / "again.bin")


def test_vectors_that_are_not_numbers_are_refused(trained: Path, tmp_path: Path) -> None:
    layout, content = read_layout(trained), bytearray(trained.read_bytes())
    at = layout.matrix + 1 + SHAPE.size + 4 * 9
    content[at : at + 4] = np.float32(np.nan).tobytes()
    (tmp_path / "nan.bin").write_bytes(content)
    with pytest.raises(DataError, match="not numbers"):
        trim(tmp_path / "nan.bin", tmp_path / "out.bin")
    assert not (tmp_path / "out.bin").exists()


def test_the_checksum_is_compared_before_fasttext_sees_the_file(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "words.bin"
    path.write_bytes(trained.read_bytes())
    digest = checksum(path)
    assert "dog" in WordVectors.load(path, digest.upper())
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WordsError, match="damaged"):
        WordVectors.load(path, digest)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for name in ("none.bin", "none.vec"):
        with pytest.raises(WordsError, match=name):
            WordVectors.load(tmp_path / name, "00")


def test_loading_says_nothing(trained: Path, capfd: pytest.CaptureFixture[str]) -> None:
    WordVectors.load(trained)
    assert capfd.readouterr() == ("", "")


def test_the_end_of_line_is_no_word(trained: Path) -> None:
    vectors = WordVectors.load(trained)
    assert "</s>" not in vectors and "</s>" not in vectors.words
    assert sorted(vectors.words) == WORDS
    assert vectors.words[0] in ("a", "the", "dog")  # thrice, thrice and twice of 24 words


def test_units_and_labels_from_a_table(table: WordVectors) -> None:
    assert table.dim == 2 and table.words == ["dog", "cat", "boat", "null"]
    assert table.unit("dog") == pytest.approx([0.6, 0.8])
    # dog (.6, .8) and cat (.8, .6): their sum (1.4, 1.4) lies on the diagonal
    assert table.label("Dog, cat") == pytest.approx([math.sqrt(0.5)] * 2)
    # no word is dropped: dog twice weighs twice, (2.0, 2.2) / sqrt(8.84)
    assert table.label("dog cat dog") == pytest.approx([2.0 / math.sqrt(8.84), 2.2 / math.sqrt(8.84)])
    assert table.vector("whale").tolist() == [0, 0] and "whale" not in table
    for text in ("", "whale", "null"):
        with pytest.raises(WordsError, match="vector"):
            table.label(text)


def test_labels_of_a_bin_use_unseen_words(trained: Path) -> None:
    vectors = WordVectors.load(trained)
    total = vectors.unit("dog") + vectors.unit("snowboat")
    assert vectors.label("dog-snowboat") == pytest.approx(total / np.linalg.norm(total), abs=1e-6)


def test_nearest(table: WordVectors) -> None:
    # against (0, 1): dog 0.8, cat 0.6, null 0, boat -1
    got = table.nearest(np.array([0, 5], np.float32), 3)
    assert [word for word, _ in got] == ["dog", "cat", "null"]
    assert [score for _, score in got] == pytest.approx([0.8, 0.6, 0])
    got = table.nearest(np.array([0, 1], np.float32), 9, ["boat", "dog cat"])
    assert [word for word, _ in got] == ["dog cat", "boat"]
    assert [score for _, score in got] == pytest.approx([math.sqrt(0.5), -1])
    assert table.nearest(np.array([0, 1], np.float32), 0) == []
    assert table.nearest(np.array([0, 1], np.float32), 3, []) == []


@pytest.mark.parametrize(
    "content", ["", "2 2\ndog 1 2\n", "1 2\ndog 1\n", "1 2\ndog 1 x\n", "1 1\na 1\nb 2\n", "1 1\na nan\n"]
)
def test_a_damaged_table_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "bad.vec").write_text(content)
    with pytest.raises(WordsError, match=r"bad\.vec"):
        WordVectors.load(tmp_path / "bad.vec")


def test_train_words_from_a_packed_corpus(tmp_path: Path) -> None:
    with lzma.open(tmp_path / "corpus.txt.xz", "wt") as file:
        file.write("\n".join(LINES * 4))
    captions = ["A Zebra 's tail .", "two zebras run !", " . "]
    settings = {"dim": 4, "min_count": 2, "bucket": 20, "epochs": 1, "threads": 1}
    train_words(tmp_path / "corpus.txt.xz", captions, tmp_path / "out", **settings, caption_repeat=2)  # type: ignore[arg-type]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["phrase.json", "words.bin"]
    vectors = WordVectors.load(tmp_path / "out" / "words.bin")
    assert vectors.dim == 4 and set(vectors.words) == {*WORDS, "zebra's", "tail", "two", "zebras", "run"}
    assert read_layout(tmp_path / "out" / "words.bin").quantised

    first = (tmp_path / "out" / "words.bin").read_bytes()
    train_words(tmp_path / "corpus.txt.xz", captions, tmp_path / "out", **settings, caption_repeat=2)  # type: ignore[arg-type]
    assert (tmp_path / "out" / "words.bin").read_bytes() == first  # one thread: the same again

    train_words(tmp_path / "corpus.txt.xz", captions, tmp_path / "out", **settings, caption_repeat=0)  # type: ignore[arg-type]
    assert set(WordVectors.load(tmp_path / "out" / "words.bin").words) == set(WORDS)


def test_neither_vectors_nor_their_training_need_fasttext_to_be_imported() -> None:
    program = "import sys, training.data.words, vsearch.text.phrase; print({'fasttext', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_train_words_names_what_it_cannot_use(tmp_path: Path) -> None:
    (tmp_path / "bad.txt.xz").write_bytes(MAGIC.to_bytes(4, "little"))
    (tmp_path / "rare.txt").write_text("each word once\n")
    with pytest.raises(DataError, match=r"none\.txt"):
        train_words(tmp_path / "none.txt", ["a dog"], tmp_path / "out")
    with pytest.raises(DataError, match=r"bad\.txt\.xz"):
        train_words(tmp_path / "bad.txt.xz", ["a dog"], tmp_path / "out")
    with pytest.raises(DataError, match="captions"):
        train_words(tmp_path / "rare.txt", [" ."], tmp_path / "out")
    with pytest.raises(DataError, match="failed"):
        train_words(tmp_path / "rare.txt", ["a dog"], tmp_path / "out", min_count=9)
    assert list((tmp_path / "out").iterdir()) == []
