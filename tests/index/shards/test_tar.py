"""Tars read as a stream: what is a photo, what is damaged, what is an attack."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from index.build.scan import Found
from index.shards.errors import ShardError
from index.shards.photo import Loaded, Skipped
from index.shards.tar import members
from tests.support.tars import photo, write_tar


def read(path: Path) -> list[Loaded | Skipped]:
    with path.open("rb") as file:
        return list(members(file, "s3://b/0.tar"))


def raw(*infos: tuple[tarfile.TarInfo, bytes], end: bool = True) -> io.BytesIO:
    """A tar whose headers say what they like."""
    parts = [info.tobuf(tarfile.GNU_FORMAT) + data.ljust(-(-len(data) // 512) * 512, b"\0") for info, data in infos]
    return io.BytesIO(b"".join(parts) + bytes(1024 if end else 0))


def info(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    one = tarfile.TarInfo(name)
    one.size, one.type = size, kind
    return one


def test_photos_come_in_order_with_their_bytes_and_dates(tmp_path: Path) -> None:
    red, blue = photo(1), photo(2, "PNG")
    tar = write_tar(
        tmp_path / "a.tar", [("b/red.JPG", red), ("b/red.json", b"{}"), ("blue.png", blue), (".x.jpg", red)]
    )
    found = read(tar)
    assert found == [
        Loaded(Found("s3://b/0.tar#b/red.JPG", len(red), 1_700_000_000_000_000_000), red),
        Loaded(Found("s3://b/0.tar#blue.png", len(blue), 1_700_000_000_000_000_000), blue),
    ]


def test_names_are_text_and_nothing_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["../../escape.jpg", "/etc/passwd.jpg", "a\nb\x1b[31m.jpg", "caf\udce9.jpg"]
    before = write_tar(tmp_path / "deep" / "in" / "a.tar", [(name, photo(1)) for name in names])
    found = read(before)
    assert [one.file.path for one in found if isinstance(one, Loaded)] == [f"s3://b/0.tar#{name}" for name in names]
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.tar", "deep", "in"]
    assert not os.path.exists("/etc/passwd.jpg")


def test_links_devices_and_second_names_are_skipped() -> None:
    link, data = info("link.jpg", 0, tarfile.SYMTYPE), photo(1)
    link.linkname = "/etc/passwd"
    file = raw(
        (link, b""),
        (info("pipe.jpg", 0, tarfile.FIFOTYPE), b""),
        (info("a.jpg", len(data)), data),
        (info("a.jpg", 3), b"abc"),
    )
    found = list(members(file, "t.tar"))
    assert [type(one) for one in found] == [Skipped, Skipped, Loaded, Skipped]
    assert [one.reason for one in found if isinstance(one, Skipped)] == [
        "a link in a tar, or another thing that is no file",
        "a link in a tar, or another thing that is no file",
        "a second one of this name in the tar",
    ]


def test_a_large_member_is_passed_over_without_being_kept() -> None:
    size, data = 300 << 20, photo(1)

    left: list[io.BytesIO | int] = [
        raw((info("huge.jpg", size), b""), end=False),
        size,
        raw((info("a.jpg", len(data)), data)),
    ]

    class Zeros(io.RawIOBase):
        """A tar of a huge member of zeros and a photo, made as it is read."""

        def read(self, count: int = -1) -> bytes:
            while left:
                first = left[0]
                given = bytes(min(count, first)) if isinstance(first, int) else first.read(count)
                if isinstance(first, int):
                    left[0] = first - len(given)
                if given:
                    return given
                left.pop(0)
            return b""

    large, small = members(Zeros(), "t.tar")  # type: ignore[arg-type]
    assert isinstance(large, Skipped) and large.reason == "too large (315 MB)" and large.lasting
    assert isinstance(small, Loaded) and small.data == data


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[: len(data) // 2], "a tar that was cut off|a damaged tar"),
        (lambda data: data[:1024], "a tar that was cut off"),  # after a whole member
        (lambda data: data[:1024] + b"x" * 512 + data[1536:], "a damaged tar"),
        (lambda data: b"no tar at all" * 100, "a damaged tar"),
        (lambda data: b"", "a tar that was cut off|a damaged tar"),
    ],
)
def test_damage_is_said_and_what_came_before_is_given(damage: object, reason: str) -> None:
    assert callable(damage)
    whole = raw(*[(info(f"{n}.jpg", 300), bytes(300)) for n in range(4)]).getvalue()
    found = []
    with pytest.raises(ShardError, match=reason):
        for one in members(io.BytesIO(damage(whole)), "t.tar"):
            found.append(one)  # noqa: PERF402
    assert len(found) <= 2


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K", b"X"])
def test_a_header_that_would_fill_the_memory_is_refused(kind: bytes) -> None:
    file = raw((info("bomb", 2 << 20, kind), bytes(2 << 20)), (info("a.jpg", 3), b"abc"))
    with pytest.raises(ShardError, match="impossible size"):
        list(members(file, "t.tar"))


@pytest.mark.parametrize("mtime", ["nan", "inf", "1e300", "-1e300"])
def test_any_date_is_a_date(tmp_path: Path, mtime: str) -> None:
    one = info("a.jpg", 3)
    one.pax_headers = {"mtime": mtime}
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(one, io.BytesIO(b"abc"))
    (found,) = read(tmp_path / "a.tar")
    assert isinstance(found, Loaded) and abs(found.file.mtime_ns) < 2**63


def test_names_that_no_store_can_keep_are_skipped(tmp_path: Path) -> None:
    (found,) = read(write_tar(tmp_path / "a.tar", [("n" * 5000 + ".jpg", b"abc")]))
    assert isinstance(found, Skipped) and found.reason == "a name that is too long"
