"""Devices, precision and seeds."""

from __future__ import annotations

import os
import platform
import random
import subprocess
import sys
from contextlib import nullcontext
from typing import cast

import pytest
import torch

from vsearch import device
from vsearch.errors import VsearchError
from vsearch.networks.fast.process import half_factors


def test_cpu_is_always_there() -> None:
    assert device.resolve("cpu") == torch.device("cpu")


@pytest.mark.parametrize(("cuda", "mps", "expected"), [(1, 1, "cuda"), (0, 1, "mps"), (0, 0, "cpu")])
def test_auto_takes_the_first_accelerator(monkeypatch: pytest.MonkeyPatch, cuda: int, mps: int, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(cuda))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: bool(mps))
    assert device.resolve("auto").type == expected


def test_numbered_cuda_device_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device.resolve("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(VsearchError, match="cuda:2") as caught:
        device.resolve("cuda:2")
    assert "`device` auto" in caught.value.hint


@pytest.mark.parametrize("name", ["gpu", "", "xla", "cuda:x"])
def test_unknown_devices_are_refused(name: str) -> None:
    with pytest.raises(VsearchError) as caught:
        device.resolve(name)
    assert caught.value.hint


def test_autocast_is_bfloat16_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for native in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert device.fast_bf16(cpu) is native
        with device.autocast(cpu):
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert product.dtype == (torch.bfloat16 if native else torch.float32)
    assert isinstance(device.autocast(cpu, enabled=False), nullcontext)


def test_seed_reaches_both_generators() -> None:
    drawn = []
    for _ in range(2):
        device.seed_everything(2**32 + 5)
        drawn.append((random.random(), float(torch.rand(1))))
    assert drawn[0] == drawn[1]


def test_keeping_memory_spares_page_faults() -> None:
    """Eight times a block of 64 MiB, written from end to end: new pages each time, unless the freed ones are kept."""
    script = """
import resource, sys, numpy as np
from vsearch.networks.fast.process import keep_memory
if sys.argv[1] == "keep":
    keep_memory()
def touch():
    np.ones(8 << 20)
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = {}
    for how in ("keep", "default"):
        run = subprocess.run([sys.executable, "-c", script, how], capture_output=True, text=True, check=True)
        faults[how] = int(run.stdout)
    assert faults["keep"] <= faults["default"]
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        assert faults["keep"] < 100


def test_kept_kernels_are_not_compiled_again() -> None:
    """Eight shapes multiplied twice: compiled once each where the cache is ours, twice where it holds but four.

    Where torch multiplies by other means than oneDNN nothing is compiled, and nothing is to be kept.
    """
    script = """
import torch
from vsearch.networks.fast.process import keep_kernels
keep_kernels()
for n in [*range(33, 41)] * 2:
    torch.ones(n, 64, dtype=torch.bfloat16) @ torch.ones(64, 64, dtype=torch.bfloat16)
"""
    compiled = {}
    for capacity in ("", "4"):
        environment = {k: v for k, v in os.environ.items() if k != "ONEDNN_PRIMITIVE_CACHE_CAPACITY"}
        environment |= {"ONEDNN_VERBOSE": "profile_create"}
        environment |= {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": capacity} if capacity else {}
        call = [sys.executable, "-c", script]
        run = subprocess.run(call, capture_output=True, text=True, check=True, env=environment)
        compiled[capacity] = run.stdout.count("create:cache_miss")
    assert compiled in ({"": 8, "4": 16}, {"": 0, "4": 0})


def test_half_factors_keep_the_digits_of_sums() -> None:
    """257 is no bfloat16 (256 and 258 are), but stands as a sum of ones; and afterwards all is as it was."""
    matmul = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = matmul.fp32_precision
    with half_factors(True):
        total = torch.ones(32, 257) @ torch.ones(257, 32)
    assert matmul.fp32_precision == before
    assert (total == 257).all()


class Recorded:
    """Stands for a tensor on the CPU, where there is no card: what is done to it is written down."""

    def __init__(self, steps: list[str]) -> None:
        self.device, self.steps = torch.device("cpu"), steps

    def pin_memory(self) -> Recorded:
        self.steps.append("pinned")
        return self

    def to(self, device: torch.device, non_blocking: bool = False) -> Recorded:
        self.steps.append(f"{device.type}{', not waited for' if non_blocking else ''}")
        return self


def test_what_goes_to_a_card_is_pinned_and_not_waited_for() -> None:
    steps: list[str] = []
    device.moved(cast(torch.Tensor, Recorded(steps)), torch.device("cuda"))
    assert steps == ["pinned", "cuda, not waited for"]
    tensor = torch.arange(3)
    assert device.moved(tensor, torch.device("cpu")) is tensor
