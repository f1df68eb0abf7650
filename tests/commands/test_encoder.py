"""A torchvision network by name, from its weights to a model that describes a photo."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

import cli
from tests.support.tiny_model import model_folder
from tests.support.training_data import flickr8k
from training.data.features import key_in, key_of, read_features
from training.data.prepared import open_prepared
from vsearch.config import EncoderConfig, PreprocessConfig
from vsearch.errors import ConfigError, ModelError
from vsearch.image.pixels import NORMALISATIONS
from vsearch.networks.encoder import _network
from vsearch.storage import modelfolder, pretrained

NAME = "mobilenet_v3_small"
SMALL = {"embed": 8, "hidden": 8, "attention": 8, "max_len": 8}


def call(*arguments: str | os.PathLike[str]) -> Result:
    return CliRunner().invoke(cli.app, [os.fspath(a) for a in arguments])


def done(*arguments: str | os.PathLike[str]) -> None:
    result = call(*arguments)
    assert result.exit_code == 0, result.stderr or result.exception


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """flickr8k/, captions.h5, and net.safetensors and net.pth with the same random weights."""
    folder = tmp_path_factory.mktemp("data")
    flickr8k(folder / "flickr8k", per_split=3)
    done(
        "prepare", "captions", folder / "flickr8k", folder / "captions.h5", "--words", model_folder(),
        "--min-word-freq", "1",
    )  # fmt: skip
    torch.manual_seed(1)
    state = _network(NAME).state_dict()
    save_file(state, folder / "net.safetensors")
    torch.save(state, folder / "net.pth")
    return folder


def test_weights_of_either_format(data: Path) -> None:
    one, other = (pretrained.encoder(NAME, data / f"net.{ending}") for ending in ("safetensors", "pth"))
    images = torch.randn(2, 3, 32, 32)
    grid, pool = one.eval()(images)
    assert grid.shape[2] == pool.shape[1] == one.channels
    torch.testing.assert_close(other.eval()(images)[1], pool)


def test_weights_that_do_not_fit(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no weights of resnet18"):
        pretrained.encoder("resnet18", data / "net.pth")
    (tmp_path / "net.safetensors").write_bytes(b"junk")
    for path in (tmp_path / "net.safetensors", tmp_path / "nothing.pth"):
        with pytest.raises(ModelError, match="cannot read the weights"):
            pretrained.encoder(NAME, path)
    with pytest.raises(ConfigError, match="resnet19"):
        pretrained.encoder("resnet19", data / "net.pth")


def test_features_training_and_model(data: Path, tmp_path: Path) -> None:
    """What the trained decoder saw in training is what the model shows it."""
    by_name: list[str | Path] = ["--encoder", NAME, "--weights", data / "net.pth", "--encoder-side", "64"]
    features, run, made = tmp_path / "features.h5", tmp_path / "run", tmp_path / "model"
    done("prepare", "features", data / "captions.h5", features, *by_name)
    settings = [f"decoder.{name}={value}" for name, value in SMALL.items()]
    settings += ["task.batch=3", "task.captions_per_photo=1", "task.dev_beam=1", "loop.epochs=1"]
    at: list[str | Path] = ["--data", data / "captions.h5", "--features", features, "--output", run, "--device", "cpu"]
    done("train", "caption-soft", *at, *(word for setting in settings for word in ("--set", setting)))
    done("assemble", model_folder(), run, "--output", made, "--data", data / "captions.h5", *by_name)

    model = modelfolder.load(made, "cpu")
    assert model.config.encoder == EncoderConfig(NAME) and model.config.preprocess.side == 64
    assert model.devise is None and model.decoder is not None
    with open_prepared(data / "captions.h5", "captions") as file:
        cells = read_features(features, file["pictures/name"][:]).grid
    assert cells is not None and cells.shape[2:] == (4, model.encoder.channels)
    photo = data / "flickr8k" / "images" / "train0.jpg"
    described = call("caption", photo, "--model", made, "--device", "cpu")
    assert described.exit_code == 0 and described.stdout.startswith(str(photo))

    other = [*by_name[:-1], "32"]
    refused = call("assemble", model_folder(), run, "--output", made, "--data", data / "captions.h5", *other)
    assert refused.exit_code == 1 and "features of another encoder" in refused.stderr


def test_options_that_exclude_each_other(data: Path, tmp_path: Path) -> None:
    prepare: list[str | Path] = ["prepare", "features", data / "captions.h5", tmp_path / "f.h5"]
    assert "exclude" in call(*prepare, "--encoder", NAME, "--model", model_folder()).stderr
    assert "those of an --encoder" in call(*prepare, "--weights", data / "net.pth").stderr
    assert (
        "those of an --encoder"
        in call("assemble", model_folder(), tmp_path, "--output", tmp_path / "m", "--weights", data / "net.pth").stderr
    )


def test_pixels_as_the_network_was_given_them(data: Path, tmp_path: Path) -> None:
    """Of one network, features of the two normalisations differ, and each are those that its own key names."""
    options: list[str | Path] = [
        "--no-grid",
        "--encoder",
        NAME,
        "--weights",
        data / "net.safetensors",
        "--encoder-side",
        "64",
    ]
    keys, pools = [], []
    for pixels in ("torchvision", "tensorflow"):
        file = tmp_path / f"{pixels}.h5"
        done("prepare", "features", data / "captions.h5", file, *options, "--encoder-pixels", pixels)
        preprocess = PreprocessConfig(64, *NORMALISATIONS[pixels])
        keys.append(key_of(pretrained.encoder(NAME, data / "net.safetensors"), preprocess))
        assert key_in(file) == keys[-1]
        with h5py.File(file) as found:
            pools.append(found["pool"][:])
    assert keys[0] != keys[1] and not np.allclose(pools[0], pools[1], rtol=0.1)
    told = call(
        "prepare", "features", data / "captions.h5", tmp_path / "f.h5", *options, "--encoder-pixels", "cv2"
    ).stderr
    assert "--encoder-pixels cv2; known: torchvision, tensorflow" in told
