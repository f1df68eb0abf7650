"""Translators: sacreBLEU and the dev losses of their trainings, and a search for photos by translated captions.

    python -m benchmarks.translate table --data FILE --runs RUN ... [--split test] [--beam 5]
    python -m benchmarks.translate retrieval --translator FOLDER --pictures FILE [--model FOLDER]
                                             --names TXT ... --source TXT ... --english TXT ...

FILE of `table` is what `vsearch prepare pairs` wrote, a RUN is an output folder of `vsearch train translate...`. BLEU
is sacreBLEU's on the sentences as given, lower-cased, tokenised by its 13a: its signature is printed. `val_loss` and
`val_loss_free` are those of the best epoch by dev BLEU, forced and free-running, in nats a word.

`retrieval` searches the test photos of the prepared captions FILE by sentences of another language, translated, and by
their English counterparts: the lines of --source and --english go with the photos in the lines of --names (Multi30k has
them in several files: name them in the same order). Names agree up to the first dot or underscore.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.assemble.translator import load_translator
from training.data.pairs import read_lines, read_parallel
from training.evaluate import captions as evaluation
from training.plots import read_log
from vsearch.distribution import install_hint
from vsearch.errors import DataError, VsearchError
from vsearch.metrics.retrieval import recall_at, text_to_picture_ranks
from vsearch.storage import modelfolder
from vsearch.text.phrase import PhraseSpace
from vsearch.text.tokenise import tokenise
from vsearch.translation.translator import Translator

CUTS = (1, 5, 10)
LOSSES = ("val_loss", "val_loss_free")
Rows = dict[str, dict[str, float]]


def sacrebleu(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[float, str]:
    """Return BLEU, 0 to 100, and the signature of its settings. Raises VsearchError without the package."""
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        raise VsearchError("BLEU here is sacrebleu's", install_hint("benchmarks")) from None
    metric = BLEU(lowercase=True, tokenize="13a")
    score = metric.corpus_score(list(hypotheses), [list(references)]).score
    return float(score), str(metric.get_signature())


def table(runs: Sequence[Path], data: Path, split: str, beam: int, device: str) -> tuple[Rows, str]:
    """Return for each run BLEU on a split and the dev losses of its best epoch; and BLEU's signature."""
    pairs, rows, signature = read_parallel(data), Rows(), ""
    texts = [pairs.texts[i] for i in pairs.rows(split)]
    for run in runs:
        translator = load_translator(run, data, device)
        found = translate(translator, [own for own, _ in texts], beam)
        score, signature = sacrebleu([other for _, other in texts], found)
        best = max(read_log(run), key=lambda record: record["bleu4"])
        rows[str(run)] = {"BLEU": score, "dev BLEU-4": best["bleu4"], **{k: best[k] for k in LOSSES}}
    return rows, signature


def translate(translator: Translator, texts: Sequence[str], beam: int | None = None) -> list[str]:
    """Return the translations; "" for a sentence that is refused."""
    good = []
    for i, text in enumerate(texts):
        try:
            translator.source.check(text, translator.model.config.longest)
            good.append(i)
        except VsearchError:
            continue
    found = dict(zip(good, translator.translate([texts[i] for i in good], beam), strict=True))
    return [found[i].text if i in found else "" for i in range(len(texts))]


def retrieval(
    translator: Translator, model: Path, pictures: Path, lines: Sequence[tuple[str, str, str]], device: str
) -> Rows:
    """Return recall in percent of the test photos of `pictures` by `lines` of name, foreign and English sentence."""
    split, space = evaluation.read_split(pictures, "test"), PhraseSpace.load(model)
    rows = {stem(name): row for row, name in enumerate(split.names)}
    chosen = [(rows[stem(name)], own, english) for name, own, english in lines if stem(name) in rows]
    if not chosen:
        raise DataError("no line is of a test photo", "name the files whose lines correspond to --names")
    vectors, _ = evaluation.describe(modelfolder.load_fast(model, device), split)
    owner = np.array([row for row, _, _ in chosen])
    english, foreign = [e for _, _, e in chosen], [f for _, f, _ in chosen]
    table = Rows()
    for name, texts in (("English", english), ("translated", translate(translator, foreign))):
        phrases = [tokenise(text) or ["a"] for text in texts]
        ranks = text_to_picture_ranks(space.vectors_of(phrases) @ vectors.T, owner)
        table[name] = {f"R@{k}": recall_at(ranks, k) for k in CUTS} | {"sentences": float(len(ranks))}
    return table


def stem(name: str) -> str:
    return name.strip().replace("_", ".").partition(".")[0]


def markdown(rows: Rows) -> str:
    columns = list(next(iter(rows.values())))
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    lines += [f"| {name} | {' | '.join(f'{row[c]:.2f}' for c in columns)} |" for name, row in rows.items()]
    return "\n".join(lines)


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["table", "retrieval"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--runs", type=Path, nargs="+", default=[])
    parser.add_argument("--split", default="test")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--translator", type=Path)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--model", type=Path, default=modelfolder.bundled())
    for name in ("names", "source", "english"):
        parser.add_argument(f"--{name}", type=Path, nargs="+", default=[])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, help="write the results there")
    found = parser.parse_args(given)
    if found.what == "table" and (found.data is None or not found.runs):
        parser.error("table needs --data and --runs")
    if found.what == "retrieval" and not (found.translator and found.pictures and found.names):
        parser.error("retrieval needs --translator, --pictures, --names, --source and --english")
    return found


def main(given: Sequence[str] | None = None) -> None:
    a = arguments(given)
    result: dict[str, Any] = {}
    if a.what == "table":
        rows, signature = table(a.runs, a.data, a.split, a.beam, a.device)
        result = {"split": a.split, "beam": a.beam, "signature": signature, "rows": rows}
        print(f"{a.split}, beam {a.beam}, {signature}")
    else:
        sides = [[line for file in files for line in read_lines(file)] for files in (a.names, a.source, a.english)]
        if len({len(side) for side in sides}) != 1:
            raise DataError("--names, --source and --english have other numbers of lines", "name files that correspond")
        lines = list(zip(*sides, strict=True))
        rows = retrieval(Translator.load(a.translator, a.device), a.model, a.pictures, lines, a.device)
        result = {"rows": rows}
    print(markdown(rows))
    if a.json:
        a.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
