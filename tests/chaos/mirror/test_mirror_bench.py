"""``isthmus bench federation-mirror`` and ``federation-idle`` produce every figure they promise; none is judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.chaos.bench_federation_mirror import mirror
from isthmus.chaos.bench_federation_rig import Sizes
from isthmus.cli.main import main

pytestmark = [pytest.mark.etcd, pytest.mark.slow]


async def test_every_figure_of_the_mirror_is_there(tmp_path: Path) -> None:
    """A row that was lost in silence would look like a pass."""
    report = await mirror(tmp_path, Sizes.small())
    names = {figure["name"] for figure in report["figures"]}
    assert names >= {"start to the first key copied", "lag p99 at 100/s", "lag p50 at 100/s"}
    assert all(figure["value"] > 0 for figure in report["figures"])


def test_the_interface_of_an_idle_site_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    """In a world of its own; more than the frames, since TLS and TCP are on the interface, too."""
    assert main(["bench", "federation-idle"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    found = {row[0]: float(row[row.index("bit/s") - 1]) for row in rows if "bit/s" in row}
    assert found["interface"] > found["frames"] > 0
