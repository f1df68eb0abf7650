"""DeViSE and captions over one encoder: what learns, from what, and what comes of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.tiny_model import model_folder
from tests.support.training_data import prepared_captions
from training.assemble.model import assemble
from training.recipe import Inputs
from training.run import train
from training.tasks.joint import JointConfig, JointTask
from vsearch.config import DecoderConfig, DeviseConfig, from_dict
from vsearch.errors import ConfigError
from vsearch.networks.fast.model import FastModel
from vsearch.storage import modelfolder
from vsearch.text.phrase import PhraseSpace

CPU = torch.device("cpu")
DECODER = DecoderConfig(kind="adaptive", embed=12, hidden=24, attention=16, dropout=0.0, max_len=8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    space = PhraseSpace.load(model_folder())
    return prepared_captions(folder, space, 9)


def task_of(
    data: Path, decoder: DecoderConfig | None = DECODER, head: DeviseConfig | None = None, **settings: object
) -> JointTask:
    torch.manual_seed(0)
    config = JointConfig(**{"batch": 6, "captions_per_photo": 2, **settings})  # type: ignore[arg-type]
    return JointTask(config, modelfolder.load(model_folder(), "cpu"), head, decoder, data, CPU)


def first(task: JointTask) -> torch.Tensor:
    batch = next(iter(task.batches(0, torch.Generator().manual_seed(0))))
    assert batch.images.shape == (6, 3, 64, 64) and batch.captions.shape[:2] == batch.lengths.shape == (6, 2)
    task.module.train()
    return task.loss(batch).value


def test_gradients_reach_all_that_learns(data: Path) -> None:
    task = task_of(data, alpha=0.0)
    encoder, rest = task.groups()
    assert (encoder.scale, rest.scale) == (0.02, 1.0)
    late = {id(p) for stage in list(task.module.encoder.stages)[2:] for p in stage.parameters()}
    assert {id(p) for p in encoder.parameters} == late
    first(task).backward()  # type: ignore[no-untyped-call]
    learning = {id(p) for group in (encoder, rest) for p in group.parameters}
    for name, parameter in task.module.named_parameters():
        assert (id(parameter) in learning) == (parameter.grad is not None), name
        if parameter.grad is not None and "sentinel_key.bias" not in name:
            assert parameter.grad.abs().sum() > 0, name


def test_loss_is_the_weighted_sum_of_both(data: Path) -> None:
    """The model's head, without dropout, the same random decoder and the same crops: only the weights differ."""
    both, told, placed = (
        first(task_of(data, caption=caption, devise=devise, monitor="recall" if devise else "cider")).item()
        for caption, devise in ((2.0, 0.5), (1.0, 0.0), (0.0, 1.0))
    )
    assert min(told, placed) > 0
    assert both == pytest.approx(2 * told + 0.5 * placed, rel=1e-4)


@pytest.mark.parametrize(("left_out", "monitor"), [("devise", "cider"), ("caption", "recall")])
def test_a_part_without_weight_is_left_out(data: Path, left_out: str, monitor: str) -> None:
    weights = {"caption": 1.0, "devise": 1.0, left_out: 0.0}
    task = task_of(data, monitor=monitor, caption=weights["caption"], devise=weights["devise"])
    names = {name.split(".")[0] for name in task.module.state_dict()}
    assert names == ({"encoder", "decoder"} if left_out == "devise" else {"encoder", "devise", "contrastive"})
    assert np.isfinite(first(task).item())
    task.module.eval()
    assert {"cider", "bleu4", "recall"} & set(task.evaluate()) == (
        {"cider", "bleu4"} if left_out == "devise" else {"recall"}
    )


@pytest.mark.parametrize(
    ("norms", "scale", "moved"), [(False, 0.02, set()), (True, 0.02, {"2", "3", "4"}), (True, 0.0, set())]
)
def test_statistics_of_batch_norm_and_the_first_blocks_stay(
    data: Path, norms: bool, scale: float, moved: set[str]
) -> None:
    task = task_of(data, norms=norms, encoder_scale=scale)
    before = {k: v.clone() for k, v in task.module.encoder.state_dict().items() if "running_mean" in k}
    first(task)
    after = task.module.encoder.state_dict()
    assert {k.split(".")[1] for k, v in before.items() if not torch.equal(v, after[k])} == moved
    assert (task.groups()[0].parameters == []) == (scale == 0)


def test_a_run_makes_a_whole_model(data: Path, tmp_path: Path) -> None:
    settings = {
        "decoder.embed": "12", "decoder.hidden": "24", "decoder.attention": "16", "decoder.max_len": "8",
        "task.batch": "9", "loop.epochs": "2", "loop.average": "0.0",
    }  # fmt: skip
    train("joint", Inputs(data, start=model_folder()), tmp_path / "run", "cpu", settings)
    record = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])
    assert {"cross_entropy", "top5", "cosine", "contrastive", "cider", "bleu4", "recall", "t2i_r1"} <= set(record)
    assemble(model_folder(), [tmp_path / "run"], tmp_path / "model", data)
    model = modelfolder.load(tmp_path / "model", "cpu")
    assert model.config.decoder is not None and model.config.decoder.kind == "adaptive"
    before = modelfolder.load(model_folder(), "cpu").encoder.state_dict()
    changed = {k.split(".")[1] for k, v in model.encoder.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"2", "3", "4"}
    found = FastModel(model).describe(torch.zeros(1, 64, 64, 3, dtype=torch.uint8)).captions
    assert found is not None and model.text(found[0][0])
    task = JointTask(JointConfig(batch=6), model, None, None, data, CPU)  # what a model has goes on
    assert task.module.decoder is model.decoder and task.module.devise is model.devise


def test_settings_that_do_not_fit_are_named(data: Path) -> None:
    with pytest.raises(ConfigError, match=r"task\.devise is 0"):
        JointConfig(monitor="recall", devise=0.0)
    with pytest.raises(ConfigError, match="vocabulary is not that of the data"):
        task_of(data, decoder=None)
    with pytest.raises(ConfigError, match="captions_per_photo is 0"):
        from_dict(JointConfig, {"captions_per_photo": 0}, "task")
    with pytest.raises(ConfigError, match="7 values, the targets 12"):
        task_of(data, head=DeviseConfig(16, 0.0, 7))
