"""The results of `benchmarks.search` as one table in Markdown."""

from __future__ import annotations

from typing import Any

NAMES = {
    "exact": "exact numpy",
    "library": "library, through its graph",
    "graph": "nmslib, only the graph",
    "hnswlib": "hnswlib",
    "faiss": "faiss",
    "cold": "a new process",
}


def table(found: dict[str, Any]) -> str:
    """Return Markdown; a time is also given as its share of exact numpy's in the same run."""
    steps = found["steps"]
    exact = steps.get("exact", {}).get("queries", {}).get("", {}).get("median", float("nan"))
    lines = [
        "| system | efSearch | build s (processor) | build MB | memory MB | disk MB | median ms | p95 ms | processor ms"
        " | of exact | recall@10 |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for step, name in NAMES.items():
        facts = steps.get(step, {})
        for width, times in facts.get("queries", {}).items():
            cells = [name, width, *_sizes(facts), *(f"{times[key]:.2f}" for key in ("median", "p95", "processor"))]
            right = f"{times['recall']:.4f}" if "recall" in times else ""
            lines.append("| " + " | ".join([*cells, f"{times['median'] / exact:.4f}", right]) + " |")
            facts = {}  # the rest of a step shares its build
    return "\n".join(lines + [""] + _remarks(steps))


def _sizes(facts: dict[str, Any]) -> list[str]:
    build = facts.get("build") or {}
    took = f"{build['seconds']:.0f} ({build['processor']:.0f})" if build else ""
    sizes = [build.get("peak"), facts.get("memory"), facts.get("disk")]
    return [took, *("" if size is None else f"{size / 1e6:.0f}" for size in sizes)]


def _remarks(steps: dict[str, Any]) -> list[str]:
    lines = []
    if fills := steps.get("fill"):
        arrays = fills["arrays"]
        lines.append(
            f"Library filled in {fills['seconds']:.0f} s ({fills['processor']:.0f} s of processor time), "
            f"{fills['disk'] / 1e6:.0f} MB; its array in {arrays['seconds']:.0f} s, {arrays['disk'] / 1e6:.0f} MB."
        )
    if cold := steps.get("cold"):
        first = f"the first, its files not in memory, took {cold['first']:.0f} ms"
        lines.append(f"A new process ({cold['kind']}): p95 is the worst of its runs; {first}.")
    return lines
