"""How listings are cut into shards, and what their names say."""

from __future__ import annotations

import random
import re

from index.build.scan import Found
from index.shards.shard import LEAST, MOST, cut, of_tar


def files(count: int) -> list[Found]:
    return [Found(f"/photos/{n:06}.jpg", 1000 + n, n) for n in range(count)]


def test_every_photo_is_in_one_shard_of_500_to_1000() -> None:
    listed = files(20_000)
    shards = list(cut(listed))
    assert [photo for shard in shards for photo in shard.photos] == listed
    sizes = [len(shard.photos) for shard in shards]
    assert all(LEAST <= size <= MOST for size in sizes[:-1]) and sizes[-1] <= MOST
    assert len({shard.name for shard in shards}) == len(shards)


def test_names_stay_the_same_and_are_safe_as_names_of_files() -> None:
    listed = [Found("/ph\n/sp ace/../ü\udce9.jpg", 1, 2), *files(10)]
    assert [s.name for s in cut(listed)] == [s.name for s in cut(list(listed))]
    (shard,) = cut(listed)
    assert re.fullmatch(r"[A-Za-z0-9_-]+-[0-9a-f]{20}", shard.name)


def test_a_photo_more_or_less_changes_few_shards() -> None:
    listed = files(20_000)
    before = {shard.name for shard in cut(listed)}
    rng = random.Random(0)
    for _ in range(10):
        without = [*listed]
        del without[rng.randrange(len(listed))]
        changed = {shard.name for shard in cut(without)} - before
        assert 1 <= len(changed) <= len(before) / 3


def test_a_changed_photo_tar_or_tag_changes_the_name() -> None:
    one = Found("s3://b/0.tar", 10, 20)
    names = {
        of_tar(one).name,
        of_tar(one._replace(size=11)).name,
        of_tar(one._replace(mtime_ns=1)).name,
        of_tar(one, "e").name,
    }
    assert len(names) == 4
    (before,), (after,) = cut(files(3)), cut([*files(2), Found("/photos/000002.jpg", 1002, 3)])
    assert before.name != after.name
