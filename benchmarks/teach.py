"""What votes teach a library, on photos whose contents are known: for names that were voted on, and for others.

    python -m benchmarks.teach PHOTOS captions.jsonl [--names 40] [--voted 20]

Each line of the file is {"image": NAME, "captions": [...]} or {"image": NAME, "labels": [...]}. A photo shows a name if
two captions say it, or a label; one that a single caption says is left out for that name. In each of ten draws half of
the photos can be voted on, the other half is searched. Votes go to photos at random among the 60 best hits of each of
the names voted on. Prints how often something was learned, and precision@10 and mean average precision on the other
half, before and after. Vectors are those of the photos only, without captions.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import vsearch
from index.teach.correction import fit, held_out

_DRAWS, _SHOWN = 10, 60
_FEW = 12  # photos that a name needs
_NO_NAMES = frozenset(  # no things
    (
        "the with that its from for and are one two three four his her their him while into through over off"
        " down front next top out near other another man men woman women people person boy boys girl girls"
        " child children young little white black red blue green brown yellow pink orange large small group"
        " stands standing sits sitting looking wearing holding holds playing plays running runs riding walking"
        " walks jumping jumps jump climbing parked doing along outside"
    ).split()
)
Floats = NDArray[np.float32]


def known(
    lines: Sequence[dict[str, list[str]]], space_words: frozenset[str], most: int
) -> tuple[list[str], NDArray[np.int8]]:
    """Return the most usual names and what each photo shows (n, names): 1, 0, or -1 where it is not sure."""
    counts = []
    for line in lines:
        if "labels" in line:
            counts.append(Counter(dict.fromkeys(line["labels"], 2)))
        else:
            said = [set(re.findall("[a-z]+", caption.lower())) for caption in line["captions"]]
            counts.append(Counter(word for words in said for word in words))
    usual = Counter(word for count in counts for word, number in count.items() if number >= 2)
    fit_ = [name for name, number in usual.most_common() if number >= _FEW and len(name) > 2]
    names = [name for name in fit_ if name not in _NO_NAMES and name.split()[0] in space_words][:most]
    table = [[1 if count[name] >= 2 else -1 if count[name] else 0 for name in names] for count in counts]
    return names, np.array(table, np.int8)


def measured(scores: Floats, shown: NDArray[np.int8]) -> tuple[float, float]:
    """Return precision@10 and average precision of one ranking."""
    order = np.argsort(-scores[shown >= 0])
    hits = shown[shown >= 0][order] == 1
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(hits[:10].mean()), float((precision * hits).sum() / max(hits.sum(), 1))


def simulate(
    vectors: Floats, queries: Floats, shown: NDArray[np.int8], voted: int, votes: int, each: bool
) -> tuple[NDArray[np.float64], float]:
    """Return means over the draws: of voted and of other names, precision@10 and AP, before and after (2, 2, 2); and
    how often something was learned.

    `votes` are for each name, or with `each` False in all.
    """
    total, kept = np.zeros((2, 2, 2)), 0
    for draw in range(_DRAWS):
        rng = np.random.default_rng(draw)
        photos, names = rng.permutation(len(vectors)), rng.permutation(len(queries))
        seen, rest = np.split(photos, 2) if len(photos) % 2 == 0 else np.split(photos[:-1], 2)
        pairs = []
        for name in names[:voted]:
            best = seen[np.argsort(-(vectors[seen] @ queries[name]))[:_SHOWN]]
            some = rng.permutation(best[shown[best, name] >= 0])
            pairs += [(name, photo) for photo in (some[:votes] if each else some)]
        if not each:
            pairs = [pairs[at] for at in rng.permutation(len(pairs))[:votes]]
        of, on = np.array(pairs).T
        cast = queries[of], vectors[on], np.where(shown[on, of] == 1, 1.0, -1.0), [str(name) for name in of]
        shares = held_out(*cast)
        learned = fit(*cast) if shares is not None and shares[1] > shares[0] else None
        after = queries if learned is None else np.stack([learned.apply(query) for query in queries])
        kept += learned is not None
        for row, group in enumerate((sorted(set(of.tolist())), names[voted:].tolist())):
            for when, asked in enumerate((queries, after)):
                found = [measured(vectors[rest] @ asked[name], shown[rest, name]) for name in group]
                total[row, :, when] += np.mean(found, axis=0) / _DRAWS
    return total, kept / _DRAWS


def main() -> None:
    """Embed the photos and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--names", type=int, default=40)
    parser.add_argument("--voted", type=int, default=20)
    asked = parser.parse_args()
    lines = [json.loads(line) for line in asked.labels.read_text("utf-8").splitlines()]
    vectors = vsearch.load().embed_images(asked.photos / line["image"] for line in lines)
    report(vectors, lines, asked.names, asked.voted)


def report(vectors: Floats, lines: Sequence[dict[str, list[str]]], most: int, voted: int) -> None:
    """Print what votes change, a line for each number of votes."""
    model = vsearch.load()
    words = frozenset(model.space.idf)
    names, shown = known(lines, words, most)
    queries = np.stack([model.embed_text(f'"{name}"') for name in names])
    voted = min(voted, len(names) // 2)
    print(f"{len(lines)} photos, {len(names)} names, votes on {voted} of them: {', '.join(names)}")
    print("votes         learned   voted on: P@10      AP                 other names: P@10      AP")
    for each, counts in ((False, (10, 30, 100)), (True, (5, 10, 20, 40))):
        for count in counts:
            found, kept = simulate(vectors, queries, shown, voted, count, each)
            said = "   ".join(
                f"{100 * before:5.1f} -> {100 * after:5.1f}" for group in found for before, after in group
            )
            print(f"{count:4d} {'a name' if each else 'in all'}   {kept:5.0%}   {said}")


if __name__ == "__main__":
    main()
