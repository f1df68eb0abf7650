"""A model on disk: the same after loading, and every way it can be broken is named."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.tiny_model import model_folder, words_file
from vsearch.config import DecoderConfig, EncoderConfig, ModelConfig, PreprocessConfig, to_dict
from vsearch.errors import ConfigError, ModelError
from vsearch.networks.joint import build_model
from vsearch.storage import modelfolder
from vsearch.text.vocab import Vocabulary


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the tiny model, to be broken."""
    return Path(shutil.copytree(model_folder(), tmp_path / "model"))


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(folder: Path, remove: str = "", **add: torch.Tensor) -> None:
    state = load_file(folder / "model.safetensors")
    state.pop(remove, None)
    save_file(state | add, folder / "model.safetensors")


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = ModelConfig(
        encoder=EncoderConfig("mobilenet_v3_small"), decoder=DecoderConfig(embed=8, hidden=8, attention=8)
    )
    model = build_model(config, Vocabulary(["dog", "café"]))
    saved = modelfolder.save(model, tmp_path / "new" / "model", half=False)
    loaded = modelfolder.load(tmp_path / "new" / "model", "cpu")
    assert loaded.config == saved == dataclasses.replace(config, identity=saved.identity)
    assert loaded.vocabulary is not None and loaded.vocabulary.words == ["dog", "café"]
    assert not loaded.training
    state = loaded.state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert {name.split(".")[0] for name in state} == {"encoder", "decoder"}
    assert all(p.requires_grad for p in loaded.parameters())


def test_matrices_are_halved_and_the_rest_is_not(tmp_path: Path) -> None:
    model = build_model(ModelConfig(encoder=EncoderConfig("mobilenet_v3_small")))
    with torch.no_grad():
        next(model.encoder.parameters()).view(-1)[0] = 1e6  # does not fit into float16
    modelfolder.save(model, tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    kinds = {name: value.dtype for name, value in stored.items()}
    first = next(iter(model.state_dict()))
    assert kinds.pop(first) == torch.float32 and stored[first].isfinite().all()
    halved = {name for name, kind in kinds.items() if kind == torch.float16}
    assert halved == {name for name in kinds if stored[name].ndim > 1}
    assert all(p.dtype == torch.float32 for p in modelfolder.load(tmp_path, "cpu").parameters())


def test_saving_what_was_loaded_changes_nothing(folder: Path, tmp_path: Path) -> None:
    config = modelfolder.read_config(folder)
    again = modelfolder.save(modelfolder.load(folder, "cpu"), tmp_path / "again", folder / "words.bin")
    assert again == config
    assert modelfolder.save(modelfolder.load(folder, "cpu"), folder, folder / "words.bin") == config  # onto itself
    assert not list(folder.glob("*.partial"))


def test_identity_is_of_weights_preprocessing_and_words() -> None:
    state = {"a": torch.zeros(2, 3), "b": torch.ones(4)}
    config = modelfolder.read_config(model_folder())
    assert config.words is not None and config.decoder is not None
    identity = modelfolder.identity(state, config)
    assert len(identity) == 64
    assert modelfolder.identity(dict(reversed(state.items())), config) == identity
    decoder = dataclasses.replace(config.decoder, beam=1)
    assert modelfolder.identity(state, dataclasses.replace(config, decoder=decoder, identity="x")) == identity
    others = [
        modelfolder.identity(state | {"b": torch.ones(4).half()}, config),
        modelfolder.identity({"a": state["a"], "c": state["b"]}, config),
        modelfolder.identity(state | {"a": torch.zeros(3, 2)}, config),
        modelfolder.identity(state | {"b": torch.tensor([1.0, 1, 1, 1.0001])}, config),
        modelfolder.identity(state, dataclasses.replace(config, preprocess=PreprocessConfig(side=65))),
        modelfolder.identity(state, dataclasses.replace(config, encoder=EncoderConfig("resnet34"))),
        modelfolder.identity(state, dataclasses.replace(config, words=dataclasses.replace(config.words, sha256="0"))),
    ]
    assert len({identity, *others}) == 8


def test_words_are_copied_and_their_checksum_kept(folder: Path) -> None:
    import hashlib

    config = modelfolder.read_config(folder)
    assert config.words is not None and config.words.file == "words.bin" and config.words.dim == 12
    assert (folder / "words.bin").read_bytes() == words_file().read_bytes()
    assert config.words.sha256 == hashlib.sha256(words_file().read_bytes()).hexdigest()


def test_config_is_read_without_torch(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from vsearch.storage import modelfolder;"
        "assert modelfolder.read_config(Path(sys.argv[1])).identity;"
        "assert not {'torch', 'safetensors', 'fasttext'} & sys.modules.keys()"
    )
    root = Path(modelfolder.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("keep", [0, 4, 8, 500, -1])
def test_cut_short_weights_are_named_damaged(folder: Path, keep: int) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged") as caught:
        modelfolder.load(folder, "cpu")
    assert "again" in caught.value.hint


def test_one_flipped_bit_is_found(folder: Path) -> None:
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ModelError, match="not those its config"):
        modelfolder.load(folder, "cpu")


def test_missing_unexpected_and_misshapen_weights_are_named(folder: Path) -> None:
    edit_config(folder, identity="")
    edit_weights(
        folder, remove="devise.layers.0.bias", **{"extra.weight": torch.zeros(1), "decoder.gate.bias": torch.zeros(3)}
    )
    with pytest.raises(ModelError) as caught:
        modelfolder.load(folder, "cpu")
    message = str(caught.value)
    assert "missing: devise.layers.0.bias" in message
    assert "unexpected: extra.weight" in message
    assert "of wrong shape: decoder.gate.bias [3] for [512]" in message


def test_many_missing_weights_are_counted(folder: Path) -> None:
    edit_config(folder, identity="", encoder={"name": "resnet34"})
    with pytest.raises(ModelError, match=r"missing: encoder\S+, .* and \d+ more"):
        modelfolder.load(folder, "cpu")


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "pytorch_model.bin", "model.ckpt"])
def test_pickles_are_refused_unopened(folder: Path, name: str, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "owned").encode() + b"'\ntR.")
    for path in (folder, folder / name):
        with pytest.raises(ModelError, match=rf"{name}.* pickle") as caught:
            modelfolder.load(path, "cpu")
        assert "safetensors" in caught.value.hint
    assert not (tmp_path / "owned").exists()


def test_word_vectors_are_no_pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no model\.safetensors"):
        modelfolder.load(folder, "cpu")


def test_missing_parts_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model folder at") as caught:
        modelfolder.load(tmp_path / "nowhere", "cpu")
    assert caught.value.hint
    with pytest.raises(ModelError, match="is a file"):
        modelfolder.load(folder / "config.json", "cpu")
    (folder / "vocab.json").unlink()
    with pytest.raises(ModelError, match=r"vocab\.json"):
        modelfolder.load(folder, "cpu")
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config\.json"):
        modelfolder.load(folder, "cpu")


def test_unknown_setting_is_named_with_its_file(folder: Path) -> None:
    edit_config(folder, decoder=to_dict(DecoderConfig()) | {"heads": 8})
    with pytest.raises(ConfigError, match=r"config\.json.*decoder\.heads") as caught:
        modelfolder.read_config(folder)
    assert "hidden" in caught.value.hint


@pytest.mark.parametrize("text", ["", "{", "[]", '{"encoder": 3}', "\xff"])
def test_damaged_config_is_named(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises((ModelError, ConfigError), match=r"config\.json"):
        modelfolder.read_config(folder)


def test_newer_format_is_refused(folder: Path) -> None:
    edit_config(folder, format=3)
    with pytest.raises(ModelError, match="format 3") as caught:
        modelfolder.read_config(folder)
    assert "update" in caught.value.hint


def test_interrupted_save_leaves_the_old_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails before the weights are whole leaves a folder that loads as before."""
    before = modelfolder.read_config(folder)
    model = modelfolder.load(folder, "cpu")
    with torch.no_grad():
        next(model.parameters()).add_(1)
    monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        modelfolder.save(model, folder, folder / "words.bin")
    monkeypatch.undo()
    assert modelfolder.load(folder, "cpu").config == before


def test_a_missing_bundled_model_means_an_incomplete_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modelfolder, "bundled", lambda: tmp_path / "bundled")
    with pytest.raises(ModelError, match="bundled model is missing") as caught:
        modelfolder.read_config(modelfolder.bundled())
    assert "incomplete" in caught.value.hint
    with pytest.raises(ModelError, match="no model folder at") as caught:
        modelfolder.read_config(tmp_path / "other")
    assert "bundled model" in caught.value.hint
