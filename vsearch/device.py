"""Where tensors live and in which precision they are multiplied."""

from __future__ import annotations

import contextlib
import ctypes.util
import importlib.util
import os
import platform
import re
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsearch.distribution import install_hint
from vsearch.errors import VsearchError

if TYPE_CHECKING:
    import torch


def resolve(name: str = "auto") -> torch.device:
    """Return the device called auto, cpu, cuda, cuda:N or mps; auto takes the first accelerator there is.

    Raises VsearchError if it is not there, or torch is not installed.
    """
    need_torch(f"device {name!r}")
    import torch

    if name == "auto":
        found = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(found)
    try:
        device = torch.device(name)
    except RuntimeError:
        raise VsearchError(*_unknown(name)) from None
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        raise VsearchError(f"device {name!r} is not on this machine", "use `device` auto or `device` cpu")
    return device


def installed(package: str) -> bool:
    """Return whether a package is installed; it is not imported."""
    return importlib.util.find_spec(package) is not None


def need_torch(why: str) -> None:
    """Raise VsearchError with the command that installs torch if it is not there; `why` says why it takes that."""
    if not installed("torch"):
        raise VsearchError(f"{why}: that takes torch, which is not installed", install_hint("train"))


def onnx_cuda() -> bool:
    """Return whether the ONNX Runtime that is installed computes on CUDA cards (onnxruntime-gpu)."""
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def is_cpu(name: str = "auto") -> bool:
    """Return whether the device called `name`, as `resolve` takes it, is the processor; imports torch only if in doubt.

    Where torch is not installed, CUDA is there if ONNX Runtime computes on it. Raises VsearchError where there is no
    such device.
    """
    if name == "cpu" or (name == "auto" and not _accelerator_driver()):
        return True
    if installed("torch"):
        return resolve(name).type == "cpu"
    if name == "auto":
        return not onnx_cuda()
    if not re.fullmatch(r"(cuda|mps)(:\d+)?", name):
        raise VsearchError(*_unknown(name))
    if not (name == "cuda" and onnx_cuda()):
        need_torch(f"device {name!r}")
    return False


def threads() -> int:
    """Return how many threads this process may run on at once."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _unknown(name: str) -> tuple[str, str]:
    return f"unknown device {name!r}", "use auto, cpu, cuda, cuda:N or mps"


def _accelerator_driver() -> bool:
    """Return whether there is a driver of something that torch may take for `auto`."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if sys.platform == "win32":
        return ctypes.util.find_library("nvcuda") is not None
    return any(Path(name).exists() for name in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd"))  # NVIDIA, WSL, AMD


def fast_int8() -> bool:
    """Return whether the processor sums products of bytes in one step (VNNI, on ARM the dot product).

    Where it does not, sums of two such products are cut off at 16 bits, and results are wrong now and then. False, too,
    where this cannot be found out.
    """
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    return bool({"avx512_vnni", "avx_vnni", "asimddp"} & _processor_flags())


def _processor_flags() -> set[str]:
    """Return what Linux says that the processor can do; nothing where there is no Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text("ascii", "replace").splitlines()
    except OSError:
        return set()
    return set(next((line.split() for line in lines if line.startswith(("flags", "Features"))), []))


def fast_bf16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 natively, faster than float32."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def autocast(device: torch.device, enabled: bool = True) -> AbstractContextManager[Any]:
    """Return bfloat16 autocast where the device is fast at it, else float32 unchanged."""
    import torch

    if enabled and fast_bf16(device):
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return `tensor` on `device`; to a CUDA card it goes by way of pinned memory, and nobody waits for its arrival."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def seed_everything(seed: int) -> None:
    """Seed Python's and torch's global generators; NumPy's are made where they are used, from seeds of their own."""
    import random

    import torch

    random.seed(seed)
    torch.manual_seed(seed)
