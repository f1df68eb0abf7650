"""What reading a photo costs, and when two pictures are one: the benchmarks measure what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import duplicates, reading
from tests.support.pictures import draw_folder


def test_pairs_count_each_pair_once() -> None:
    found = np.array([[1, 0], [1, 0], [np.cos(0.2), np.sin(0.2)], [0, 1]], np.float32)
    assert duplicates.pairs(found) == [3, 3, 3, 1]  # cos 0.2 is 0.980


def test_copies_are_changed_as_they_are_called() -> None:
    photo = Image.new("RGB", (200, 100), (9, 9, 9))
    sizes = {name: change(photo).size for name, (change, _) in duplicates.COPIES.items()}
    assert sizes["three quarters of the size"] == (150, 75) and sizes["half the size"] == (100, 50)
    assert sizes["4 % cropped"] == (192, 96) and sizes["5 % cut off one side"] == (190, 100)
    assert sizes["JPEG quality 40"] == (200, 100)


def test_duplicates_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_folder(tmp_path, 6)
    duplicates.main([str(tmp_path), "--pictures", "4", "--copies", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 + len(duplicates.COPIES) and lines[2].startswith("| pairs joined |")
    assert lines[3].startswith("| JPEG quality 90 |")
    for line in lines[3:]:  # shares of two copies, no larger at a higher threshold
        shares = [float(share.strip(" %")) for share in line.split("|")[2:-1]]
        assert len(shares) == len(duplicates.THRESHOLDS) and set(shares) <= {0.0, 50.0, 100.0}
        assert shares == sorted(shares, reverse=True)


def test_reading_drawn_photos(capsys: pytest.CaptureFixture[str]) -> None:
    reading.main(["--pictures", "2", "--size", "640x480", "--side", "32"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("2 photos of 0.") and lines[0].endswith("side 32")
    assert [line.split(" ")[1] for line in lines[3:5]] == ["1.9", "2.0"]
    assert lines[5].startswith("whole: ") and float(lines[5].split()[1]) > 0
