"""How many words of captions, classes and nouns a dictionary holds, by the least count of a word. Trains nothing.

    python -m benchmarks.words DATA

DATA holds text/wikipedia-16m-words.txt.xz, text/wordnet-nouns.tsv.gz, flickr8k/ and tiny-imagenet/. Takes a minute.
"""

from __future__ import annotations

import gzip
import json
import lzma
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from vsearch.text.tokenise import tokenise

MIN_COUNTS = (1, 2, 3, 5, 10, 20, 40)


def captions(folder: Path) -> Counter[str]:
    """Return word counts of the training captions."""
    train = set((folder / "Flickr_8k.trainImages.txt").read_text().split())
    lines = (line.split("\t") for line in (folder / "Flickr8k.token.txt").read_text().splitlines())
    return Counter(word for name, text in lines if name.partition("#")[0] in train for word in tokenise(text))


def single_words(labels: Iterable[str]) -> set[str]:
    """Return the labels of one word each."""
    return {words[0] for words in map(tokenise, labels) if len(words) == 1}


def share(wanted: set[str], held: set[str]) -> str:
    return f"{100 * len(wanted & held) / len(wanted):5.1f} %"


def main() -> None:
    data = Path(sys.argv[1])
    said = captions(data / "flickr8k")
    counts = Counter(said)
    with lzma.open(data / "text" / "wikipedia-16m-words.txt.xz", "rt", encoding="utf-8") as lines:
        for line in lines:
            counts.update(tokenise(line))
    classes = json.loads((data / "tiny-imagenet" / "classes.json").read_text())
    lemmas = {word for _, labels in classes for label in labels for word in tokenise(label)}
    first = {word for _, labels in classes for word in tokenise(labels[0])}
    with gzip.open(data / "text" / "wordnet-nouns.tsv.gz", "rt", encoding="utf-8") as lines:
        nouns = single_words(label for line in lines for label in line.rstrip("\n").split("\t")[1].split(", "))
    print(f"caption words {len(said)}, first lemmas {len(first)}, all lemmas {len(lemmas)}, WordNet nouns {len(nouns)}")
    print("min count    words  caption words  caption tokens  first lemmas  all lemmas  WordNet nouns")
    for least in MIN_COUNTS:
        held = {word for word, n in counts.items() if n >= least}
        tokens = sum(n for word, n in said.items() if word in held) / said.total()
        print(
            f"{least:9}  {len(held):7}        {share(set(said), held)}        {100 * tokens:6.2f} %"
            f"       {share(first, held)}     {share(lemmas, held)}        {share(nouns, held)}"
        )


if __name__ == "__main__":
    main()
