"""Every stage from raw data to a model folder, on data drawn on the spot."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from tests.support.tiny_model import SENTENCES
from tests.support.training_data import flickr8k, teacher, tiny_imagenet
from training import recipe as recipes
from training.assemble.bundle import make, prepare
from training.assemble.distilled import Distilled
from training.assemble.model import assemble
from training.assemble.stages import Folders, Telling
from training.evaluate import scores as ranking
from training.evaluate.captions import describe, evaluate_model, read_split, words_top
from training.recipe import Inputs
from training.run import train
from vsearch.errors import ConfigError, DataError
from vsearch.scores import Scores
from vsearch.storage import modelfolder
from vsearch.text.phrase import PhraseSpace

OVERRIDES = {
    "encoder.task.sides": "[32]", "encoder.task.phases": "[0.0]", "encoder.task.photos": "[0.5]",
    "encoder.task.batch": "8", "encoder.task.epoch_pictures": "16", "encoder.task.held_out": "6",
    "encoder.loop.epochs": "1",
    "devise.devise.dim": "10", "devise.devise.hidden": "16", "devise.task.batch": "6", "devise.task.label_batch": "4",
    "devise.loop.epochs": "2",
    "decoder.decoder.embed": "8", "decoder.decoder.hidden": "12", "decoder.decoder.attention": "8",
    "decoder.decoder.max_len": "6", "decoder.task.batch": "6", "decoder.loop.epochs": "1",
}  # fmt: skip


def folders(root: Path) -> Folders:
    source = root / "data"
    flickr8k(source / "flickr8k")
    tiny_imagenet(source / "tiny-imagenet", per_class=4)
    (source / "text").mkdir()
    (source / "text" / "corpus.txt.xz").write_bytes(lzma.compress("\n".join(SENTENCES).encode()))
    return Folders(source, root / "work", root / "model", teacher(root / "teacher"))


def small_recipe(root: Path, devise: str) -> Path:
    path = root / "small.toml"
    path.write_text(
        f'kind = "bundle"\ndevise = "{devise}"\nside = 32\ncrops = 1\nviews = 2\nmin_word_freq = 1\nmax_len = 6\n'
        "[words]\ndim = 10\nmin_count = 1\nbucket = 100\nepochs = 1\nthreads = 1\n"
        "[minutes]\nwords = 2\n"
    )
    return path


@pytest.mark.parametrize("devise", ["devise", "devise-bundled"])
def test_a_bundle_is_made_resumed_and_evaluated(tmp_path: Path, devise: str, monkeypatch: pytest.MonkeyPatch) -> None:
    curves = [(1.0, 0.0), (1.0, 0.0), (3.0, 0.5), (2.0, 0.25)]  # of either half, of all, by pictures

    def fit(hits: object) -> tuple[float, float]:  # six photos are too few for a curve of their own
        if not curves:
            raise DataError("no curve fits those")
        return curves.pop(0)

    monkeypatch.setattr(ranking, "fit_curve", fit)
    monkeypatch.setattr(ranking, "fit_knots", lambda hits: ((-1.0, 0.0), (1.0, 0.0)))
    places, recipe = folders(tmp_path), small_recipe(tmp_path, devise)
    said: list[str] = []
    shown: list[tuple[int, int]] = []
    telling = Telling(said.append, progress=lambda done, of: shown.append((done, of)))
    make(recipe, places, "cpu", overrides=OVERRIDES, telling=telling)
    assert said[0] == "plan:" and said[1].split() == ["words", "2", "min,", "measured", "on", "two", "cores"]
    assert said[2].split() == ["distil", "time", "not", "known"]
    assert (18, 18) in shown and all(0 < done <= of for done, of in shown)  # the features of the 18 photos
    assert [s.removeprefix("stage ") for s in said if s.startswith("stage")] == list(Distilled.stages)
    config = modelfolder.read_config(places.output)
    assert config.identity and config.preprocess.side == 32

    model, space = modelfolder.load_fast(places.output, "cpu"), PhraseSpace.load(places.output)
    words = "words-tuned" if devise == "devise-bundled" else "words"
    assert (
        config.words is not None
        and (places.work / words / config.words.file).read_bytes() == (places.output / config.words.file).read_bytes()
    )
    assert Scores.load(places.output).words == (3.0, 0.5) and Scores.load(places.output).picture == (2.0, 0.25)
    table = evaluate_model(model, space, places.work / "captions.h5", "test", (1, 2)).metrics
    assert {"t2i_r10", "i2t_r1", "bleu4_beam1", "cider_beam2", "rouge_l_beam2"} <= set(table)
    pictures = read_split(places.work / "captions.h5", "test")
    vectors, [captions] = describe(model, pictures, [2], batch=4)
    assert vectors.shape == (6, 10) and len(captions) == 6
    fits, names = words_top(vectors, pictures, space, ["dog"], k=6)["dog"]
    assert fits == 2 and sorted(names) == sorted(pictures.names)

    # another decoder, trained on the features that lie ready, fits the finished model
    shorter = {name.removeprefix("decoder."): value for name, value in OVERRIDES.items() if name.startswith("decoder.")}
    data, run = places.work / "captions.h5", tmp_path / "adaptive"
    train("caption-adaptive", Inputs(data, places.work / "features.h5"), run, "cpu", shorter | {"task.batch": "5"})
    assert assemble(places.output, [run], tmp_path / "other", data).decoder.kind == "adaptive"  # type: ignore[union-attr]

    stamps = {p: p.stat().st_mtime_ns for p in places.work.glob("*.h5")}
    said.clear()  # everything lies ready: nothing is prepared or trained again, only joined and ranked
    make(recipe, places, "cpu", overrides=OVERRIDES, telling=Telling(said.append))
    assert [line.split()[0] for line in said[1:11] if line.endswith("ready")] == list(Distilled.stages[:8])
    assert said[-1].startswith("ranking: none") and Scores.load(places.output) == Scores()
    assert {p: p.stat().st_mtime_ns for p in places.work.glob("*.h5")} == stamps
    assert modelfolder.read_config(places.output).identity == config.identity


def test_unknown_stages_settings_and_recipes_are_named(tmp_path: Path) -> None:
    places = Folders(tmp_path, tmp_path / "work", tmp_path / "model", tmp_path)
    with pytest.raises(ConfigError, match="unknown stage 'cook'"):
        make("bundled-small", places, stages=("cook",))
    with pytest.raises(ConfigError, match="no recipe of kind 'bundle'"):
        make("devise", places)
    for wrong in ("words.epoch", "sides", "nonsense.key"):
        with pytest.raises(ConfigError, match=wrong.split(".")[-1] if wrong != "nonsense.key" else "nonsense"):
            prepare("bundled-small", places, overrides={wrong: "3"})
    made = prepare(
        "bundled-small", places, overrides={"words.epochs": "3", "side": "96", "devise.loop.lr": "0.1"}
    )  # fmt: skip
    assert (made.bundle.words.epochs, made.preprocess.side, made.recipes["devise"].loop.lr) == (3, 96, 0.1)
    with pytest.raises(DataError, match=r"Flickr8k\.token\.txt"):
        make("bundled-small", places, stages=("words",))


def test_the_small_bundle_names_shipped_recipes_whose_sizes_fit() -> None:
    table = recipes.read("bundled-small")
    for stage in ("encoder", "devise", "decoder"):
        assert table[stage] in recipes.shipped()
    assert recipes.read(table["devise"])["devise"]["dim"] == table["words"]["dim"]
    assert recipes.read(table["decoder"])["decoder"]["max_len"] <= table["max_len"]
