"""Training in several processes: what two gloo processes find is what one finds."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.support import training_worker
from training.loop import distributed
from training.loop.config import LoopConfig
from training.loop.fit import fit
from vsearch.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
WAIT = 240  # seconds; two processes import torch on a busy machine


def environment(**more: str) -> dict[str, str]:
    """That of torchrun's processes: only loopback, one thread each."""
    kept = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **more}


def two_processes(folder: Path) -> list[tuple[int, str]]:
    """Exit code and stderr of both; raises TimeoutExpired where one does not end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    places = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-W", "error", str(ROOT / "tests/support/training_worker.py"), str(folder)]
    running = [
        subprocess.Popen(
            command, env=environment(RANK=str(r), LOCAL_RANK=str(r), **places), stderr=subprocess.PIPE, text=True
        )
        for r in range(2)
    ]
    try:
        told = [process.communicate(timeout=WAIT)[1] for process in running]
    finally:
        for process in running:
            process.kill()
    return [(process.returncode, text) for process, text in zip(running, told, strict=True)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("distributed")
    training_worker.prepared(place)
    return place


@pytest.fixture(scope="module")
def ends(folder: Path) -> list[tuple[int, str]]:
    return two_processes(folder)


@pytest.fixture(scope="module")
def found(folder: Path, ends: list[tuple[int, str]]) -> list[dict[str, Any]]:
    files = [folder / f"rank{rank}.json" for rank in range(2)]
    assert all(file.is_file() for file in files), ends
    return [json.loads(file.read_text()) for file in files]


def test_gathered_rows_are_those_of_one_process_in_value_and_gradient(found: list[dict[str, Any]]) -> None:
    alone = training_worker.gathered()
    for one in found:
        assert one["value"] == alone["value"]
        assert torch.allclose(torch.tensor(one["grad"]), torch.tensor(alone["grad"]))
    assert [one["shard"] for one in found] == [alone["shard"][0::2], alone["shard"][1::2]]


def test_unlike_means_become_one(found: list[dict[str, Any]]) -> None:
    # The first process has 0, the other 0, 1, 2: the mean of all four is 3 / 4, not (0 + 1) / 2.
    assert [one["mean"] for one in found] == pytest.approx([0.75, 0.75])


def test_the_first_process_has_the_word(found: list[dict[str, Any]]) -> None:
    # Its rank, 0, reaches both; fit reports only to it, once in each of the two epochs of four steps.
    assert [one["told"] for one in found] == [[0.0, 2], [0.0, 0]]


def test_what_would_go_wrong_is_refused_by_all(found: list[dict[str, Any]]) -> None:
    for one in found:
        uneven, same, other = one["refused"]
        assert uneven == "a batch of 5 does not divide among 2 processes"
        assert same == ""
        assert other == "the processes do not see the same checkpoint"


@pytest.mark.parametrize("name", ["devise", "caption"])
def test_losses_are_those_of_one_process(folder: Path, found: list[dict[str, Any]], name: str) -> None:
    alone = training_worker.losses(getattr(training_worker, name)(folder))
    assert len(alone) >= 4
    assert found[0][name] == found[1][name] == pytest.approx(alone, rel=1e-4)


def test_weights_are_those_of_one_process(folder: Path, found: list[dict[str, Any]], tmp_path: Path) -> None:
    fit(training_worker.devise(folder), training_worker.CONFIG, tmp_path, training_worker.CPU)
    task = training_worker.devise(folder)
    more = LoopConfig(epochs=3, lr=0.02, bf16=False, average=0.9, schedule="constant")
    fit(task, more, tmp_path, training_worker.CPU)
    for name, value in task.module.state_dict().items():
        for one in found:
            assert torch.allclose(torch.tensor(one["weights"][name]), value, atol=1e-4), name
    both, single = (load_file(run / "best.safetensors") for run in (folder / "run", tmp_path))
    assert all(torch.allclose(both[k], single[k], atol=1e-4) for k in single)
    logs = [(run / "log.jsonl").read_text().splitlines() for run in (folder / "run", tmp_path)]
    assert [len(log) for log in logs] == [3, 3]
    for line, other in zip(*logs, strict=True):
        for key, expected in json.loads(other).items():
            if key not in ("seconds", "items_per_second"):
                assert json.loads(line)[key] == pytest.approx(expected, rel=1e-3), key


def test_a_bad_loss_in_one_process_stops_all_at_the_same_step(folder: Path, found: list[dict[str, Any]]) -> None:
    assert found[0]["stopped"] == found[1]["stopped"]
    assert "epoch 1, step 2;" in found[0]["stopped"]
    assert not list((folder / "nan").iterdir())


def test_where_one_process_fails_the_other_ends_too(ends: list[tuple[int, str]]) -> None:
    (first, _), (second, told) = ends
    assert first != 0 and second != 0
    assert "this process has had enough" in told
    assert "find_unused_parameters" not in told  # nor does torch warn of what is meant to be so


def test_torchrun_trains_and_speaks_once(folder: Path, tmp_path: Path) -> None:
    small = {"devise.dim": training_worker.DIM, "task.batch": 8, "task.label_batch": 0, "loop.epochs": 1}
    settings = [word for key, value in small.items() for word in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "cli"]
    command += ["train", "devise", "--data", str(folder / "captions.h5"), "--features", str(folder / "features.h5")]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "run"), "--device", "cpu", *settings],
        env=environment(), capture_output=True, text=True, timeout=WAIT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / "run")]
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 1


def test_one_process_alone_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.rand(3, 2, requires_grad=True)
    assert distributed.shard(x) is x and distributed.gather(x) is x and distributed.weighted_mean(x, 3) is x
    assert (distributed.world(), distributed.rank(), distributed.first()) == (1, 0, True)
    with distributed.process_group("cpu") as device:
        assert device == torch.device("cpu")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert distributed.started() and not distributed.first()
    with pytest.raises(ConfigError, match="each process its device"), distributed.process_group("cuda:1"):
        pass
