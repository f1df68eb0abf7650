"""What a build did."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Report:
    """What a build did. `skipped` and `unreadable` hold (path, reason); `unchanged` counts touched files, too.

    `links` are the links to folders that were not followed. `left_out` counts files that were not looked at, by what
    they are ("video"): their package is not installed, or nobody asked for videos. `excluded` counts those of the
    removed pictures whose files are still there, but which nobody wants now.
    """

    added: int = 0
    updated: int = 0
    moved: int = 0
    captioned: int = 0
    unchanged: int = 0
    removed: int = 0
    excluded: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    read: int = 0  # pictures in which text was looked for
    reading: float = 0.0  # seconds that this took
    unread: int = 0  # pictures in which text was to be looked for, had its package been installed
    encoded: int = 0  # pictures that went through the network
    total: int = 0  # pictures in the library now
    seconds: float = 0.0
