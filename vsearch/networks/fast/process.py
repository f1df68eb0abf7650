"""Equals the same products of matrices (`torch.Tensor.__matmul__`): settings of the process that speed them up.

`keep_memory` and `keep_kernels` change no result; `half_factors` rounds what is multiplied to bfloat16.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def half_factors(enabled: bool) -> Iterator[None]:
    """Multiply float32 matrices on a CPU, where `enabled`, as if rounded to bfloat16, and sum in float32.

    Unlike under autocast the products keep all their digits, and are as quick. The setting is the process's own.
    """
    if not enabled:
        yield
        return
    import torch

    matmul = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = before


def keep_memory() -> None:
    """Have the C library keep large blocks that are freed, where it is glibc, until the process ends.

    By default it gives them back to the kernel at once, and a training on a CPU, which asks for the same tensors in
    every step, spends a fifth of its time on having their pages zeroed again.
    """
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    mallopt(mmap_threshold, 2**30)
    mallopt(trim_threshold, 2**31 - 1)


def keep_kernels() -> None:
    """Have torch keep the CPU kernels that it compiles for each new shape of a matrix product.

    Of the 1,024 it keeps by default none is left when its shape comes again in teacher forcing, where the number of
    captions still going falls from step to step: compiling again takes as long as multiplying. Without effect after the
    first product of the process, or where the user has set the variable.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16384")
