"""``isthmus bench federation-summary`` produces its figures, and its judge of bounds can fail. No figure is judged."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from isthmus.chaos.bench_federation_summary import Site, SummarySizes, _judge, summary
from isthmus.contract.figures import Kind, Told
from isthmus.contract.instance import SiteSummary

FIGURES = {
    "bytes summed up, of the raw bytes", "bytes/s raw", "bytes/s summed up", "tellings",
    "worst error of a bound", "moments held against the truth",
}  # fmt: skip


async def test_every_figure_is_there(tmp_path: Path) -> None:
    """A benchmark that silently lost a row would look like a pass; GOALS fixes the JSON."""
    report = await summary(tmp_path, SummarySizes.small())
    assert json.loads(json.dumps(report)) == report
    figures = {figure["name"]: figure for figure in report["figures"]}
    assert set(figures) >= FIGURES
    assert figures["worst error of a bound"]["met"] is True, "a bound is a promise at any size"
    assert figures["changes exported raw"]["value"] > 0
    assert figures["moments held against the truth"]["value"] == 7 * 20


def test_a_number_outside_its_bound_is_found() -> None:
    """The judge of the bench counts by itself; a promise that is broken by one shows."""
    site = Site(SummarySizes.small(), 1)
    site.step()

    def judged(off: float) -> float:
        told = {
            name: Told(
                kind=Kind.SUM, values=(truth + off,), bound=10, as_of=1, max_age_s=60, members=1
            )
            for name, truth in site.truth.items()
        }  # fmt: skip
        numbers = dict.fromkeys(SiteSummary.model_fields, 0)
        for name in ("attachments", "function_types", "fence", "told", "alarms", "free_cpu_slots"):
            numbers.pop(name, None)
        outcome: dict[str, Any] = {"worst": 0.0, "checked": 0}
        _judge(SiteSummary.model_validate({**numbers, "told": told}), site, outcome)
        return float(outcome["worst"])

    assert judged(9) <= 1
    assert judged(11) > 1
    assert not math.isinf(judged(0))
