"""Heat-maps: bright where the attention is, one tile for each word."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vsearch.drawing.heatmap import COLUMNS, GAP, LABEL, PAPER, TILE, draw, overlay

GREY = Image.new("RGB", (400, 200), (100, 100, 100))


def brightness(image: Image.Image) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.asarray(image.convert("L"), np.float64)


def test_overlay_is_brightest_where_the_attention_is() -> None:
    weights = np.zeros((4, 4), np.float32)
    weights[0, 3] = 0.6
    light = brightness(overlay(GREY, weights))
    assert light.shape == (200, 400)
    assert light[:50, 300:].mean() > 2 * light[:50, :200].mean()
    assert light[:50, 300:].mean() > 2 * light[100:, 300:].mean()
    assert light.argmax() % 400 >= 300


def test_overlay_is_smooth() -> None:
    weights = np.zeros((2, 2), np.float32)
    weights[0, 0] = 1
    light = brightness(overlay(GREY, weights))
    assert np.abs(np.diff(light, axis=1)).max() < 3  # no edge between cells


def test_overlay_without_attention_is_dark_not_broken() -> None:
    assert np.ptp(brightness(overlay(GREY, np.zeros((3, 3), np.float32)))) == 0


def test_one_tile_for_each_word_in_rows() -> None:
    words = ["a", "dog", "runs", "in", "the", "snow"]
    sheet = draw(GREY, words, np.full((6, 5, 5), 1 / 25, np.float32))
    assert sheet.size == (COLUMNS * (TILE + GAP) + GAP, 2 * (TILE // 2 + LABEL + GAP) + GAP)
    light = brightness(sheet)
    first = light[GAP + LABEL + 10, GAP + 10]
    assert first == 100  # the picture itself, untouched
    bottom = GAP + (TILE // 2 + LABEL + GAP)
    label = light[bottom : bottom + LABEL, GAP + TILE + GAP : GAP + 2 * TILE]
    assert label.min() < 100 < label.max()  # the seventh tile has a word above it
    assert (light[bottom:, GAP + 2 * (TILE + GAP) :] == 255).all()  # and there is no eighth


def test_sentinel_is_printed() -> None:
    """The same cells with and without a sentinel: the picture is the same, and a number stands next to the word."""
    cells = np.random.default_rng(0).random((1, 4, 4)).astype(np.float32)
    plain = draw(GREY, ["dog"], cells)
    marked = draw(GREY, ["dog"], cells, np.array([0.5], np.float32))
    changed = np.argwhere((np.asarray(plain) != np.asarray(marked)).any(-1))
    assert len(changed)
    assert changed[:, 0].max() < GAP + LABEL and changed[:, 1].min() > GAP + TILE + GAP + TILE // 2


def test_tall_picture_keeps_room_for_its_words() -> None:
    sheet = draw(Image.new("RGB", (20, 400)), ["bicycle"], np.ones((1, 1, 1), np.float32))
    light = brightness(sheet)
    assert (light[:, -GAP:] == PAPER[0]).all()


@pytest.mark.parametrize("shape", [(2, 5, 5), (1, 25), (1, 0, 0), (25,)])
def test_shapes_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="map for each"):
        draw(GREY, ["dog"], np.ones(shape, np.float32))
