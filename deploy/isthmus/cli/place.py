"""``isthmus place`` and ``isthmus what-if``: the placement engine on a file, without any tier.

Reads ``isthmus.placement.problem/1`` (JSON, gzipped or not), writes ``isthmus.placement.solution/1``.
The progress line goes to standard error, so that pipes stay clean. The time limit counts from the
start of the command, reading and writing included.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from isthmus.cli.failures import CliFailure
from isthmus.cli.place_workers import drills, in_parts, workers_option

if TYPE_CHECKING:
    from isthmus.placement.batch import Point, Solution
    from isthmus.placement.problem import Problem

START_S = 0.4  # what the interpreter and this command's imports took before the clock ran
READABLE = click.Path(exists=True, dir_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
PARTS_WORK = 500  # units for each part, unless --work says otherwise
UNITS = {"cpu": "cpu", "memory": "memory", "kbit/s": "Gb/s"}


def load_problem(path: Path) -> Problem:
    """The problem in a file, or one clear failure naming field, value and fix."""
    from isthmus.placement import PlacementError
    from isthmus.placement.problem import parse

    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        document = json.loads(data)
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise CliFailure(f"{path.name}: not a readable JSON file: {error}") from None
    try:
        return parse(document)
    except PlacementError as error:
        raise CliFailure(f"{path.name}: {error}") from None


def write_json(path: Path, document: Any) -> None:
    """JSON into a file (gzipped when its name says so), whole or not at all."""
    data = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    if path.suffix == ".gz":
        data = gzip.compress(data, compresslevel=5, mtime=0)
    beside = path.with_name(path.name + ".part")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as error:
        raise CliFailure(f"{path}: cannot be written: {error.strerror}") from None


def show_progress(point: Point) -> None:
    """Objective, bound, gap and chains, in one line that is written over on a terminal."""
    gap = 100 * (point.bound - point.objective) / point.bound if point.bound > 0 else 0.0
    line = (
        f"{point.seconds:7.1f} s  objective {point.objective:,.0f}  bound {point.bound:,.0f}  "
        f"gap {gap:.3f} %  chains {point.placed}"
    )
    end = "\r" if sys.stderr.isatty() else "\n"
    click.echo(line, err=True, nl=False)
    click.echo(end, err=True, nl=False)


@click.command(
    "place",
    epilog="\b\nExamples:\n  isthmus place --problem p.json --out s.json --time-limit 15\n"
    "  isthmus place --problem p.json.gz --out s.json --work 500 --seed 7 --explain --plot map.svg",
)
@click.option("--problem", "problem_file", type=READABLE, required=True, help="What to place.")
@click.option("--out", type=FILE, required=True, help="Where the answer goes (.json or .json.gz).")
@click.option("--time-limit", type=click.FloatRange(min=0, max=1e6), help="Seconds, in all.")
@click.option("--work", type=click.IntRange(min=0), help="Units of work; same work, same bytes.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option("--explain", is_flag=True, help="Seek the nearest relaxation of every refused chain.")
@click.option("--plot", type=FILE, help="Draw map and gap into FILE.svg or FILE.png.")
@click.option("--quiet", is_flag=True, help="No progress line.")
@click.option(
    "--parts",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Place regions apart, in so many parts (of 300 chains or more); another, coarser answer.",
)
@workers_option
def place_command(
    problem_file: Path,
    out: Path,
    time_limit: float | None,
    work: int | None,
    seed: int,
    explain: bool,
    plot: Path | None,
    quiet: bool,
    parts: int,
    workers: str,
) -> None:
    """Place service chains near the proven optimum, with reasons for each that is refused."""
    began = time.perf_counter() - START_S
    from isthmus.placement.solution import dump

    if plot is not None and plot.suffix not in (".svg", ".png"):
        raise click.UsageError("--plot: the file's name ends in .svg or .png")
    if parts > 1 and (time_limit is not None or explain):
        raise click.UsageError("--parts: works with --work, not with --time-limit or --explain")
    if parts == 1 and workers == "ray":
        raise click.UsageError("--workers ray: one batch cannot be shared out; add --parts N")
    problem = load_problem(problem_file)
    if parts > 1:
        units = PARTS_WORK if work is None else work
        solution = in_parts(problem, workers, parts=parts, work=units, seed=seed)
    else:
        most = 10**9 if explain else 50
        solution = solve_problem(
            problem, began, time_limit, work, seed, relaxations=most, quiet=quiet
        )
    write_json(out, dump(solution, name=problem.name))
    if plot is not None:
        from isthmus.deploy.placement_plot import draw

        draw(plot, problem.network, solution)
    click.echo(
        f"{len(solution.placements)} of {len(problem.chains)} chains placed, objective "
        f"{solution.objective:,.1f}, proved within {solution.gap_percent:.3f} % of the best"
    )


def solve_problem(
    problem: Problem,
    began: float,
    time_limit_s: float | None,
    work: int | None,
    seed: int,
    *,
    relaxations: int,
    quiet: bool,
) -> Solution:
    """The engine on a problem, with the clock that began at ``began``."""
    from isthmus.placement.batch import DEFAULT_WORK, solve

    if work is None:
        work = DEFAULT_WORK if time_limit_s is None else 1 << 40
    spent = time.perf_counter() - began
    return solve(
        problem.network,
        problem.chains,
        work=work,
        seed=seed,
        clock=time.perf_counter,
        time_limit_s=None if time_limit_s is None else max(0.0, time_limit_s - spent),
        progress=None if quiet else show_progress,
        relaxations=relaxations,
    )


@click.command(
    "what-if",
    epilog="\b\nExamples:\n  isthmus what-if --problem p.json\n"
    "  isthmus what-if --problem p.json --kind site --pairs 20 --out report.json",
)
@click.option("--problem", "problem_file", type=READABLE, required=True, help="What is placed.")
@click.option(
    "--kind",
    multiple=True,
    type=click.Choice(["site", "link", "partner"]),
    help="What is lost, one at a time (default: all kinds).",
)
@click.option("--pairs", type=click.IntRange(0, 10_000), default=0, help="Losses of two sites.")
@click.option("--work", type=click.IntRange(min=0), default=500, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option("--top", type=click.IntRange(1, 1000), default=10, help="Worst losses to show.")
@click.option("--out", type=FILE, help="Write the whole report as JSON.")
@workers_option
def what_if_command(
    problem_file: Path,
    kind: tuple[str, ...],
    pairs: int,
    work: int,
    seed: int,
    top: int,
    out: Path | None,
    workers: str,
) -> None:
    """What is lost with each site, link or partner, and where more capacity would pay."""
    from isthmus.placement import whatif

    problem = load_problem(problem_file)
    began = time.perf_counter()
    solution = solve_problem(problem, began, None, work, seed, relaxations=0, quiet=True)
    kinds = kind or ("site", "link", "partner")
    found = whatif.scenarios(problem.network, kinds, pairs=pairs, seed=seed)
    outcomes = drills(solution.usage, found, workers)
    outcomes.sort(key=lambda o: (-o.priority_lost, o.scenario.name))
    refused = [c for c in problem.chains if c.id in solution.refusals]
    tips = whatif.advice(solution.usage, refused, solution.prices)
    click.echo(f"{len(solution.placements)} chains stand; {len(outcomes)} losses tried")
    for outcome in outcomes[:top]:
        click.echo(
            f"  {outcome.scenario.name}: {outcome.affected} chains hit, {outcome.restored} "
            f"restored, survivability {outcome.survivability:.1%}"
        )
    for tip in tips:
        click.echo(f"  {tip_text(tip)}")
    if out is not None:
        write_json(out, report(outcomes, tips))


def tip_text(tip: Any) -> str:
    """Advice in the units of the problem file."""
    from isthmus.placement.problem import SCALE

    unit = UNITS.get(tip.resource, tip.resource)
    return (
        f"{tip.amount / SCALE:g} {unit} more at {tip.where} would admit {len(tip.admits)} chains "
        f"worth {tip.worth:,.1f}"
    )


def report(outcomes: list[Any], tips: tuple[Any, ...]) -> dict[str, Any]:
    """The report of ``what-if`` as data."""
    from isthmus.placement.problem import SCALE

    return {
        "schema": "isthmus.placement.what-if/1",
        "losses": [
            {
                "name": o.scenario.name,
                "sites": list(o.scenario.sites),
                "links": list(o.scenario.links),
                "affected": o.affected,
                "restored": o.restored,
                "lost": list(o.lost),
                "survivability": o.survivability,
            }
            for o in outcomes
        ],
        "advice": [
            {
                "where": t.where,
                "resource": UNITS.get(t.resource, t.resource),
                "amount": t.amount / SCALE,
                "admits": list(t.admits),
                "worth": t.worth,
                "shadow_price": t.shadow_price * SCALE,
            }
            for t in tips
        ],
    }
