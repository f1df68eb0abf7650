"""What the index of words takes at 100,000 pictures, and how fast text in pictures is read.

    python -m benchmarks.texts [--pictures 100000] [--queries 200] [--ocr] [--json FILE]

Pictures that are nowhere, each with a caption, a name and a folder; every tenth has five keywords, every tenth a page
of 60 words seen in it, drawn from 5,000 words as often as words are (Zipf). The index is filled as an upgrade fills it;
then queries run on an open library, each kind in turn: a rare word, one that every fifth picture or so says, two words,
a phrase, a prefix, and a word as a filter of a search by a vector. `--ocr` reads scikit-image's samples and a page of
12 MP, which is drawn, in one thread.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.filled import draw, fill
from benchmarks.measuring import Growth
from index.database.database import Database
from index.search.query import Filter, Query
from index.search.searcher import Searcher

DIM, WORDS = 200, 5_000


def seed(library: Database, count: int) -> None:
    """Give every tenth picture keywords, and every tenth text that was seen in it."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, WORDS + 1)

    def some(size: int) -> list[str]:
        return [f"word{n}" for n in rng.choice(WORDS, size, p=share / share.sum())]

    with library.writing():
        notes = ((id_, json.dumps(some(5))) for id_ in range(1, count + 1, 10))
        library.connection.execute_many("INSERT INTO notes (id, keywords) VALUES (?, ?)", notes)
        seen = (
            (picture.hash, " ".join(some(60))) for picture in library.read.pictures(range(5, count + 1, 10)).values()
        )
        library.connection.execute_many("INSERT INTO ocr VALUES (?, ?)", seen)


def _say(searcher: Searcher, text: Callable[[int], str], number: int) -> object:
    return searcher.say(text(number), 10)


def times(ask: Callable[[int], object], queries: int) -> dict[str, float]:
    """Return the median and the 95th percentile of some calls, in milliseconds."""
    taken = []
    for number in range(queries):
        started = time.perf_counter()
        ask(number)
        taken.append(1000 * (time.perf_counter() - started))
    return {"p50_ms": round(float(np.median(taken)), 2), "p95_ms": round(float(np.quantile(taken, 0.95)), 2)}


def measure(count: int, queries: int) -> dict[str, object]:
    """Return what the index of words takes."""
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "library"
        fill(place, draw(count, DIM, 300, 0.6, 60), "model", DIM)
        with Database.open(place) as library:
            seed(library, count)
            size = library.connection.value("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
            with Growth() as growth:
                library.texts.fill()
            found["fill"] = growth.facts()
            after = library.connection.value("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
            found["bytes"], found["of"] = after - size, size
            with Growth() as growth:
                assert library.texts.fill() == 0
            found["fill again"] = growth.facts()
            searcher = Searcher(library)
            kinds: dict[str, Callable[[int], str]] = {
                "rare word": lambda n: f"word{WORDS - 1 - n}",
                "common word": lambda n: ("dog", "bicycle", "jacket")[n % 3],
                "two words": lambda n: f"word{1 + n} dog",
                "phrase": lambda n: ('"red jacket runs"', '"on the beach"')[n % 2],
                "prefix": lambda n: f"IMG 00{n:03}*",
            }
            for kind, text in kinds.items():
                found[kind] = times(partial(_say, searcher, text), queries)
            rng = np.random.default_rng(1)
            query = Query(rng.standard_normal(DIM).astype(np.float32), "picture", (), "model")
            found["nothing but the vector"] = times(lambda n: searcher.search(query, 10), queries)
            found["vector and rare word"] = times(
                lambda n: searcher.search(query, 10, Filter(text=f"word{WORDS - 1 - n}")), queries
            )
            found["vector and common word"] = times(lambda n: searcher.search(query, 10, Filter(text="dog")), queries)
    return found


def page(file: Path) -> list[str]:
    """Draw a page of 12 MP, 60 lines of 12 words; return the words."""
    rng, font = np.random.default_rng(0), ImageFont.load_default(48)
    words = "the quick brown fox jumps over lazy dogs while seventeen pilgrims carry lanterns across bridges".split()
    image = Image.new("RGB", (3000, 4000), "white")
    lines = [[str(word) for word in rng.choice(words, 12)] for _ in range(60)]
    for number, line in enumerate(lines):
        ImageDraw.Draw(image).text((100, 80 + 64 * number), " ".join(line), "black", font)
    image.save(file)
    return [word for line in lines for word in line]


def read() -> dict[str, object]:
    """Return how fast text is read, in one thread, and what memory a page of 12 MP takes."""
    import skimage

    from vsearch.image.ocr import TextReader

    samples = sorted((Path(skimage.__file__).parent / "data").glob("*.png"))
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        words = page(Path(folder) / "page.png")
        with Growth() as growth:
            reader = TextReader()
            text = reader.read(Path(folder) / "page.png").split()
        found["page of 12 MP"] = growth.facts()
        found["words right"] = round(
            sum(min(text.count(word), words.count(word)) for word in set(words)) / len(words), 3
        )
        with Growth() as growth:
            with_text = sum(bool(reader.read(sample)) for sample in samples)
        seconds = growth.facts()["seconds"]
        found["samples"] = {
            "pictures": len(samples),
            "with text": with_text,
            "a second": round(len(samples) / seconds, 2),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--ocr", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = read() if given.ocr else measure(given.pictures, given.queries)
    for name, value in found.items():
        print(f"{name}: {value}")
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
