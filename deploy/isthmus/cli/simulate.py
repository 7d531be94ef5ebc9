"""``isthmus simulate``: seeded runs of a whole carrier in virtual time, judged by its promises (issue 5).

Results go to standard output, progress to standard error. Exit code 1: a promise was broken, or with ``--cover``
something that should have been hit never was.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from isthmus.cli.failures import FAILED, INTERRUPTED, CliFailure

if TYPE_CHECKING:
    from isthmus.chaos.simulation.pool import Summary
    from isthmus.chaos.simulation.run import Outcome
    from isthmus.chaos.simulation.schedule import Schedule

FILE = click.Path(dir_okay=False, path_type=Path)
READABLE = click.Path(exists=True, dir_okay=False, path_type=Path)
MOST_SHOWN = 3


def parse_seeds(text: str) -> list[int]:
    """``7``, ``7,9`` and ``1-1000``, or one clear failure."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise CliFailure(f"--seeds {text!r}: {part!r} is no seed; write 7,9 or 1-1000")
        seeds += range(int(first), int(last if dash else first) + 1)
    if not seeds:
        raise CliFailure(f"--seeds {text!r} names none; write 7,9 or 1-1000")
    return seeds


@click.command(
    "simulate",
    epilog="\b\nExamples:\n  isthmus simulate --seeds 1-1000\n"
    "  isthmus simulate --seeds 42 --shrink --history run.jsonl\n"
    "  isthmus simulate --replay tests/simulation/proving/regressions/some.json",
)
@click.option("--seeds", default="1-100", show_default=True, help="7,9 or 1-1000.")
@click.option("--world", default="links", show_default=True, help="links, carrier or partners.")
@click.option("--kinds", default="", help="Only these kinds of faults, separated by commas.")
@click.option("--stats", is_flag=True, help="Print how often everything was hit.")
@click.option("--cover", is_flag=True, help="Fail when something was never hit.")
@click.option("--trace", type=FILE, help="Write the digest of each run's history (G13).")
@click.option("--history", type=FILE, help="Write the history of the first failure, or seed.")
@click.option("--shrink", is_flag=True, help="Shrink the first failure to its shortest schedule.")
@click.option("--save", type=FILE, help="Keep the (shrunk) first failure as a regression.")
@click.option("--replay", type=READABLE, help="Run a kept schedule instead of seeds.")
@click.option("--jobs", type=click.IntRange(1), help="Processes (default: one a core).")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def simulate(
    seeds: str,
    world: str,
    kinds: str,
    stats: bool,
    cover: bool,
    trace: Path | None,
    history: Path | None,
    shrink: bool,
    save: Path | None,
    replay: Path | None,
    jobs: int | None,
    as_json: bool,
) -> int:
    """Run a carrier in virtual time under seeded faults, and judge it."""
    from isthmus.chaos.simulation.coverage import expected
    from isthmus.chaos.simulation.faults import KINDS
    from isthmus.chaos.simulation.pool import run_seeds
    from isthmus.chaos.simulation.stats import tables
    from isthmus.chaos.simulation.worlds import WORLDS

    if replay is not None:
        return _replay(replay, history)
    if world not in WORLDS:
        raise CliFailure(f"--world {world!r} is unknown; there are: {', '.join(WORLDS)}")
    only = tuple(kind.strip() for kind in kinds.split(",") if kind.strip()) or None
    unknown = sorted(set(only or ()) - KINDS.keys())
    if unknown:
        raise CliFailure(f"--kinds: {unknown[0]!r} is unknown; there are: {', '.join(KINDS)}")
    wanted = parse_seeds(seeds)
    begun_s = time.monotonic()
    summary = run_seeds(
        world,
        wanted,
        jobs=jobs or os.cpu_count() or 1,
        commit=commit(),
        kinds=only,
        traces=trace is not None,
        progress=_progress(len(wanted), begun_s),
    )
    took_s = time.monotonic() - begun_s
    zeros = summary.stats.zeros(expected(world)) if cover else []
    if trace is not None:
        _write_traces(trace, summary)
    first = _first(summary, wanted, world, only, history, shrink or save is not None)
    if save is not None and first is not None and not first.ok:
        _save(save, first)
    if as_json:
        click.echo(json.dumps(_document(summary, world, took_s, zeros)))
    else:
        if stats:
            click.echo(tables(summary.stats, expected(world)))
        _tell(summary, world, took_s, zeros, first)
    if summary.interrupted:
        return INTERRUPTED
    return FAILED if summary.failures or zeros else 0


def commit() -> str:
    """What was simulated: the checkout's commit, or the installed version."""
    import subprocess
    from importlib.metadata import version

    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
        return found.stdout.strip() or version("isthmus")
    except (OSError, subprocess.TimeoutExpired):
        return version("isthmus")


def _progress(total: int, begun_s: float) -> Callable[[Summary], None]:
    """A line on standard error, at most every two seconds."""
    told_s = begun_s

    def tell(summary: Summary) -> None:
        nonlocal told_s
        now_s = time.monotonic()
        if now_s - told_s < 2 and summary.seeds < total:
            return
        told_s = now_s
        rate = summary.seeds / max(now_s - begun_s, 1e-3) * 60
        click.echo(
            f"{summary.seeds}/{total} seeds, {rate:.0f} a minute, {len(summary.failures)} failed",
            err=True,
        )

    return tell


def _first(
    summary: Summary,
    wanted: list[int],
    world: str,
    kinds: tuple[str, ...] | None,
    history: Path | None,
    shrunk: bool,
) -> Outcome | None:
    """The run to be told of: the first failure, shrunk when asked; its history written when asked."""
    from isthmus.chaos.history import save
    from isthmus.chaos.simulation.run import run, schedule_of
    from isthmus.chaos.simulation.shrink import shrink

    if not summary.failures and history is None:
        return None
    seed = min(summary.failures, default=wanted[0])
    outcome = run(schedule_of(seed, world, kinds), commit())
    if shrunk and not outcome.ok:
        found = shrink(outcome)
        click.echo(f"seed {seed}: shrunk in {found.runs} runs", err=True)
        outcome = found.outcome
    if history is not None:
        save(outcome.history, history)
    return outcome


def _write_traces(path: Path, summary: Summary) -> None:
    lines = [f"{seed} {digest}\n" for seed, digest in sorted(summary.digests.items())]
    path.write_text("".join(lines))


def _save(path: Path, outcome: Outcome) -> None:
    from isthmus.chaos.simulation.schedule import save_regression

    save_regression(outcome.schedule, path.stem, outcome.failures[0].splitlines()[0], path)


def _tell(
    summary: Summary, world: str, took_s: float, zeros: list[str], first: Outcome | None
) -> None:
    from isthmus.chaos.simulation.story import story

    if first is not None and not first.ok:
        click.echo(story(first))
    for seed in sorted(summary.failures)[:MOST_SHOWN]:
        click.echo(f"seed {seed}: {summary.failures[seed][0].splitlines()[0]}")
    for zero in zeros:
        click.echo(f"never hit: {zero}")
    verdict = f"{len(summary.failures)} failed" if summary.failures else "all promises kept"
    rate = summary.seeds / max(took_s, 1e-3) * 60
    click.echo(
        f"{summary.seeds} seeds of {world} in {took_s:.1f} s ({rate:.0f} a minute): {verdict}"
    )


def _document(summary: Summary, world: str, took_s: float, zeros: list[str]) -> dict[str, object]:
    return {
        "world": world,
        "commit": commit(),
        "seeds": summary.seeds,
        "took_s": round(took_s, 3),
        "failures": {str(seed): texts for seed, texts in sorted(summary.failures.items())},
        "never_hit": zeros,
        "interrupted": summary.interrupted,
        "stats": summary.stats.as_dict(),
    }


def _replay(path: Path, history: Path | None) -> int:
    """Play one kept schedule."""
    from isthmus.chaos.history import save
    from isthmus.chaos.simulation.run import run
    from isthmus.chaos.simulation.schedule import load_regression
    from isthmus.chaos.simulation.story import story

    try:
        schedule: Schedule = load_regression(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CliFailure(f"{path}: no schedule can be read: {error}") from None
    outcome = run(schedule, commit())
    if history is not None:
        save(outcome.history, history)
    click.echo(f"{path.stem}: all promises kept" if outcome.ok else story(outcome))
    return 0 if outcome.ok else FAILED
