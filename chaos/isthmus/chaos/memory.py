"""What processes really take: proportional set size, summed by tier. RSS counts shared pages again and again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from isthmus.deploy.process_spec import ProcessStatus


def pss_kib(pid: int) -> int:
    """PSS of one process in KiB; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def descendants(pid: int) -> set[int]:
    """``pid`` and everything below it."""
    found, waiting = set(), [pid]
    while waiting:
        here = waiting.pop()
        found.add(here)
        for task in Path(f"/proc/{here}/task").glob("*/children"):
            try:
                waiting += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
    return found


def by_tier_mb(processes: Iterable[ProcessStatus]) -> dict[str, float]:
    """Megabytes of PSS per tier (the part of a process's name before the first dot), children included."""
    sums: dict[str, int] = {}
    for process in processes:
        if process.pid is not None:
            tier = process.name.partition(".")[0]
            sums[tier] = sums.get(tier, 0) + sum(pss_kib(pid) for pid in descendants(process.pid))
    return {tier: round(kib / 1024, 1) for tier, kib in sums.items()}
