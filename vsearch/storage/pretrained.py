"""Where pretrained weights come from: a local path, a file:// or an http(s) URL, always checked against a sha256.

Downloads are kept in the user's cache directory, and are there in whole or not at all. With VSEARCH_OFFLINE=1 in the
environment nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from vsearch.errors import ModelError, VsearchError
from vsearch.storage.codes import decoded

if TYPE_CHECKING:
    from torch import Tensor

    from vsearch.networks.encoder import Encoder

OFFLINE = "VSEARCH_OFFLINE"
TIMEOUT = 30.0  # seconds without an answer
CHUNK = 1 << 20


def offline() -> bool:
    """Return whether downloads are switched off."""
    return os.environ.get(OFFLINE, "").lower() not in {"", "0", "false", "no"}


def cache_folder() -> Path:
    """Return where downloads are kept."""
    from platformdirs import user_cache_path

    return user_cache_path("vsearch") / "downloads"


def fetch(source: str, sha256: str, cache: Path | None = None) -> Path:
    """Fetch the file that `source` names, a path or a file://, http:// or https:// URL, as a local path.

    `sha256` is the checksum in hexadecimal, or the start of it (8 digits at least). A download is kept in `cache`
    (None: the user's) and found there again. Raises VsearchError where the file is not to be had or downloads are
    switched off, ModelError where its checksum is wrong.
    """
    if not re.fullmatch(r"[0-9a-f]{8,64}", sha256):
        raise ValueError(f"not a sha256, nor the start of one: {sha256!r}")
    parts = urlsplit(source)
    if parts.scheme in {"http", "https"}:
        return _download(source, sha256, cache or cache_folder())
    path = Path(unquote(parts.path)) if parts.scheme == "file" else Path(source)
    if not path.is_file():
        raise VsearchError(f"no file at {path}", "check the path")
    _check(path, sha256, source)
    return path


def encoder(name: str, weights: Path | None = None) -> Encoder:
    """Load the torchvision network `name` as an encoder, with torchvision's ImageNet weights or those of a file.

    `weights` is a state dict of the whole network, .safetensors or torch's own. Raises ConfigError for an unknown name,
    ModelError where the weights are of another network or cannot be read, VsearchError where they are not to be had.
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
    """Load the ImageNet weights of the torchvision network `name`, for `Encoder.load_backbone`."""
    source, sha256 = backbone_source(name)
    return read_weights(fetch(source, sha256, cache))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the state dict in a file, .safetensors (8-bit codes too, `vsearch.storage.codes`) or torch's own.

    Raises ModelError where the file holds none.
    torchvision publishes weights as pickles: they are opened by torch's restricted reader, which runs no code.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return decoded(load_file(path))
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, SafetensorError) as error:
        raise ModelError(f"cannot read the weights {path}: {error}") from None
    return state


def backbone_source(name: str) -> tuple[str, str]:
    """Return the URL and start of the sha256 of torchvision's best ImageNet weights for the network `name`."""
    from vsearch.torchvision import torchvision

    try:
        url = str(torchvision().models.get_model_weights(name).DEFAULT.url)
    except ValueError:
        raise ModelError(f"torchvision has no weights for {name!r}") from None
    found = re.search(r"-([0-9a-f]{8,})\.pth$", url)  # torchvision names its files by their checksum
    if found is None:
        raise ModelError(f"the name of {url} holds no checksum")
    return url, found.group(1)


def _download(url: str, sha256: str, cache: Path) -> Path:
    target = cache / f"{sha256[:16]}-{Path(unquote(urlsplit(url).path)).name or 'file'}"
    if target.is_file():
        _check(target, sha256, str(target), "delete it and try again")
        return target
    if offline():
        raise VsearchError(f"{url} is not in {cache}, and {OFFLINE} is set", f"unset {OFFLINE}, or put it there")
    cache.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=cache, prefix=target.name, suffix=".partial")
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            _copy(url, file.fileno())
        _check(partial, sha256, url)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _copy(url: str, handle: int) -> None:
    """Write what `url` answers to an open file; an answer cut short is an error."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            expected, received = answer.headers.get("Content-Length"), 0
            while piece := answer.read(CHUNK):
                received += os.write(handle, piece)
    except OSError as error:  # URLError is one
        reason = getattr(error, "reason", error)
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise VsearchError(
            f"cannot download {url}: {reason}", "check the network, or set the file's local path"
        ) from None
    if expected is not None and received != int(expected):
        raise VsearchError(f"{url} broke off after {received} of {expected} bytes", "try again")


def _check(path: Path, sha256: str, source: str, hint: str = "the file is damaged or not the one expected") -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(sha256):
        raise ModelError(f"{source} has the sha256 {found[:16]}..., not {sha256[:16]}...", hint)
