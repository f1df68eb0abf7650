"""Captioning: speed against the tutorial's loop, and how good the trained decoders are against published ones.

    python -m benchmarks.captioning train-speed  [--data FILE --features FILE] [--repeats 5]
    python -m benchmarks.captioning decode-speed [--data FILE --features FILE] [--runs RUN] [--pictures 100]
    python -m benchmarks.captioning table --data FILE --features FILE --runs RUN ... [--split test] [--head RUN]

FILEs are what `vsearch prepare captions` and `prepare features` write, a RUN is an output folder of `vsearch train`.
Without files the speeds are measured on made-up cells and captions of Flickr8k's shape: 49 cells of 1,280 channels,
2,549 words, 11 words a caption. Reference and project take turns on the same batches; medians of wall time count.
Where the processor multiplies bfloat16, this project does so, as it does in use; the reference stays in float32.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import tutorial_loop
from benchmarks.tutorial_loop import TutorialDecoder
from training.data.caption_set import read_caption_set
from training.data.features import read_grid
from training.evaluate.decoder import evaluate_decoder
from training.tasks.caption import CaptionBatch, caption_loss
from training.tasks.decoding import generate, load_decoder
from vsearch.config import DecoderConfig
from vsearch.device import autocast, resolve
from vsearch.errors import ConfigError
from vsearch.networks.decoder import Decoder
from vsearch.networks.decoders import SoftAttentionDecoder, build_decoder
from vsearch.networks.fast.training import speed_up
from vsearch.text.vocab import END, SPECIALS, START, Vocabulary

CELLS, CHANNELS, WORDS, EACH = 49, 1280, 2_549, 5
COLUMNS = {
    "bleu1": "BLEU-1", "bleu2": "BLEU-2", "bleu3": "BLEU-3", "bleu4": "BLEU-4", "cider": "CIDEr", "rouge_l": "ROUGE-L",
    "vocabulary": "words used", "distinct": "distinct, %",
}  # fmt: skip
PUBLISHED: dict[str, dict[str, float]] = {
    "published: soft attention (Xu et al. 2015)": {"bleu1": 67.0, "bleu4": 19.5},
    "published: soft attention, frozen ResNet-50": {"bleu1": 60.0, "bleu4": 19.4},
    "published: adaptive, frozen VGG-16": {"bleu1": 61.9, "bleu4": 20.8, "cider": 50.8},
    "published: adaptive, fine-tuned ResNet-152": {"bleu1": 65.9, "bleu4": 23.5, "cider": 58.9},
    "a plain soft-attention script on these features": {"bleu1": 62.7, "bleu4": 21.3, "cider": 53.5},
}


@dataclass(frozen=True)
class Sample:
    """P photos with five captions each."""

    cells: Tensor  # (P, N, C) float16
    captions: Tensor  # (P, 5, L)
    lengths: Tensor  # (P, 5)
    vocabulary: Vocabulary


def made_up(photos: int, longest: int = 20) -> Sample:
    """Make up as many captions, words and cells as Flickr8k has for each photo, but without sense."""
    rng = np.random.default_rng(0)
    lengths = rng.normal(11, 3.5, (photos, EACH)).round().astype(np.int64).clip(4, longest) + 2
    ids = rng.integers(len(SPECIALS), WORDS, (photos, EACH, longest + 2))
    ids[..., 0] = START
    place = np.arange(longest + 2)
    ids[place == lengths[..., None] - 1] = END
    ids[place >= lengths[..., None]] = 0
    cells = torch.from_numpy(rng.normal(0.3, 0.6, (photos, CELLS, CHANNELS)).clip(0).astype(np.float16))
    vocabulary = Vocabulary([f"word{n}" for n in range(WORDS - len(SPECIALS))])
    return Sample(cells, torch.from_numpy(ids), torch.from_numpy(lengths), vocabulary)


def take(data: Path, features: Path, split: str, photos: int) -> Sample:
    """Return the first photos of a split."""
    captioned = read_caption_set(data)
    owned: dict[int, list[int]] = {int(row): [] for row in captioned.rows(split)}
    for caption, photo in enumerate(captioned.owner.tolist()):
        if photo in owned:
            owned[photo].append(caption)
    rows = [row for row, own in owned.items() if own][:photos]
    chosen = np.asarray([np.resize(owned[row], EACH) for row in rows])
    cells = torch.from_numpy(np.ascontiguousarray(read_grid(features, captioned.names[rows])[:, 0]))
    ids, lengths = torch.from_numpy(captioned.ids[chosen]), torch.from_numpy(captioned.lengths[chosen])
    return Sample(cells, ids, lengths, captioned.vocabulary)


def turns(sides: dict[str, Callable[[int], None]], repeats: int, wait: Callable[[], None]) -> dict[str, float]:
    """Return the median seconds of each side, called in turn with the number of the round; round 0 only warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for n in range(repeats + 1):
        for name, run in sides.items():
            started = time.perf_counter()
            run(n)
            wait()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(found[1:]) for name, found in seconds.items()}


def train_speed(sample: Sample, device: torch.device, batch: int, repeats: int) -> dict[str, float]:
    """Measure the captions per second of training: `batch` of them a step, one of each photo, and here five of each,
    too."""
    torch.manual_seed(0)
    ours = speed_up(build_decoder(DecoderConfig(kind="soft"), sample.cells.shape[2], len(sample.vocabulary)).to(device))
    assert isinstance(ours, SoftAttentionDecoder)
    theirs = TutorialDecoder(ours).to(device)
    optimizer = torch.optim.AdamW(ours.parameters(), 1e-4, fused=True)
    adam = torch.optim.Adam(theirs.parameters(), 1e-4)

    def reference(n: int) -> None:
        rows = torch.arange(n * batch, (n + 1) * batch) % len(sample.cells)
        inputs = sample.cells[rows], sample.captions[rows, 0], sample.lengths[rows, 0]
        tutorial_loop.training_step(theirs, adam, *(part.to(device) for part in inputs))

    def project(n: int, each: int) -> None:
        rows = torch.arange(n * batch // each, (n + 1) * batch // each) % len(sample.cells)
        group = CaptionBatch(sample.cells[rows], sample.captions[rows, :each], sample.lengths[rows, :each])
        with autocast(device):
            loss, _ = caption_loss(ours, group, smoothing=0.1, alpha=1.0)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(ours.parameters(), 5.0)
        optimizer.step()

    sides = {"tutorial": reference, "here": lambda n: project(n, 1), "here, 5 of each photo": lambda n: project(n, 5)}
    return {name: batch / s for name, s in turns(sides, repeats, waiting(device)).items()}


def decode_speed(
    sample: Sample, ours: Decoder, device: torch.device, beam: int, batch: int, repeats: int
) -> dict[str, float]:
    """Measure the photos per second: one at a time as the tutorial searches, and here `batch` at once. Same weights,
    same beam."""
    if not isinstance(ours, SoftAttentionDecoder):
        raise ConfigError("the tutorial has only soft attention", "name a run with a soft decoder")
    ours = ours.to(device).eval()
    theirs = TutorialDecoder(ours).to(device).eval()
    cells = sample.cells.numpy()

    def reference(n: int) -> None:
        for photo in sample.cells:
            tutorial_loop.caption(theirs, photo.to(device).float(), beam, ours.config.max_len)

    def project(n: int) -> None:
        generate(ours, sample.vocabulary, cells, device, beam, batch)

    found = turns({"tutorial": reference, "here": project}, repeats, waiting(device))
    return {name: len(cells) / s for name, s in found.items()}


def waiting(device: torch.device) -> Callable[[], None]:
    return (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else lambda: None


def table(
    runs: Sequence[Path], data: Path, features: Path, split: str, beam: int, device: torch.device,
    head: Path | None = None, agreement: float | None = None,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Return the metrics of each run, named by its decoder and folder; see
    `training.evaluate.decoder.evaluate_decoder`."""
    rows = {}
    for run in runs:
        found = evaluate_decoder(run, data, features, split, (beam,), device, head=head, agreement=agreement)
        recipe = json.loads((run / "recipe.json").read_text("utf-8"))
        stage = ", self-critical" if recipe["kind"] == "self-critical" else ""
        stage += "" if head is None else ", agreed with the head"
        kind = recipe["decoder"].get("kind", DecoderConfig().kind)
        rows[f"here: {kind}{stage} ({run.name})"] = {k.removesuffix(f"_beam{beam}"): v for k, v in found.items()}
    return rows


def markdown(rows: dict[str, dict[str, float]]) -> str:
    lines = [f"| decoder | {' | '.join(COLUMNS.values())} |", "|---|" + "---:|" * len(COLUMNS)]
    for name, row in rows.items():
        values = [
            f"{row[c]:.0f}" if c == "vocabulary" and c in row else f"{row[c]:.1f}" if c in row else "-" for c in COLUMNS
        ]
        lines.append(f"| {name} | {' | '.join(values)} |")
    return "\n".join(lines)


def speeds(rates: dict[str, float], unit: str) -> str:
    return "\n".join(f"{n:<24}{r:>10.1f} {unit}{r / rates['tutorial']:>8.2f} x" for n, r in rates.items())


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train-speed", "decode-speed", "table"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--features", type=Path)
    parser.add_argument("--runs", type=Path, nargs="+", default=[])
    parser.add_argument("--head", type=Path, help="table: a DeViSE training that has a say in captions ...")
    parser.add_argument("--agreement", type=float, help="... and how much it counts; default: the decoder's own")
    parser.add_argument("--split", default="test")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument(
        "--batch", type=int, default=100, help="captions of a training step, or photos searched at once"
    )
    parser.add_argument("--pictures", type=int, default=100, help="photos that are decoded for speed")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, help="write the results there")
    found = parser.parse_args(given)
    if (found.data is None) != (found.features is None):
        parser.error("--data and --features go together")
    if found.what == "table" and (found.data is None or not found.runs):
        parser.error("table needs --data, --features and --runs")
    return found


def main(given: Sequence[str] | None = None) -> None:
    a, result = arguments(given), {}
    device = resolve(a.device)
    print(f"{device}, {torch.get_num_threads()} threads, {a.repeats} repeats" if a.what != "table" else str(device))
    if a.what == "table":
        rows = {**PUBLISHED, **table(a.runs, a.data, a.features, a.split, a.beam, device, a.head, a.agreement)}
        print(markdown(rows))
        result = {"split": a.split, "beam": a.beam, "rows": rows}
    elif a.what == "train-speed":
        photos = a.batch * (a.repeats + 1)
        sample = made_up(photos) if a.data is None else take(a.data, a.features, "train", photos)
        rates = train_speed(sample, device, a.batch, a.repeats)
        print(speeds(rates, "captions/s"))
        result = {"batch": a.batch, "captions_per_second": rates}
    else:
        sample = made_up(a.pictures) if a.data is None else take(a.data, a.features, a.split, a.pictures)
        shape = sample.cells.shape[2], len(sample.vocabulary)
        decoder = load_decoder(a.runs[0], *shape) if a.runs else build_decoder(DecoderConfig(kind="soft"), *shape)
        rates = decode_speed(sample, decoder, device, a.beam, a.batch, a.repeats)
        print(speeds(rates, "photos/s"))
        result = {"batch": a.batch, "beam": a.beam, "pictures": len(sample.cells), "photos_per_second": rates}
    if a.json:
        a.json.write_text(json.dumps({"device": str(device), **result}, indent=2) + "\n")


if __name__ == "__main__":
    main()
