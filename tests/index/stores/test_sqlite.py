"""The library of one machine as a store: what is its own; what all stores share stands in tests/distributed."""

from __future__ import annotations

from pathlib import Path

from index.stores.sqlite import SQLiteStore


def test_what_is_written_to_a_store_outlives_a_power_cut(tmp_path: Path) -> None:
    """A shard is marked once its pictures are written: SQLite must have them on the disk by then (FULL is 2)."""
    store = SQLiteStore.open(tmp_path / "library", create=True)
    assert store._database.connection.value("PRAGMA synchronous") == 2
    store.close()
