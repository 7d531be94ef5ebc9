"""``isthmus bench kv`` produces every figure it promises. Not a timed test: no figure is judged here."""

from __future__ import annotations

import json
from pathlib import Path

from isthmus.chaos.bench_kv import Sizes, measure


async def test_every_figure_is_measured_and_has_its_shape(tmp_path: Path) -> None:
    """A benchmark that silently lost a row would look like a pass; GOALS.md fixes the JSON."""
    report = await measure(tmp_path, Sizes.small(), commit="test")
    assert json.loads(json.dumps(report)) == report
    assert {"bench", "commit", "seed", "versions", "machine", "figures", "series"} <= set(report)
    figures = {figure["name"]: figure for figure in report["figures"]}
    keys = {"name", "value", "unit", "goal", "met", "reference", "ratio"}
    assert all(set(figure) == keys for figure in figures.values())
    assert {
        "CPU of one put",
        "puts",
        "CPU of one put in a transaction of 100",
        "snapshot of 2000 keys",
        "CPU of one batched event",
        "replay",
        "watches of 20 subscribers",
        "PSS of a mirror of 2000 keys of 200 bytes",
        "peak memory of a snapshot of 2000 keys",
    } <= set(figures)
    assert figures["watches of 20 subscribers"]["value"] == 1
    assert figures["CPU of one put"]["reference"] > 0
    assert report["series"]["delivery_ms"]["samples"] > 0
