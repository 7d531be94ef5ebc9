"""``isthmus bench NAME``: measure, print a table, write the JSON that GOALS.md describes; judge nothing.

Each benchmark is a function that returns that document. Those that touch the kernel run in a private world; this
module starts itself again inside one. The exit code is 0 when it measured, whatever it measured.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.deploy.errors import DeployError
from isthmus.deploy.world import in_world, world_command

TIMEOUT_S = 3600


class BenchRefused(DeployError):
    """There is no such benchmark, or it did not measure."""


@dataclass(frozen=True, slots=True)
class Bench:
    """``function`` of ``module`` takes an empty folder and returns the document (it may be a coroutine)."""

    module: str
    function: str
    world: bool
    what: str


BENCHES: dict[str, Bench] = {
    "kv": Bench("isthmus.chaos.bench_kv", "measure", False, "store client against raw stubs"),
    "federation-copy": Bench(
        "isthmus.chaos.bench_federation",
        "copy",
        False,
        "first copy over a link, beside make-mirror",
    ),
    "federation-follow": Bench(
        "isthmus.chaos.bench_federation", "follow", False, "lag of steady changes over a link"
    ),
    "federation-mirror": Bench(
        "isthmus.chaos.bench_federation_mirror",
        "mirror",
        False,
        "the command `isthmus mirror` beside make-mirror, from its start",
    ),
    "federation-idle": Bench(
        "isthmus.chaos.bench_federation_idle",
        "idle",
        True,
        "an idle site on the wire, by its interface's counters",
    ),
    "federation-fanin": Bench(
        "isthmus.chaos.bench_federation", "fanin", False, "hollow sites on one gateway"
    ),
    "federation-summary": Bench(
        "isthmus.chaos.bench_federation_summary",
        "summary",
        False,
        "bytes of a summary beside those of 10,000 keys raw",
    ),
    "placement": Bench(
        "isthmus.chaos.bench_placement", "placement", False, "batches against a proved bound"
    ),
    "placement-online": Bench(
        "isthmus.chaos.bench_placement_online",
        "online",
        False,
        "one chain on warm state; a lost site",
    ),
    "placement-impossible": Bench(
        "isthmus.chaos.bench_impossible",
        "impossible",
        False,
        "refusals against every way there is (5 minutes of CPU)",
    ),
    "instantiate": Bench(
        "isthmus.chaos.bench_lab", "instantiate", True, "apply to first packet over two sites"
    ),
    "heal": Bench("isthmus.chaos.bench_lab", "heal", True, "a deleted namespace under traffic"),
    "install": Bench(
        "isthmus.chaos.bench_lab", "install", True, "a lab of four sites: time and memory"
    ),
}


def run(name: str, *, json_file: Path | None = None) -> int:
    """Measure ``name``; 0 when it measured. Raises BenchRefused."""
    bench = BENCHES.get(name)
    if bench is None:
        told = "\n".join(f"  {known}: {b.what}" for known, b in sorted(BENCHES.items()))
        raise BenchRefused(f"no benchmark {name!r}; there are:\n{told}")
    if bench.world and not in_world():
        with tempfile.NamedTemporaryFile(suffix=".json") as result:
            command = [sys.executable, "-m", "isthmus.chaos.bench", name, result.name]
            code = subprocess.run(world_command(command), timeout=TIMEOUT_S, check=False).returncode
            if code != 0:
                raise BenchRefused(f"benchmark {name} did not measure (code {code})")
            document = json.loads(Path(result.name).read_text())
    else:
        document = measure(bench)
    print(table(document))
    if json_file is not None:
        json_file.write_text(json.dumps(document, indent=2) + "\n")
    return 0


def measure(bench: Bench) -> dict[str, Any]:
    """Run the function in a fresh folder (short: it holds sockets)."""
    function = getattr(importlib.import_module(bench.module), bench.function)
    with tempfile.TemporaryDirectory(prefix="isthmus-bench-", dir="/tmp") as folder:
        outcome = function(Path(folder))
        document = asyncio.run(outcome) if inspect.iscoroutine(outcome) else outcome
    if not isinstance(document, dict):
        raise BenchRefused(f"{bench.module}.{bench.function} returned no document")
    return document


def table(document: dict[str, Any]) -> str:
    """The figures for people: value, goal, reference and ratio."""
    rows = [("figure", "value", "unit", "goal", "met", "reference", "ratio")]
    for figure in document.get("figures", []):
        met = {True: "yes", False: "no"}.get(figure.get("met"), "-")
        rows.append(
            (
                str(figure["name"]),
                _number(figure["value"]),
                str(figure.get("unit", "")),
                str(figure.get("goal", "")),
                met,
                _number(figure.get("reference")),
                _number(figure.get("ratio")),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([f"bench {document.get('bench', '?')}", *lines])


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)


def main(argv: Sequence[str]) -> int:
    """``python -m isthmus.chaos.bench NAME FILE``: inside a world; writes the document to FILE."""
    name, target = argv
    Path(target).write_text(json.dumps(measure(BENCHES[name])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
