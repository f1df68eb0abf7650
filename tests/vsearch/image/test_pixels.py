"""transform: the squash and the normalisation, each against a plain reckoning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.pictures import draw
from vsearch.config import PreprocessConfig
from vsearch.image.decode import decode
from vsearch.image.pixels import normalise, read_pixels, to_pixels


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (16, 16), (7, 5), (900, 40)])
def test_any_shape_becomes_a_square(size: tuple[int, int]) -> None:
    pixels = to_pixels(draw(1, size), 16)
    assert pixels.shape == (16, 16, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous and pixels.flags.writeable and pixels.flags.owndata


def test_squash_not_crop() -> None:
    image = Image.new("RGB", (400, 100), (255, 0, 0))
    image.paste((0, 0, 255), (300, 0, 400, 100))  # the right quarter stays the right quarter
    pixels = to_pixels(image, 16)
    assert (pixels[:, :11, 0] > 250).all() and (pixels[:, 13:, 2] > 250).all()


def test_shrinking_averages() -> None:
    """A fine checkerboard becomes grey, not stripes."""
    board = (np.indices((160, 160)).sum(axis=0) % 2 * 255).astype(np.uint8)
    pixels = to_pixels(Image.fromarray(np.stack([board] * 3, axis=2)), 16)
    assert np.abs(pixels.astype(int) - 128).max() <= 3


def test_right_size_is_left_alone() -> None:
    image = draw(2, (16, 16))
    assert np.array_equal(to_pixels(image, 16), np.asarray(image))


def test_only_rgb() -> None:
    with pytest.raises(ValueError, match="RGB"):
        to_pixels(draw(1).convert("L"), 16)


def test_normalise_by_hand() -> None:
    torch = pytest.importorskip("torch")
    config = PreprocessConfig(side=4, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    pixels = torch.zeros(2, 4, 4, 3, dtype=torch.uint8)
    pixels[1] = 255
    out = normalise(pixels, config)
    assert (out.dtype, out.shape) == (torch.float32, (2, 3, 4, 4))
    # (0 - mean) / std and (1 - mean) / std
    assert torch.allclose(out[0, :, 0, 0], torch.tensor([-1.0, -1.0, 0.0]), atol=1e-6)
    assert torch.allclose(out[1, :, 3, 2], torch.tensor([1.0, 3.0, 0.5]), atol=1e-6)


def test_normalise_refuses_what_is_scaled_already() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match="uint8"):
        normalise(torch.zeros(1, 4, 4, 3), PreprocessConfig())
    with pytest.raises(ValueError, match="uint8"):
        normalise(torch.zeros(4, 4, 3, dtype=torch.uint8), PreprocessConfig())


def test_a_large_jpeg_is_decoded_no_finer_than_needed(tmp_path: Path) -> None:
    photo = draw(1, (4000, 3000))
    photo.save(tmp_path / "a.jpg", quality=95)
    pixels = read_pixels(tmp_path / "a.jpg", 192)
    eighth = decode(tmp_path / "a.jpg", at_least=375)
    assert eighth.size == (500, 375) and np.array_equal(pixels, to_pixels(eighth, 192))
    assert np.abs(pixels.astype(int) - to_pixels(photo, 192)).mean() < 3
    with (tmp_path / "a.jpg").open("rb") as file:
        assert np.array_equal(read_pixels(file, 192), pixels)
