"""Parallel text to a file, and a translator trained on it."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.translator_data import SOURCE, TARGET, pairs_file
from training import recipe as recipes
from training.assemble.translator import load_translator
from training.data.pairs import Settings, only, part, prepare_pairs, read_pairs, read_parallel, without
from training.recipe import Inputs
from training.run import train
from training.tasks.translate import TranslateTask, TranslateTaskConfig, bucketed
from vsearch.config import DecoderConfig, SourceConfig, from_dict
from vsearch.errors import ConfigError, DataError
from vsearch.metrics.caption import bleu
from vsearch.text.vocab import END, START
from vsearch.translation.pieces import Pieces
from vsearch.translation.sentence import join, split

CPU = torch.device("cpu")
STEPS = ("plain", "bidirectional", "forcing", "attention", "all")


@pytest.mark.parametrize(
    ("language", "text", "tokens"),
    [
        ("fr", "L’homme qu'on voit, aujourd'hui.", ["l'", "homme", "qu'", "on", "voit", ",", "aujourd'hui", "."]),
        ("en", "The dog's T-shirt isn't red!", ["the", "dog", "'s", "t-shirt", "is", "n't", "red", "!"]),
        ("de", "Straße (3,5 km) – „Öl“?", ["straße", "(", "3,5", "km", ")", "-", '"', "öl", '"', "?"]),
    ],
)
def test_sentences_are_parted_and_joined(language: str, text: str, tokens: list[str]) -> None:
    assert split(text, language) == tokens
    plain = text.lower().replace("’", "'").replace("–", "-").replace("„", '"').replace("“", '"')
    assert join(tokens, language) == plain
    assert split(join(tokens, language), language) == tokens


def test_pieces_come_together_again() -> None:
    sentences = [split(text, "fr") for text in SOURCE]
    pieces = Pieces.train(sentences, 40)
    assert [Pieces.join(pieces.split(tokens)) for tokens in sentences] == sentences
    assert max(len(pieces.split([word])) for word in ("bateau", "plage")) > 1
    again = Pieces(pieces.to_json())
    assert again.split(sentences[0]) == pieces.split(sentences[0])


def test_files_of_lines_and_of_tabs_hold_the_same_pairs(tmp_path: Path) -> None:
    (tmp_path / "a.fr").write_text("Un chien.\n\nDeux\u2028lignes\n", "utf-8")
    (tmp_path / "a.en.gz").write_bytes(gzip.compress(b"A dog.\nNothing.\nTwo lines\n"))
    (tmp_path / "tabs.txt").write_text("A dog.\tUn chien.\tCC-BY\nNothing.\t\nTwo lines\tDeux\u2028lignes", "utf-8")
    pairs = [("Un chien.", "A dog."), ("", "Nothing."), ("Deux\u2028lignes", "Two lines")]
    assert read_pairs([tmp_path / "a.fr", tmp_path / "a.en.gz"]) == pairs
    assert read_pairs([tmp_path / "tabs.txt"], swap=True) == pairs


@pytest.mark.parametrize(
    ("content", "told"), [(b"a\nb\n", "has 1 lines"), (b"\xff\xfe", "cannot read"), (None, "cannot read")]
)
def test_files_that_do_not_correspond(tmp_path: Path, content: bytes | None, told: str) -> None:
    (tmp_path / "a").write_text("one\n")
    if content is not None:
        (tmp_path / "b").write_bytes(content)
    with pytest.raises(DataError, match=told):
        read_pairs([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(DataError, match="line 1: no tab"):
        read_pairs([tmp_path / "a"])


def test_pairs_of_photos_and_by_their_beginning_are_left_out(tmp_path: Path) -> None:
    pairs = [("un", "Which one?"), ("deux", "Two"), ("trois", "Why?")]
    (tmp_path / "names").write_text("11.jpg\n12.jpg\n13.jpg\n")
    (tmp_path / "out").write_text("12_abc.jpg\n1_13.jpg\n")
    assert without(pairs, tmp_path / "names", tmp_path / "out") == [pairs[0], pairs[2]]
    assert only(pairs, r"Wh.*\?$") == [pairs[0], pairs[2]]
    with pytest.raises(ConfigError, match="no regular expression"):
        only(pairs, "(")
    with pytest.raises(DataError, match="3 lines for 2 pairs"):
        without(pairs[:2], tmp_path / "names", tmp_path / "out")


def test_no_target_stands_in_both_splits() -> None:
    pairs = [(f"{i}", f"target {i % 200}") for i in range(1000)]
    own, dev = part(pairs, 0.1)
    assert len(own) + len(dev) == 1000 and 50 <= len(dev) <= 150
    assert not {t for _, t in own} & {t for _, t in dev}


def test_the_file_holds_ids_texts_and_languages(tmp_path: Path) -> None:
    """Of the sources "un chien" and "un chat noir et blanc" (2, 5 words) the 50th percentile of lengths is 3.5."""
    train_pairs = [("un chien", "a dog"), ("un chat noir et blanc", "a cat")]
    prepare_pairs(
        {"train": train_pairs, "dev": [("un chat", "a cat"), ("", "b")]},
        tmp_path / "p.h5",
        Settings(min_freq=1, max_percentile=50),
    )
    found = read_parallel(tmp_path / "p.h5")
    own, other = found.languages
    assert (own.code, own.vocabulary.words, other.vocabulary.words) == ("fr", ["chien", "un"], ["a", "dog"])
    assert found.texts == [("un chien", "a dog"), ("un chat", "a cat")]
    assert found.source.tolist() == [[5, 4, END], [5, 3, END]]  # chien 4, un 5; chat is unknown: 3
    assert found.target.tolist() == [[START, 4, 5, END], [START, 4, 3, END]]
    with pytest.raises(DataError, match="no pair in the split 'test'"):
        found.rows("test")


def test_the_vocabulary_is_capped(tmp_path: Path) -> None:
    assert len(read_parallel(pairs_file(tmp_path / "p.h5", vocabulary=3)).languages[0].vocabulary.words) == 3


@pytest.mark.parametrize("wrong", [{"source": "xx"}, {"source": "en"}, {"max_percentile": 0.0}])
def test_settings_that_make_no_sense(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        Settings(**wrong)  # type: ignore[arg-type]


def test_forcing_falls_from_one_to_none() -> None:
    """1 - pr_force, by hand: pr_force is 1, 0.75, 0.5, 0.25, then 0."""
    falling = TranslateTaskConfig(forcing=1.0, forcing_epochs=4)
    assert [falling.sampling(epoch) for epoch in range(6)] == [0, 0.25, 0.5, 0.75, 1, 1]
    assert [TranslateTaskConfig(forcing=0.0).sampling(e) for e in (0, 9)] == [1, 1]
    assert [TranslateTaskConfig().sampling(e) for e in (0, 9)] == [0, 0]
    with pytest.raises(ConfigError, match=r"task\.forcing cannot be 2"):
        from_dict(TranslateTaskConfig, {"forcing": 2}, "task")


def test_batches_are_of_like_length_and_hold_each_pair_once() -> None:
    lengths = np.random.default_rng(1).integers(1, 20, (2000, 2))
    batches = bucketed(np.arange(2000), lengths, 10, np.random.default_rng(0))
    assert sorted(np.concatenate(batches).tolist()) == list(range(2000))
    own = np.array([np.ptp(lengths[rows], 0) for rows in batches])  # (batches, 2)
    assert (own[:, 0] == 0).mean() > 0.8 and own[:, 0].max() <= 4 and np.median(own[:, 1]) <= 5
    assert [lengths[rows].mean() for rows in batches] != sorted(lengths[rows].mean() for rows in batches)


def small(data: Path, **settings: object) -> TranslateTask:
    source = SourceConfig(embed=8, hidden=6, dropout=0.0)
    decoder = DecoderConfig(cell="gru", embed=8, hidden=10, attention=8, dropout=0.0, gate=False, max_len=6)
    config = TranslateTaskConfig(**{"batch": 10, **settings})  # type: ignore[arg-type]
    torch.manual_seed(0)
    return TranslateTask(config, source, decoder, data, CPU)


def test_every_trained_parameter_gets_a_gradient(tmp_path: Path) -> None:
    task = small(pairs_file(tmp_path / "p.h5"), forcing=0.5)
    task.loss(next(iter(task.batches(0, torch.Generator().manual_seed(0))))).value.backward()  # type: ignore[no-untyped-call]
    for name, parameter in task.module.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.abs().sum() > 0), name


def test_an_even_guess_costs_the_logarithm_of_the_vocabulary(tmp_path: Path) -> None:
    """With output weights of zero every word of V has probability 1/V, forced or not: ln V nats."""
    task = small(pairs_file(tmp_path / "p.h5"))
    with torch.no_grad():
        for parameter in task.module.decoder.output.parameters():
            parameter.zero_()
        task.module.eval()
        found = task.evaluate()
    words = math.log(len(task.pairs.languages[1].vocabulary))
    assert (found["val_loss"], found["val_loss_free"]) == pytest.approx((words, words), rel=1e-4)


def test_embeddings_start_from_word_vectors(tmp_path: Path) -> None:
    """The known vectors (1, -1), (3, -3) have mean 0 and spread sqrt((1 + 1 + 9 + 9) / 4) = sqrt(5)."""
    (tmp_path / "fr.vec").write_text("2 2\nchien 1 -1\nneige 3 -3\n")
    pairs = list(zip(SOURCE, TARGET, strict=True))
    prepare_pairs(
        {"train": pairs, "dev": pairs}, tmp_path / "p.h5", Settings(min_freq=1), {"source": tmp_path / "fr.vec"}
    )
    source, decoder = SourceConfig(embed=2, hidden=4), DecoderConfig(embed=2, hidden=4, attention=4)
    task = TranslateTask(TranslateTaskConfig(batch=10, word_vectors="frozen"), source, decoder, tmp_path / "p.h5", CPU)
    weight = task.module.source.embedding.weight
    row = weight[task.pairs.languages[0].vocabulary.id("chien")].detach()
    assert row.tolist() == pytest.approx([1 / math.sqrt(5), -1 / math.sqrt(5)])
    assert not weight.requires_grad and task.module.decoder.embedding.weight.requires_grad
    with pytest.raises(ConfigError, match=r"source\.embed is 8, the word vectors have 2"):
        small(tmp_path / "p.h5", word_vectors="tuned")


@pytest.mark.parametrize(("bpe", "cell", "scoring"), [(0, "gru", "tanh"), (30, "lstm", "additive")])
def test_a_toy_language_is_learnt_and_assembled(tmp_path: Path, bpe: int, cell: str, scoring: str) -> None:
    data, run = pairs_file(tmp_path / "p.h5", bpe=bpe), tmp_path / "run"
    small_model = {
        "source.cell": cell, "source.embed": "24", "source.hidden": "32", "source.dropout": "0.0",
        "decoder.cell": cell, "decoder.embed": "24", "decoder.hidden": "48", "decoder.attention": "32",
        "decoder.dropout": "0.0", "decoder.scoring": scoring, "task.batch": "3", "task.label_smoothing": "0.0",
        "loop.epochs": "60" if bpe else "36", "loop.lr": "1e-2", "loop.average": "0.0", "loop.bf16": "false",
    }  # fmt: skip
    train("translate", Inputs(data), run, "cpu", small_model)
    record = json.loads((run / "log.jsonl").read_text().splitlines()[-1])
    assert record["bleu4"] > 90 and record["val_loss"] < 0.2
    found = load_translator(run, data).translate(SOURCE, beam=3)
    assert bleu([[t.split()] for t in TARGET], [one.text.split() for one in found])["bleu4"] > 90


def test_the_five_steps_differ_in_what_they_say() -> None:
    tables = {name: recipes.read(f"translate-{name}") for name in STEPS}
    told = {n: (t["source"]["bidirectional"], t["decoder"]["kind"], t["task"]["forcing"]) for n, t in tables.items()}
    assert told == {
        "plain": (False, "gru", 0.0), "bidirectional": (True, "gru", 0.0), "forcing": (False, "gru", 1.0),
        "attention": (False, "soft", 1.0), "all": (True, "soft", 1.0),
    }  # fmt: skip
    assert len({json.dumps([t["loop"], t["source"]["hidden"]]) for t in tables.values()}) == 1


@pytest.mark.parametrize("name", ["plain", "bidirectional", "all"])
def test_a_step_trains(tmp_path: Path, name: str) -> None:
    sizes = {f"{p}.{k}": "8" for p, k in (("source", "embed"), ("source", "hidden"), ("decoder", "embed"))}
    sizes |= {"decoder.hidden": "8", "decoder.attention": "8", "task.batch": "10", "loop.epochs": "2"}
    train(f"translate-{name}", Inputs(pairs_file(tmp_path / "p.h5")), tmp_path / "run", "cpu", sizes)
    first, second = (json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines())
    assert first["loss"] != second["loss"] and math.isfinite(second["val_loss_free"])


def test_a_run_of_another_kind_is_no_translator(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text('{"kind": "caption"}')
    with pytest.raises(ConfigError, match="trained no translator"):
        load_translator(tmp_path, tmp_path / "p.h5")
