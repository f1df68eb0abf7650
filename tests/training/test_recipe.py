"""Recipes: read once, refused where they do not fit, and noted so that a training goes on with the same."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import torch

from tests.support.training_data import cached_captions
from training import recipe as recipes
from training.assemble.bundle import KINDS as BUNDLES
from training.kinds import KINDS, load, parse, recipe_of
from training.loop.config import LoopConfig
from training.recipe import Inputs, Recipe
from training.run import build, train
from training.tasks.caption import CaptionRecipe
from training.tasks.decoding import load_decoder
from training.tasks.distil import DistilRecipe
from training.tasks.joint import JointRecipe
from training.tasks.labels import LabelsRecipe
from vsearch.config import DecoderConfig, PreprocessConfig, from_dict, to_dict
from vsearch.errors import ConfigError, DataError

SMALL = {
    "decoder.embed": "8", "decoder.hidden": "12", "decoder.attention": "8", "decoder.max_len": "8",
    "task.batch": "6", "loop.epochs": "1",
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return cached_captions(tmp_path_factory.mktemp("data"))


def test_recipes_that_ship_are_whole_and_wrong_ones_are_named(tmp_path: Path, inputs: Inputs) -> None:
    assert {"bundled", "caption", "devise", "encoder"} <= set(recipes.shipped())
    assert recipes.read("devise", {"loop.epochs": "3"})["loop"]["epochs"] == 3
    with pytest.raises(ConfigError, match="no recipe 'nothing'"):
        recipes.read("nothing")
    (tmp_path / "bad.toml").write_text("kind = ")
    with pytest.raises(ConfigError, match="not valid TOML"):
        recipes.read(tmp_path / "bad.toml")
    for text, message in [
        ('kind = "cook"', "kind is 'cook'"),
        ('kind = "devise"\n[loop]\nepoch = 3', r"'loop\.epoch'"),
        ('kind = "devise"\n[loop]\nepochs = "3"', r"loop\.epochs must be int"),
        ('kind = "devise"\n[devise]\ndim = 12\n[decoder]', "no table 'decoder'"),
    ]:
        (tmp_path / "bad.toml").write_text(text)
        with pytest.raises(ConfigError, match=message):
            train(tmp_path / "bad.toml", inputs, tmp_path / "out", "cpu")
    assert not (tmp_path / "out").exists()


def test_every_shipped_recipe_is_of_a_kind_and_every_kind_is_shipped() -> None:
    found = {name: recipes.read(name)["kind"] for name in recipes.shipped()}
    bundles = {name: kind for name, kind in found.items() if kind in BUNDLES}
    assert bundles == {"bundled": "bundle-pretrained", "bundled-small": "bundle"}
    assert {kind for kind in found.values() if kind not in BUNDLES} == set(KINDS)
    for name, kind in found.items():
        if kind not in BUNDLES:
            assert type(load(name)) is KINDS[kind] and load(name).kind == kind
    assert all(set(kind.reads) <= set(vars(Inputs(Path()))) for kind in KINDS.values())
    for name, kinds in {
        "bundled": {"devise-classes", "caption-texts", "self-critical-texts", "translate"},
        "bundled-small": {"distil", "devise", "caption"},
    }.items():
        settings, stages = BUNDLES[bundles[name]]
        assert {load(recipes.read(name).get(part, getattr(settings(), part))).kind for part in stages.parts} == kinds


def test_what_is_noted_is_the_whole_recipe_and_reads_back_as_the_same() -> None:
    for name in recipes.shipped():
        if name in ("bundled", "bundled-small"):
            continue
        recipe = load(name, {"loop.epochs": "3"})
        noted = json.loads(json.dumps(to_dict(recipe)))
        assert (noted["loop"]["epochs"], noted["loop"]["beta2"]) == (3, LoopConfig().beta2)
        assert parse(noted) == recipe
    assert load("joint").settings("devise") is None and load("joint").settings("encoder") is None
    assert to_dict(load("joint"))["devise"] is None


def test_the_text_of_a_recipe_is_parsed_once(inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    own = tomllib.loads

    def loads(text: str) -> dict[str, object]:
        if "kind =" in text:
            parsed.append(text)
        return own(text)

    monkeypatch.setattr(tomllib, "loads", loads)
    train("caption", inputs, tmp_path / "by-name", "cpu", SMALL)
    assert len(parsed) == 1
    table = recipes.read("caption")
    before = json.dumps(table)
    train(table, inputs, tmp_path / "by-table", "cpu", SMALL)
    assert len(parsed) == 2 and json.dumps(table) == before
    notes = [(tmp_path / run / "recipe.json").read_text() for run in ("by-name", "by-table")]
    assert notes[0] == notes[1] and json.loads(notes[0])["task"]["batch"] == 6


def test_a_run_of_an_earlier_version_goes_on_and_is_evaluated(inputs: Inputs, tmp_path: Path) -> None:
    """It noted only what the recipe set: a table, or a setting, that is missing has its default value."""
    train("caption", inputs, tmp_path, "cpu", SMALL)
    decoder = {
        "kind": "soft", "embed": 8, "hidden": 12, "attention": 8, "dropout": 0.5, "max_len": 8, "length_power": 1.0,
        "block_repeats": True, "agreement": 0.5,
    }  # fmt: skip
    task = {"batch": 6, "alpha": 1.0, "label_smoothing": 0.1, "dev_beam": 3}
    table = {"kind": "caption", "decoder": decoder, "task": task, "loop": {"epochs": 1, "lr": 0.001}}
    (tmp_path / "recipe.json").write_text(json.dumps(table))
    recipe = recipe_of(tmp_path)
    assert isinstance(recipe, CaptionRecipe) and recipe.decoder == from_dict(DecoderConfig, decoder)
    assert (recipe.task.captions_per_photo, recipe.loop.weight_decay) == (1, LoopConfig().weight_decay)
    assert load_decoder(tmp_path, 8, 14).config == recipe.decoder
    with pytest.raises(ConfigError, match="begun with another 'decoder'"):
        train("caption", inputs, tmp_path, "cpu", {**SMALL, "decoder.agreement": "0.25"})
    train("caption", inputs, tmp_path, "cpu", {**SMALL, "loop.epochs": "2"})
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2
    assert json.loads((tmp_path / "recipe.json").read_text())["task"]["captions_per_photo"] == 1
    (tmp_path / "recipe.json").write_text(json.dumps({**table, "task": {"batches": 3}}))
    with pytest.raises(DataError, match=r"cannot read .*recipe\.json: unknown setting 'task\.batches'"):
        train("caption", inputs, tmp_path, "cpu", SMALL)


def test_parts_without_a_table_keep_what_the_model_has() -> None:
    assert parse({"kind": "distil"}) == DistilRecipe(preprocess=None)
    assert parse({"kind": "distil", "preprocess": {"side": 96}}).settings("preprocess") == PreprocessConfig(96)
    joint = parse({"kind": "joint", "decoder": {"hidden": 3}})
    assert isinstance(joint, JointRecipe) and joint.devise is None
    assert joint.decoder is not None and joint.decoder.hidden == 3


def test_a_task_is_built_by_its_recipe_from_the_files_that_it_reads(inputs: Inputs) -> None:
    recipe: Recipe = load("caption", SMALL)
    assert type(build(recipe, inputs, torch.device("cpu"))).__name__ == "CaptionTask"
    with pytest.raises(ConfigError, match="cached features"):
        build(recipe, Inputs(inputs.data), torch.device("cpu"))
    with pytest.raises(ConfigError, match="goes on from a model"):
        build(load("joint"), Inputs(inputs.data), torch.device("cpu"))
    for name in ("features", "labels", "label_features", "start"):
        if name not in LabelsRecipe.reads:
            with pytest.raises(ConfigError, match="no use in a recipe of kind 'devise-labels'"):
                build(LabelsRecipe(), Inputs(inputs.data, **{name: inputs.data}), torch.device("cpu"))
