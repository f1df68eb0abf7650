"""The bundle on a pretrained network, from raw data drawn on the spot to a model folder and its translators."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.tiny_model import SENTENCES
from tests.support.training_data import COLOURS, THINGS, draw, flickr8k, tiny_imagenet
from tests.support.translator_data import SOURCE, TARGET
from training import recipe as recipes
from training.assemble.bundle import make, prepare
from training.assemble.guesses import guess_captions
from training.assemble.plan import BATCH, Planned, pictures_per_second, told
from training.assemble.pretrained import Pretrained
from training.assemble.stages import Folders, Telling
from training.data.caption_set import read_caption_set
from training.data.features import Network
from training.data.prepared import open_prepared
from training.data.sources.guessed import read_guessed
from vsearch.errors import ConfigError, DataError
from vsearch.image.pixels import NORMALISATIONS
from vsearch.storage import modelfolder, pretrained
from vsearch.text.phrase import PhraseSpace
from vsearch.torchvision import torchvision
from vsearch.translation.translator import Translator

OVERRIDES = {
    "devise.devise.dim": "10", "devise.devise.hidden": "16", "devise.task.batch": "6",
    "devise.task.label_batch": "4", "devise.task.scene_batch": "4", "devise.task.soft_batch": "4",
    "devise.task.pair_batch": "4",
    "devise.loop.epochs": "2",
    "decoder.decoder.embed": "10", "decoder.decoder.hidden": "12", "decoder.decoder.attention": "8",
    "decoder.decoder.cells": "8", "decoder.decoder.vector": "10", "decoder.decoder.max_len": "6",
    "decoder.task.batch": "6", "decoder.decoder.centroids": "2", "decoder.task.texts": "4", "decoder.loop.epochs": "1",
    "reward.task.batch": "6", "reward.task.texts": "2", "reward.task.drawn_photos": "2", "reward.task.drawn_texts": "2",
    "reward.task.samples": "2", "translator.source.embed": "8", "translator.source.hidden": "8",
    "translator.decoder.embed": "8", "translator.decoder.hidden": "8", "translator.decoder.attention": "8",
    "translator.task.batch": "10",
    "translator.loop.epochs": "1",
}  # fmt: skip
HELD_OUT = "COCO_train2014_000000000003.jpg"


def labelled(folder: Path, rows: list[tuple[str, list[object]]]) -> None:
    """Photos with many labels, in the layout of COCO and ADE20K."""
    folder.mkdir(parents=True)
    for number, (name, _) in enumerate(rows):
        draw(folder / name, list(COLOURS)[number % 3])
    (folder / "labels.jsonl").write_text("\n".join(json.dumps({"image": n, "labels": x}) for n, x in rows))


def weights(path: Path) -> dict[str, torch.Tensor]:
    """A ResNet-18 whose matrices are 8-bit codes, as the file of a quantised network has them."""
    rng, state = np.random.default_rng(0), dict[str, torch.Tensor]()
    for name, value in torchvision().models.resnet18().state_dict().items():
        if value.ndim < 2:
            state[name] = value
            continue
        codes = rng.integers(0, 256, value.shape, dtype=np.uint8)
        state |= {f"{name}.q": torch.from_numpy(codes), f"{name}.scale": torch.tensor(1e-3, dtype=torch.float64)}
        state[f"{name}.zero"] = torch.tensor(128, dtype=torch.int32)
    save_file(state, path)
    return state


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    root = tmp_path_factory.mktemp("bundle")
    source = root / "data"
    flickr8k(source / "flickr8k")
    tiny_imagenet(source / "tiny-imagenet", per_class=4)
    names = [f"COCO_train2014_{i:012}.jpg" for i in range(8)]
    labelled(source / "coco", [(name, [THINGS[i % 3]]) for i, name in enumerate(names)])
    labelled(source / "ade20k", [(f"ADE_{i}.jpg", [["boat", 0.5], ["snow", 0.1]]) for i in range(4)])
    (source / "coco" / "captions.jsonl").write_text(json.dumps({"captions": ["a dog in snow"], "image": HELD_OUT}))
    lines = [{"id": i, "captions": [f"a dog number {i}", "a boat on the sea"]} for i in (3, 5, 6)]
    (source / "captions-only").mkdir()
    with gzip.open(source / "captions-only" / "coco.jsonl.gz", "wt") as file:
        file.write("\n".join(map(json.dumps, lines)))
    (source / "text").mkdir()
    (source / "text" / "corpus.txt.xz").write_bytes(lzma.compress("\n".join(SENTENCES).encode()))
    (source / "multi30k").mkdir()
    for split in ("train", "val"):
        for side, text in (("fr", SOURCE), ("en", TARGET)):
            with gzip.open(source / "multi30k" / f"{split}.{side}.gz", "wt") as file:
                file.write("\n".join(text) + "\n")
    weights(root / "network.safetensors")
    return Folders(source, root / "work", root / "model", pretrained=str(root / "network.safetensors"))


def recipe(root: Path) -> Path:
    path = root / "small.toml"
    settings = "".join(f'"{name}" = {value}\n' for name, value in OVERRIDES.items())
    path.write_text(
        'kind = "bundle-pretrained"\nnetwork = "resnet18"\nside = 32\nviews = 2\n'
        'per_class = 3\nmin_word_freq = 1\nmax_len = 6\ntranslators = ["fr"]\n'
        "[words]\ndim = 10\nmin_count = 1\nbucket = 100\nepochs = 1\nthreads = 1\n"
        f"[settings]\n{settings}[minutes]\nwords = 7\n"
    )
    return path


def test_a_bundle_is_made_and_resumed(places: Folders) -> None:
    said: list[str] = []
    make(recipe(places.work.parent), places, "cpu", telling=Telling(said.append))
    assert said[0] == "plan:" and said[1].strip() == "words            7 min, measured on two cores"
    [features] = [line for line in said if line.strip().startswith("features")]
    assert "63 views, reckoned from one batch timed here" in features  # 18 photos twice, 12 scenes, 9 + 6 labelled
    assert [line.removeprefix("stage ") for line in said if line.startswith("stage")] == list(Pretrained.stages)
    config = modelfolder.read_config(places.output)
    assert config.encoder.name == "resnet18" and config.preprocess.mean == NORMALISATIONS["tensorflow"][0]
    assert config.devise is not None and config.devise.classes == 1000
    assert config.decoder is not None and config.decoder.vector == 10

    stored, given = load_file(places.output / "model.safetensors"), load_file(Path(places.pretrained or ""))
    codes = {name for name in given if name.endswith(".q") and not name.startswith("fc.")}
    assert len(codes) == 20  # convolutions of a ResNet-18
    for name in codes:
        place = name.replace("conv1.weight", "0.0.weight") if name.startswith("conv1") else name.removeprefix("layer")
        assert torch.equal(stored[f"encoder.stages.{place}"], given[name]), name
    assert stored["decoder.reduce.1.weight.q"].shape == (8, 512)  # a decoder's matrices are rounded to codes
    trained = load_file(places.work / "reward" / "best.safetensors")["decoder.reduce.1.weight"]
    decoder = modelfolder.load(places.output, "cpu").decoder
    assert decoder is not None
    moved = (decoder.state_dict()["reduce.1.weight"] - trained).abs().max()
    assert 0 < moved <= (trained.max() - trained.min()) / 500
    assert Translator.load(places.output / "translators" / "fr-en", "cpu").translate([SOURCE[0]])

    stamps = {path: path.stat().st_mtime_ns for path in places.work.glob("*.h5")}
    said.clear()
    make(recipe(places.work.parent), places, "cpu", telling=Telling(said.append))
    ready = [line.split()[0] for line in said[1 : len(Pretrained.stages) + 1] if line.endswith("ready")]
    assert ready == [*Pretrained.stages[:11], "translators"]
    assert {path: path.stat().st_mtime_ns for path in places.work.glob("*.h5")} == stamps
    assert modelfolder.read_config(places.output).identity == config.identity


def test_photos_with_captions_are_held_out_of_all_that_is_trained(places: Folders) -> None:
    made = prepare(recipe(places.work.parent), places, "cpu")
    assert isinstance(made, Pretrained)
    assert [sorted(one.names) for one in made.texts()] == [["5"], ["6"]]  # 3 is the number of the photo held out
    for stage in ("words", "scenes"):
        getattr(made, stage)()
    with open_prepared(made.path("scenes.h5"), "scenes") as file:
        split = dict(zip(file["pictures/name"].asstr()[:], file["pictures/split"][:].tolist(), strict=True))
    assert len(split) == 12 and split[HELD_OUT] == 1
    assert [name for name, value in split.items() if value] == [HELD_OUT, "ADE_1.jpg"]  # the tenth
    assert PhraseSpace.load(made.path("words")).vectors.dim == 10


def test_a_draft_captions_the_photos_that_have_no_captions(places: Folders) -> None:
    """All photos with many labels but the one held out; then both decoders learn from them, and are judged without."""
    rows = json.loads((places.work / "guessed.json").read_text())
    named = {Path(row["path"]).name for row in rows}
    assert len(rows) == 11 and HELD_OUT not in named and "ADE_1.jpg" in named
    assert all(row["caption"] and len(row["runner_ups"]) <= 2 for row in rows)
    found = read_caption_set(places.work / "guessed.h5")
    assert found.vocabulary.words == read_caption_set(places.work / "captions.h5").vocabulary.words
    assert found.guessed.sum() == 11 and not found.guessed[:18].any()
    assert {name.decode() for name in found.names[found.guessed]} == named
    for run in ("decoder", "reward"):
        noted = json.loads((places.work / run / "recipe.json").read_text())
        assert noted["decoder"]["centroids"] == 2


def test_a_photo_that_cannot_be_read_gets_no_guess(places: Folders, tmp_path: Path) -> None:
    draw(tmp_path / "a.jpg", "red")
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    told: list[tuple[int, int]] = []
    model = modelfolder.load_fast(places.work / "draft-model", "cpu")
    photos = [tmp_path / "b.jpg", tmp_path / "a.jpg"]
    guess_captions(model, photos, tmp_path / "g.json", lambda done, of: told.append((done, of)))
    assert [photo.path for photo in read_guessed(tmp_path / "g.json")] == [tmp_path / "a.jpg"] and told == [(2, 2)]


def test_what_is_missing_is_named(places: Folders, tmp_path: Path) -> None:
    own = recipe(tmp_path)
    bare = Folders(places.source, tmp_path / "work", tmp_path / "model")
    with pytest.raises(ConfigError, match="builds on a pretrained network"):
        make(own, bare, "cpu", ("features",))
    with pytest.raises(ConfigError, match="pixels is 'round'"):
        prepare(own, bare, overrides={"pixels": "round"})
    with pytest.raises(ConfigError, match="'xx'"):
        prepare(own, bare, overrides={"translators": '["xx"]'})
    other = Folders(places.source, tmp_path / "work", tmp_path / "model", pretrained=places.pretrained)
    with pytest.raises(DataError, match="is no resnet34"):
        prepare(own, other, overrides={"network": "resnet34"}).make_encoder()


def test_torchvisions_weights_come_by_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, asked = torchvision().models.resnet18().state_dict(), list[str]()
    monkeypatch.setattr(pretrained, "backbone_weights", lambda name: asked.append(name) or state)  # type: ignore[func-returns-value]
    named = Folders(tmp_path, tmp_path / "work", tmp_path / "model", pretrained="torchvision:resnet18")
    made = prepare("bundled", named, overrides={"side": "64"})
    assert made.preprocess.mean == NORMALISATIONS["torchvision"][0] and made.preprocess.side == 64
    assert torch.equal(made.make_encoder().state_dict()["stages.0.0.weight"], state["conv1.weight"])
    assert asked == ["resnet18"]


def test_the_shipped_bundle_names_shipped_recipes_whose_sizes_fit(tmp_path: Path) -> None:
    made = prepare("bundled", Folders(tmp_path, tmp_path, tmp_path))
    table = recipes.read("bundled")
    assert {table["devise"], table["decoder"]} <= set(recipes.shipped())
    assert made.settings("devise").dim == made.settings("decoder").vector == table["words"]["dim"]
    assert made.settings("decoder").max_len <= table["max_len"]
    assert made.recipes["devise"].loop.epochs == table["settings"]["devise.loop.epochs"]


def test_the_lines_of_a_plan() -> None:
    plan = [Planned("words", True, 9), Planned("features", False, 2.4, "timed"), Planned("join", False, None)]
    assert told(plan) == [
        "plan:", "  words        ready", "  features         2 min, timed", "  join         time not known",
        "  together         2 min",
    ]  # fmt: skip


def test_a_speed_is_that_of_the_second_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 50.0, 60.0, 64.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    seen: list[tuple[int, ...]] = []

    def encode(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(tuple(pixels.shape))
        return torch.zeros(BATCH, 1, 2), torch.zeros(BATCH, 2)

    speed = pictures_per_second(Network(encode, 16, ""), torch.device("cpu"))
    assert seen == [(BATCH, 16, 16, 3)] * 2 and speed == BATCH / 4
