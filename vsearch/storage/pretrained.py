"""Where pretrained weights come from: a file, or torchvision, which downloads them and checks their sha256.

Downloads are kept in the user's cache directory, and are there in whole or not at all. With VSEARCH_OFFLINE=1 in the
environment nothing is downloaded. Pickles are opened only by torch's restricted reader, which runs no code.
"""

from __future__ import annotations

import os
import pickle
import re
import socket
import sys
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from vsearch.errors import ModelError, VsearchError
from vsearch.files import sha256
from vsearch.storage.codes import decoded

if TYPE_CHECKING:
    from torch import Tensor

    from vsearch.networks.encoder import Encoder

OFFLINE = "VSEARCH_OFFLINE"
TIMEOUT = 30.0  # seconds without an answer
UNREADABLE = (OSError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError)  # a file of torch, or a download


def offline() -> bool:
    """Return whether downloads are switched off."""
    return os.environ.get(OFFLINE, "").lower() not in {"", "0", "false", "no"}


def cache_folder() -> Path:
    """Return where downloads are kept."""
    from platformdirs import user_cache_path

    return user_cache_path("vsearch") / "downloads"


def encoder(name: str, weights: Path | None = None) -> Encoder:
    """Load the torchvision network `name` as an encoder, with torchvision's ImageNet weights or those of a file.

    `weights` is a state dict of the whole network, .safetensors or torch's own. Raises ConfigError for an unknown name,
    ModelError if the weights are of another network or cannot be read, VsearchError if they are not to be had.
    """
    from vsearch.config import EncoderConfig
    from vsearch.networks.encoder import Encoder

    made = Encoder(EncoderConfig(name))
    state = backbone_weights(name) if weights is None else read_weights(weights)
    try:
        made.load_backbone(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{weights or 'what was downloaded'} holds no weights of {name}: {reason}") from None
    return made


def backbone_weights(name: str, cache: Path | None = None) -> dict[str, Tensor]:
    """Load torchvision's best ImageNet weights of the network `name`, for `Encoder.load_backbone`.

    torchvision downloads them into `cache` (None: the user's), where they are found again. They must have the checksum
    that their name bears. Raises VsearchError where they are not to be had or downloads are switched off, ModelError
    where the checksum is wrong, the file holds no weights, or there are none for `name`.
    """
    weights = best_weights(name)
    url, folder = str(weights.url), cache or cache_folder()
    target = folder / Path(urlsplit(url).path).name
    begin = re.search(r"-([0-9a-f]{8,})\.pth$", target.name)
    if begin is None:  # torchvision would check nothing
        raise ModelError(f"the name of {url} holds no checksum")
    if target.is_file():  # torchvision checks only what it downloads
        found = sha256(target)
        if not found.startswith(begin[1]):
            message = f"{target} has the sha256 {found[:16]}..., not {begin[1]}..."
            raise ModelError(message, "delete it and try again")
    elif offline():
        raise VsearchError(f"{url} is not in {folder}, and {OFFLINE} is set", f"unset {OFFLINE}, or put it there")
    try:
        with _patience():
            state: dict[str, Tensor] = weights.get_state_dict(
                model_dir=os.fspath(folder), map_location="cpu", progress=False, check_hash=True, weights_only=True
            )
    except UNREADABLE as error:
        raise _told(error, url, target) from None
    return state


def best_weights(name: str) -> Any:
    """Return what torchvision says of its best ImageNet weights for a network. Raises ModelError where it has none."""
    from vsearch.torchvision import torchvision

    try:
        return torchvision().models.get_model_weights(name).DEFAULT
    except ValueError:
        raise ModelError(f"torchvision has no weights for {name!r}") from None


@contextmanager
def _patience() -> Iterator[None]:
    """Let no connection that is opened within the block wait longer than TIMEOUT, and print nothing to stdout."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        with redirect_stdout(sys.stderr):  # where torch says what it downloads
            yield
    finally:
        socket.setdefaulttimeout(before)


def _told(error: Exception, url: str, target: Path) -> VsearchError:
    """Return what a user is told of an error of the download or, once it is whole, of the reading."""
    if target.is_file():
        return ModelError(f"cannot read the weights {target}: {error}")
    if isinstance(error, OSError):  # URLError is one
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        reason = getattr(error, "reason", error)
        return VsearchError(f"cannot download {url}: {reason}", "check the network, or set the file's local path")
    return ModelError(f"{url} came broken: {error}", "try again; else the file is not the one expected")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the state dict in a file, .safetensors (8-bit codes too, `vsearch.storage.codes`) or torch's own.

    Raises ModelError if the file holds none.
    torchvision publishes weights as pickles: they are opened by torch's restricted reader, which runs no code.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return decoded(load_file(path))
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (*UNREADABLE, SafetensorError) as error:
        raise ModelError(f"cannot read the weights {path}: {error}") from None
    return state
