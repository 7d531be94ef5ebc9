"""The benches measure what GOALS.md asks for; how fast they are is not a test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isthmus.chaos.bench_placement import Sizes, placement
from isthmus.chaos.bench_placement_online import online


@pytest.mark.timeout(600)
def test_the_documents_hold_every_figure(tmp_path: Path) -> None:
    """A row that silently vanished from the JSON would look like a goal that was met."""
    sizes = Sizes.tiny()
    batch, single = placement(tmp_path, sizes), online(tmp_path, sizes)
    for document in (batch, single):
        json.dumps(document, allow_nan=False)
        for row in document["figures"]:
            assert {"name", "value", "unit", "goal", "met", "reference", "ratio"} == set(row)
    names = " | ".join(row["name"] for row in batch["figures"] + single["figures"])
    for words in ("compute-bound", "link-bound", "both-bound", "compact program", "p99", "loses"):
        assert words in names
    assert set(batch["series"]) == {"by chains", "by sites"}
    gaps = [row["value"] for row in batch["figures"] if "gap" in row["name"]]
    assert all(0 <= value < 20 for value in gaps)
