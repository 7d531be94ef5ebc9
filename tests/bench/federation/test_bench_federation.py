"""``isthmus bench federation-*`` produce every figure they promise. Not a timed test: no figure is judged here."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from isthmus.chaos.bench_federation import Sizes, copy, fanin, follow

FIGURES = {
    "copy": {"CPU of one key, both ends together", "keys per second"},
    "follow": {
        "lag p99 at 100/s",
        "lag p50 at 100/s",
        "drift at 100/s",
        "CPU of one change at 100/s",
    },
    "fanin": {"memory of one site", "frames of an idle site", "lag p99, 4 sites x 5/s"},
}


@pytest.mark.etcd
@pytest.mark.parametrize("measure", [copy, follow, fanin], ids=["copy", "follow", "fanin"])
async def test_every_figure_is_there(
    measure: Callable[[Path, Sizes], Awaitable[dict[str, Any]]], tmp_path: Path
) -> None:
    """A benchmark that silently lost a row would look like a pass; GOALS fixes the JSON."""
    report = await measure(tmp_path, Sizes.small())
    assert json.loads(json.dumps(report)) == report
    assert {"bench", "commit", "seed", "versions", "machine", "figures", "series"} <= set(report)
    names = {figure["name"] for figure in report["figures"]}
    assert FIGURES[report["bench"].removeprefix("federation-")] <= names
    assert all(figure["value"] is not None for figure in report["figures"])
