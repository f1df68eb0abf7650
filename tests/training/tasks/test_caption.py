"""Caption tasks: what a batch holds, scheduled sampling, word vectors, and the self-critical stage."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.support.tiny_model import words_file
from tests.support.training_data import captions_with_two_views
from training.recipe import Inputs
from training.run import train
from training.tasks.caption import CaptionTask, CaptionTaskConfig
from training.tasks.self_critical import SelfCriticalConfig, SelfCriticalTask, packed, policy_loss
from vsearch.config import DecoderConfig, from_dict
from vsearch.errors import ConfigError, DataError
from vsearch.networks.decoders import AdaptiveDecoder
from vsearch.text.vectors import WordVectors
from vsearch.text.vocab import END, START

CPU = torch.device("cpu")
SMALL = {"embed": 12, "hidden": 24, "attention": 16, "dropout": 0.0, "max_len": 8}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return captions_with_two_views(tmp_path_factory.mktemp("data"))


def task(inputs: Inputs, kind: str = "soft", **settings: object) -> CaptionTask:
    assert inputs.features is not None
    config = CaptionTaskConfig(**{"batch": 6, **settings})  # type: ignore[arg-type]
    return CaptionTask(config, DecoderConfig(kind=kind, **SMALL), inputs.data, inputs.features, CPU)  # type: ignore[arg-type]


@pytest.mark.parametrize("each", [1, 2, 3])
def test_an_epoch_has_every_caption_with_its_own_photo(inputs: Inputs, each: int) -> None:
    """Nine photos with two captions: in groups of 1, 2 or 3 (one told twice) that is 18, 9 or 9 groups."""
    subject = task(inputs, captions_per_photo=each)
    assert subject.steps(0) == (18 if each == 1 else 9) * each // 6
    plain = subject.grid.astype(np.float32)
    seen, views = [], set()
    for batch in subject.batches(0, torch.Generator().manual_seed(0)):
        assert batch.captions.shape[:2] == (6 // each, each)
        for memory, own in zip(batch.memory.float().numpy(), batch.captions, strict=True):
            photo, view = np.argwhere((plain == memory).all((2, 3)))[0]
            views.add(int(view))
            for ids in own:
                rows = np.flatnonzero((subject.captioned.ids == ids.numpy()).all(1))
                assert int(photo) in subject.captioned.owner[rows]
                seen.append(tuple(ids.tolist()))
    assert views == {0, 1}
    assert len(seen) == subject.steps(0) * 6


def test_scheduled_sampling_rises_to_its_ceiling() -> None:
    config = CaptionTaskConfig(sampling_from=3, sampling_step=0.1, sampling_ceiling=0.25)
    assert [config.sampling(epoch) for epoch in range(6)] == pytest.approx([0, 0, 0.1, 0.2, 0.25, 0.25])
    assert CaptionTaskConfig().sampling(50) == 0


def test_scheduled_sampling_reaches_the_decoder(inputs: Inputs) -> None:
    subject = task(inputs, sampling_step=1.0, sampling_ceiling=1.0)
    batch = next(iter(subject.batches(0, torch.Generator().manual_seed(0))))
    assert batch.sampling == 1.0
    fed, sampled = (subject.loss(replace(batch, sampling=p)).value.item() for p in (0.0, 1.0))
    assert fed == pytest.approx(subject.loss(replace(batch, sampling=0.0)).value.item())
    assert fed != pytest.approx(sampled, abs=1e-5)


def test_a_sentinel_pays_no_penalty(inputs: Inputs) -> None:
    """Where the sentinel has all attention, each cell is a whole short of one: the penalty is 1 for each of them."""
    subject = task(inputs, "adaptive")
    decoder = subject.module.decoder
    assert isinstance(decoder, AdaptiveDecoder) and decoder.attention.score is not None
    with torch.no_grad():
        decoder.attention.score.weight.fill_(1.0)
        decoder.sentinel_key.bias.add_(1e3)
    batch = next(iter(subject.batches(0, torch.Generator().manual_seed(0))))
    assert float(subject.loss(batch).parts["stochastic"].detach()) == pytest.approx(1.0)


@pytest.mark.parametrize("way", ["tuned", "frozen"])
def test_embedding_starts_from_word_vectors(inputs: Inputs, way: str) -> None:
    subject, space = task(inputs, word_vectors=way), WordVectors.load(words_file())
    weight = subject.module.decoder.embedding.weight
    for word in ("dog", "boat"):
        assert weight[subject.vocabulary.id(word)].detach().numpy() == pytest.approx(space.unit(word), abs=1e-3)
    assert weight[START].detach().abs().max() > 0  # specials keep their random start
    assert weight.requires_grad == (way == "tuned")
    assert any(p is weight for g in subject.groups() for p in g.parameters) == (way == "tuned")


def test_word_vectors_that_do_not_fit_are_named(inputs: Inputs, tmp_path: Path) -> None:
    assert inputs.features is not None
    config, decoder = CaptionTaskConfig(word_vectors="tuned"), DecoderConfig(**{**SMALL, "embed": 9})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"decoder\.embed is 9, the word vectors have 12"):
        CaptionTask(config, decoder, inputs.data, inputs.features, CPU)
    old = tmp_path / "old.h5"
    old.write_bytes(inputs.data.read_bytes())
    with h5py.File(old, "r+") as file:
        del file["words"]
    with pytest.raises(DataError, match="no table of words"):
        CaptionTask(config, decoder, old, inputs.features, CPU)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch": 6, "captions_per_photo": 4}, "captions_per_photo 4"),
        ({"monitor": "loss"}, "'loss'"),
        ({"word_vectors": "yes"}, "'yes'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(CaptionTaskConfig, settings, "task")


def test_policy_gradient_by_hand() -> None:
    """Two words with logits 0 and 0, so p = 1/2. The first was drawn and scored 0.6 above the baseline.

    loss = -0.6 log p1, d log p1 / dz = (1 - p1, -p2) = (1/2, -1/2), so dloss/dz = (-0.3, 0.3): descent raises the
    first. A second row drew the second word, 0.4 below the baseline: dloss/dz = 0.4 (-p1, 1 - p2) = (-0.2, 0.2). The
    loss is the mean of both, which halves the gradients.
    """
    logits = torch.zeros(2, 6, requires_grad=True)
    with torch.no_grad():
        logits[:, END] = -torch.inf
        logits[:, [0, 1, 3]] = 50.0  # never drawn: without weight whatever their logits are
    loss = policy_loss(logits, torch.tensor([4, 5]), torch.tensor([0.6, -0.4]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx((0.6 - 0.4) * np.log(2) / 2)
    assert logits.grad is not None
    assert logits.grad[:, 4:].flatten().tolist() == pytest.approx([-0.15, 0.15, -0.1, 0.1])
    assert not logits.grad[:, :4].any()


def test_packed_values_follow_their_captions() -> None:
    """Lengths 2 and 4 count the start mark: one word and three, the longer caption first in each step."""
    assert packed(torch.tensor([[5.0, 7.0]]), torch.tensor([[2, 4]])).tolist() == [7, 5, 7, 7]


@pytest.fixture(scope="module")
def started(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with a decoder that knows its captions somewhat."""
    torch.manual_seed(0)
    folder, subject = tmp_path_factory.mktemp("run"), task(inputs, batch=18, label_smoothing=0.0)
    optimizer = torch.optim.Adam(subject.module.parameters(), lr=0.02)
    for epoch in range(25):
        [batch] = subject.batches(epoch, torch.Generator().manual_seed(epoch))
        optimizer.zero_grad()
        subject.loss(batch).value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    save_file(subject.module.state_dict(), folder / "best.safetensors")
    return folder


def critical(inputs: Inputs, start: Path | str, **settings: object) -> SelfCriticalTask:
    assert inputs.features is not None
    config = SelfCriticalConfig(**{"start": str(start), "batch": 3, "samples": 4, **settings})  # type: ignore[arg-type]
    return SelfCriticalTask(config, DecoderConfig(kind="soft", **SMALL), inputs.data, inputs.features, CPU)  # type: ignore[arg-type]


def test_reward_counts_the_end_mark(inputs: Inputs, started: Path) -> None:
    """The photo's own caption scores more when it ends than when it is cut off before the end mark."""
    subject = critical(inputs, started)
    photo = int(subject.photos[0])
    whole = subject.captioned.ids[subject.captions[photo][0]].tolist()
    cut = [i for i in whole if i != END]
    ended, open_ = subject.rewards([whole, cut], [photo, photo]).tolist()
    assert 0 < open_ < ended <= 10


@pytest.mark.parametrize("baseline", ["others", "greedy"])
def test_baselines(inputs: Inputs, started: Path, baseline: str) -> None:
    subject = critical(inputs, started, baseline=baseline)
    batch = next(iter(subject.batches(0, torch.Generator().manual_seed(0))))
    torch.manual_seed(0)
    ids, lengths, rewards, base = subject.explore(batch)
    assert ids.shape[:2] == lengths.shape == rewards.shape == base.shape == (3, 4)
    own = subject.rewards([row.tolist() for row in ids.flatten(0, 1)], np.repeat(batch.photos.numpy(), 4))
    assert rewards.flatten().tolist() == pytest.approx(own.tolist())
    if baseline == "greedy":
        assert (base == base[:, :1]).all()
    else:
        assert base[1, 2].item() == pytest.approx((rewards[1].sum() - rewards[1, 2]).item() / 3)


def test_reward_rises(inputs: Inputs, started: Path) -> None:
    """Forty steps on the same nine photos, only by the reward: it doubles, whatever the start (six were tried)."""
    subject = critical(inputs, started, batch=9, samples=32, xe_weight=0.0)
    batch = next(iter(subject.batches(0, torch.Generator().manual_seed(0))))
    optimizer = torch.optim.Adam(subject.module.parameters(), lr=0.01)
    torch.manual_seed(0)
    rewards = []
    for _ in range(40):
        loss = subject.loss(batch)
        assert set(loss.parts) == {"reward", "baseline", "words"}
        rewards.append(loss.parts["reward"].item())
        optimizer.zero_grad()
        loss.value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert np.mean(rewards[-5:]) > 1.5 * np.mean(rewards[:5])


def test_a_self_critical_run_leaves_what_it_promises(inputs: Inputs, started: Path, tmp_path: Path) -> None:
    settings = {f"decoder.{name}": str(value) for name, value in SMALL.items()}
    more = {"decoder.kind": "soft", "task.start": str(started), "task.batch": "3", "loop.epochs": "1"}
    train("self-critical", inputs, tmp_path, "cpu", {**settings, **more})
    record = json.loads((tmp_path / "log.jsonl").read_text())
    assert {"reward", "baseline", "words", "cross_entropy", "cider", "bleu4"} <= set(record)
    assert (tmp_path / "best.safetensors").is_file()


def test_self_critical_wants_a_start_that_fits(inputs: Inputs, started: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="start is empty"):
        critical(inputs, "")
    with pytest.raises(DataError, match="cannot read"):
        critical(inputs, tmp_path)
    assert inputs.features is not None
    with pytest.raises(DataError, match="another network"):
        other = DecoderConfig(kind="gru", **SMALL)  # type: ignore[arg-type]
        SelfCriticalTask(SelfCriticalConfig(start=str(started)), other, inputs.data, inputs.features, CPU)
    with pytest.raises(ConfigError, match="samples is 1"):
        SelfCriticalConfig(samples=1)
