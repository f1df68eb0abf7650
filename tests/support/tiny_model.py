"""A model folder so small that any test can make one: random weights, fastText vectors trained on a few sentences."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[2]
SENTENCES = [
    "a brown dog runs through the green grass",
    "a black dog jumps into the blue water",
    "two children play on the sandy beach",
    "a man in a red shirt rides a bicycle",
    "a boat with a white sail on the sea",
    "a woman in a hat walks through the snow",
    "a yellow hot dog with mustard on a plate",
    "the engine of an old boat",
] * 8
PICTURES = {
    "red.png": (200, 30, 30),
    "green.jpg": (30, 180, 40),
    "blue.webp": (20, 40, 200),
    "grey.bmp": (120, 120, 120),
}


@functools.cache
def scratch() -> Path:
    """A folder that goes with the process."""
    folder = Path(tempfile.mkdtemp(prefix="vsearch-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def model_folder(seed: int = 0, kind: str = "soft") -> Path:
    """The folder of a tiny joint model with words and a decoder of that kind; every seed is another model."""
    import torch

    from vsearch.config import DecoderConfig, DeviseConfig, ModelConfig, PreprocessConfig, WordsConfig
    from vsearch.networks.joint import build_model
    from vsearch.storage import modelfolder
    from vsearch.text.phrase import PhraseSpace
    from vsearch.text.tokenise import tokenise
    from vsearch.text.vectors import WordVectors
    from vsearch.text.vocab import Vocabulary

    words = words_file()
    captions = [tokenise(line) for line in SENTENCES]
    vectors = WordVectors.load(words)
    config = ModelConfig(
        preprocess=PreprocessConfig(side=64),
        devise=DeviseConfig(hidden=32, dropout=0.0, dim=vectors.dim),
        decoder=DecoderConfig(kind=kind, embed=16, hidden=24, attention=24, max_len=6, beam=3),
        words=WordsConfig(dim=vectors.dim),
    )
    torch.manual_seed(seed)
    model = build_model(config, Vocabulary.count(captions, 1))
    folder = scratch() / f"model-{kind}-{seed}"
    modelfolder.save(model, folder, words, PhraseSpace.fit(vectors, captions))
    return folder


@functools.cache
def words_file() -> Path:
    import fasttext

    text, words = scratch() / "sentences.txt", scratch() / "words.bin"
    text.write_text("\n".join(SENTENCES) + "\n")
    settings = {"dim": 12, "minCount": 1, "bucket": 500, "epoch": 2, "thread": 1, "verbose": 0}
    fasttext.train_unsupervised(str(text), model="skipgram", **settings).save_model(str(words))
    return words


def draw_pictures(folder: Path) -> Path:
    """Four pictures in four formats, unlike each other, all readable."""
    folder.mkdir(parents=True, exist_ok=True)
    for n, (name, colour) in enumerate(PICTURES.items()):
        image = Image.new("RGB", (96, 80), colour)
        ImageDraw.Draw(image).ellipse((10 + 8 * n, 10, 60, 70 - 6 * n), fill=(255 - colour[0], 90 * (n % 3), 60))
        image.save(folder / name)
    return folder


def run(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """`python cli.py ...` in a process of its own; stdout and stderr as bytes."""
    command = [sys.executable, str(ROOT / "cli.py"), *(os.fspath(a) for a in arguments)]
    return subprocess.run(command, capture_output=True, check=False, timeout=120)


@functools.cache
def int8_folder() -> Path:
    """A copy of `model_folder()` with its encoder in eight bits, too."""
    from tests.support.pictures import draw_folder
    from training.assemble.onnx import export_onnx

    folder = scratch() / "model-int8"
    shutil.copytree(model_folder(), folder)
    draw_folder(scratch() / "export", 40)
    export_onnx(folder, scratch() / "export")
    return folder
