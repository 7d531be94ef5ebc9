"""``isthmus bench federation-mirror``: the command beside ``etcdctl make-mirror``, as a stranger would judge both.

Both are programs of their own between the same two etcds (with fsync), one after the other in one run; who writes and
who watches is this process and the same for both. Times begin with the command line: starting Python counts.
Faults are judged by ``tests/chaos/mirror``.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from isthmus.chaos.bench_federation import follow_at, p99_of
from isthmus.chaos.bench_federation_rig import (
    MIRRORED,
    OUTBOX,
    NotMeasured,
    Report,
    Rig,
    Sizes,
    fill,
    make_mirror,
    mirroring,
    rig,
    there,
    until,
)

OURS = "/isthmus/v1/ours/"
PATIENCE_S = 10.0
Running = Callable[[Rig], AbstractAsyncContextManager[object]]


async def mirror(folder: Path, sizes: Sizes | None = None) -> dict[str, Any]:
    """Start, first copy, following; CPU is the mirror's process alone."""
    sizes = sizes or Sizes()
    report = Report("federation-mirror")
    await _copies(report, folder / "copy", sizes)
    ours = await _lags(folder / "ours", sizes, ours_running, OURS)
    theirs = {}
    if sizes.mirror_reference:
        theirs = await _lags(folder / "theirs", sizes, mirroring, MIRRORED)
    for rate, lags in ours.items():
        reference = theirs.get(rate)
        row, beside = sorted(lags), sorted(reference or [])
        late, late_beside = p99_of(lags) * 1e3, p99_of(beside) * 1e3 if beside else None
        judged = rate <= 1000 and late_beside is not None
        met = late <= late_beside if judged and late_beside is not None else None
        report.row(
            f"lag p99 at {rate}/s", late, "ms", "<= make-mirror" if judged else "", met, late_beside
        )
        report.row(
            f"lag p50 at {rate}/s", _middle(row) * 1e3, "ms",
            reference=_middle(beside) * 1e3 if beside else None,
        )  # fmt: skip
    return report.document(sizes)


def _middle(lags: list[float]) -> float:
    return lags[len(lags) // 2]


async def _copies(report: Report, folder: Path, sizes: Sizes) -> None:
    folder.mkdir()
    async with rig(folder) as world:
        await world.hub.put(f"{OUTBOX}t0/one", b"0")
        wall_s, cpu_s = await _first_copy(world, 1)
        report.row("start to the first key copied", wall_s, "s")
        report.row("CPU of that", cpu_s, "s")
        await world.hub.delete(f"{OUTBOX}t0/one")
        await fill(world.hub, OUTBOX, sizes.keys)
        wall_s, cpu_s = await _first_copy(world, sizes.keys)
        report.row("CPU of one key of the first copy", 1e6 * cpu_s / sizes.keys, "us")
        if sizes.mirror_reference:
            theirs_s = await make_mirror(world, sizes)
            times = theirs_s / wall_s
            report.row("first copy, start included", wall_s, "s", reference=theirs_s)
            report.row("times faster than etcdctl make-mirror", times, "x", ">= 15", times >= 15)


async def _first_copy(world: Rig, keys: int) -> tuple[float, float]:
    """Seconds from the command to ``synced``, and CPU seconds of the process by then."""
    began = time.monotonic()
    async with ours_running(world) as (process, line):
        wall_s = time.monotonic() - began
        if not line.endswith(f" keys={keys}"):
            raise NotMeasured(f"{line!r}; {keys} keys were there")
        return wall_s, _cpu_s(process.pid)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


@asynccontextmanager
async def ours_running(world: Rig) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """``isthmus mirror`` from the hub's outbox to the site's :data:`OURS`, synced; and the line that says so."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "isthmus.cli.main", "mirror", "--from", world.endpoints[1],
        "--to", world.endpoints[0], "--prefix", OUTBOX, "--dest-prefix", OURS,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        if process.stdout is None:
            raise NotMeasured("no standard output")
        async with asyncio.timeout(300):
            line = (await process.stdout.readline()).decode().strip()
        yield process, line
    finally:
        process.terminate()
        await process.wait()


async def _lags(folder: Path, sizes: Sizes, running: Running, seen: str) -> dict[int, list[float]]:
    """By rate; what comes over 10 s after the last change is left out."""
    folder.mkdir()
    found: dict[int, list[float]] = {}
    async with rig(folder) as world, running(world):
        await world.hub.put(f"{OUTBOX}first", b"0")
        await until(lambda: there(world.site, f"{seen}first"), "the mirror stands")
        for rate in sizes.rates:
            _, found[rate] = await follow_at(world, rate, sizes.follow_s, seen, PATIENCE_S)
    return found
