"""Weights as 8-bit codes: every value back to the bit, and no codes where that cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vsearch.config import EncoderConfig, ModelConfig
from vsearch.errors import ModelError
from vsearch.networks.joint import build_model
from vsearch.storage import modelfolder, pretrained
from vsearch.storage.codes import coded, decoded, rounded


def matrix(seed: int, shape: tuple[int, ...] = (64, 40)) -> tuple[Tensor, Tensor, float, int]:
    """A matrix of values (q - zero) * scale, and those three."""
    drawn = np.random.default_rng(seed)
    spread = drawn.integers(3, 60)
    codes = np.clip(np.rint(drawn.normal(drawn.integers(60, 200), spread, shape)), 0, 255)
    scale, zero = float(10 ** drawn.uniform(-6, 3)), int(drawn.integers(60, 200))
    return torch.from_numpy(((codes - zero) * scale).astype(np.float32)), torch.from_numpy(codes), scale, zero


@pytest.mark.parametrize("seed", range(40))
def test_every_value_comes_back_to_the_bit(seed: int) -> None:
    values, _, scale, _ = matrix(seed)
    parts = coded("w", values)
    assert parts is not None
    assert parts.keys() == {"w.q", "w.scale", "w.zero"}
    assert parts["w.q"].dtype == torch.uint8 and parts["w.q"].shape == values.shape
    assert float(parts["w.scale"]) == pytest.approx(scale, rel=1e-6)
    back = decoded(parts)["w"]
    assert back.dtype == torch.float32
    assert torch.equal(back.view(torch.int32), values.view(torch.int32))


def test_levels_that_no_value_has_do_not_hide_the_step() -> None:
    codes = torch.tensor([0.0, 2, 4, 7, 9, 255] * 400).view(40, 60)
    values = ((codes - 9) * 0.0123).float()
    parts = coded("w", values)
    assert parts is not None and torch.equal(decoded(parts)["w"], values)
    assert parts["w.q"].max() == 255


def test_codes_are_found_only_where_they_hold_everything() -> None:
    values, *_ = matrix(0)
    uneven, endless, wide = values.clone(), values.clone(), torch.arange(4096.0).view(64, 64)
    uneven[0, 0] *= 1 + 2**-20
    endless[0, 0] = torch.nan
    for tensor in (
        uneven,
        endless,
        wide,
        torch.randn(64, 64),
        torch.ones(64, 64),
        values[:4],
        values[0],
        values.half(),
    ):
        assert coded("w", tensor) is None


def test_a_state_without_codes_stays_as_it_is() -> None:
    state = {"a.scale": torch.ones(3), "b": torch.zeros(2, 2)}
    assert decoded(state) == state


@pytest.mark.parametrize("seed", range(20))
def test_rounded_matrices_are_held_by_codes_and_lie_near(seed: int) -> None:
    """No value moves by more than half a step, of which 255 span the matrix and zero; so codes hold it to the bit."""
    rng = np.random.default_rng(seed)
    drawn = rng.normal(rng.uniform(-2, 2), 10 ** rng.uniform(-4, 2), (50, 60)).astype(np.float32)
    state = {"w": torch.from_numpy(drawn), "bias": torch.from_numpy(drawn[0].copy()), "zeros": torch.zeros(60, 60)}
    found = rounded(state)
    assert torch.equal(found["bias"], state["bias"]) and torch.equal(found["zeros"], state["zeros"])
    parts = coded("w", found["w"])
    assert parts is not None and torch.equal(decoded(parts)["w"], found["w"])
    span = max(drawn.max(), 0.0) - min(drawn.min(), 0.0)
    assert (found["w"] - state["w"]).abs().max().item() <= span / 510 * 1.01


@pytest.mark.parametrize(
    "broken", [{"w.scale": None}, {"w.zero": None}, {"w.scale": torch.ones(2)}, {"w.q": torch.zeros(64, 40)}]
)
def test_damaged_codes_are_named(broken: dict[str, Tensor | None]) -> None:
    parts = coded("w", matrix(1)[0])
    assert parts is not None
    state = {name: tensor for name, tensor in {**parts, **broken}.items() if tensor is not None}
    with pytest.raises(ModelError, match=r"the 8-bit codes of w are damaged"):
        decoded(state)


def test_a_model_of_codes_is_stored_as_codes_and_loads_to_the_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_model(ModelConfig(encoder=EncoderConfig("resnet18", width=8)))
    plain = modelfolder.save(model, tmp_path / "plain")
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            if parameter.ndim > 1:
                step = parameter.abs().max() / 127
                parameter.copy_((parameter / step).round().double() * step.double())
    saved = modelfolder.save(model, tmp_path / "codes")
    assert (plain.format, saved.format) == (1, 2)
    found = load_file(tmp_path / "codes" / "model.safetensors")
    assert "encoder.stages.4.1.conv2.weight.q" in found and "encoder.stages.4.1.conv2.weight" not in found
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("plain", "codes")]
    assert sizes[1] < 0.65 * sizes[0]
    loaded = modelfolder.load(tmp_path / "codes", "cpu")
    state = model.state_dict()
    coarse = [n for n, t in loaded.state_dict().items() if not torch.equal(t, state[n])]
    assert all(state[name].numel() < 2048 for name in coarse)  # in float16, as ever
    again = modelfolder.save(loaded, tmp_path / "again")
    assert again.identity == saved.identity
    written = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("codes", "again")]
    assert written[0] == written[1]


def test_another_code_is_another_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_model(ModelConfig(encoder=EncoderConfig("resnet18", width=8)))
    with torch.no_grad():
        weight = model.encoder.get_parameter("stages.4.1.conv2.weight")
        weight.copy_((weight / 0.01).round() * 0.01)
    modelfolder.save(model, tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state["encoder.stages.4.1.conv2.weight.q"][0, 0, 0, 0] ^= 1
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="are not those its config.json was written with"):
        modelfolder.load(tmp_path, "cpu")


def test_pretrained_weights_may_be_codes(tmp_path: Path) -> None:
    values, *_ = matrix(2)
    parts = coded("w", values)
    assert parts is not None
    save_file(parts, tmp_path / "net.safetensors")
    assert torch.equal(pretrained.read_weights(tmp_path / "net.safetensors")["w"], values)
