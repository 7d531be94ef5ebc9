"""Where the independent pieces of a placement question run: here, or on a private Ray cluster.

Ray costs some seconds before its first answer (docs/bench/placement.md), so ``auto`` takes it only
for more work than that and says why on standard error. The pieces and their order are the same
either way, so are the bytes of the answer. ``isthmus.global_tier`` is imported only when asked: a
machine without it still answers, in process.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from isthmus.cli.failures import CliFailure

if TYPE_CHECKING:
    from isthmus.global_tier.placement_jobs import Mapper
    from isthmus.placement.batch import Solution
    from isthmus.placement.problem import Problem
    from isthmus.placement.usage import Usage
    from isthmus.placement.whatif import Outcome, Scenario

BREAK_EVEN_S = 3.0  # of work, measured: docs/bench/placement.md
SAMPLE = 5  # losses that are drilled here to estimate the rest
DRILL_WORK = 2_000
CHAIN_S, UNIT_S = 0.25e-3, 3e-3  # of a batch with compiled kernels, measured; rough
T = TypeVar("T")

workers_option = click.option(
    "--workers",
    type=click.Choice(["auto", "in-process", "ray"]),
    default="auto",
    show_default=True,
    help="Where independent pieces run; the answer is the same.",
)


@dataclass(frozen=True)
class Choice:
    """Where, and the sentence that says why."""

    ray: bool
    why: str


def choose(asked: str, estimate_s: float, *, installed: bool) -> Choice:
    """Ray when it was asked for, or when it is here and the work is worth its start."""
    if asked == "in-process":
        return Choice(False, "as asked")
    if asked == "ray":
        if not installed:
            raise CliFailure(
                "--workers ray: Ray is not installed; install the extra isthmus[global], "
                "or use --workers in-process"
            )
        return Choice(True, "as asked")
    if estimate_s < BREAK_EVEN_S:
        return Choice(False, f"about {estimate_s:.1f} s of work, Ray pays from {BREAK_EVEN_S:g} s")
    if not installed:
        return Choice(False, f"about {estimate_s:.1f} s of work, but Ray is not installed")
    return Choice(True, f"about {estimate_s:.1f} s of work, Ray pays from {BREAK_EVEN_S:g} s")


def ray_installed() -> bool:
    """Whether the global tier and its Ray are on this machine."""
    try:
        from isthmus.global_tier import ray_pool
    except ImportError:
        return False
    return ray_pool.installed()


def say(choice: Choice) -> None:
    """One line on standard error."""
    click.echo(f"workers: {'ray' if choice.ray else 'in-process'} ({choice.why})", err=True)


def cores() -> int:
    """Processors that this process may use; at least two tasks, or Ray is in vain."""
    return max(2, len(os.sched_getaffinity(0)))


def on_ray(job: Callable[[Mapper], Awaitable[T]], workers: int) -> T:
    """The job on a cluster of its own, which is gone afterwards, also after SIGTERM or ^C."""
    from isthmus.global_tier import ray_pool
    from isthmus.global_tier.runtime import RuntimeFailed

    async def inside() -> T:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        async with ray_pool.opened(workers=workers) as pool:
            return await job(pool)

    try:
        return asyncio.run(inside())
    except RuntimeFailed as error:
        raise CliFailure(f"{error}; try --workers in-process") from None
    except asyncio.CancelledError:
        raise CliFailure("stopped by a signal") from None


def drills(usage: Usage, scenarios: Sequence[Scenario], asked: str) -> list[Outcome]:
    """Every scenario's outcome, in order; the first few are run here to estimate the rest."""
    from isthmus.placement.whatif import run

    began = time.perf_counter()
    sample = [] if asked == "ray" else scenarios[:SAMPLE]
    done = [run(usage, scenario, work=DRILL_WORK) for scenario in sample]
    rest = scenarios[len(done) :]
    estimate_s = (time.perf_counter() - began) / max(1, len(done)) * len(rest)
    choice = choose(asked, estimate_s, installed=asked != "in-process" and ray_installed())
    say(choice)
    if not choice.ray:
        return done + [run(usage, scenario, work=DRILL_WORK) for scenario in rest]
    from isthmus.global_tier.placement_jobs import what_if

    async def job(mapper: Mapper) -> list[Outcome]:
        return await what_if(usage, rest, mapper, tasks=cores(), work=DRILL_WORK)

    return done + on_ray(job, cores())


def in_parts(problem: Problem, asked: str, *, parts: int, work: int, seed: int) -> Solution:
    """A large batch in at most ``parts`` regional parts; what crosses regions is placed after."""
    estimate_s = len(problem.chains) * CHAIN_S + parts * work * UNIT_S
    choice = choose(asked, estimate_s, installed=asked != "in-process" and ray_installed())
    say(choice)
    try:
        from isthmus.global_tier.placement_jobs import InProcess, solve_split
    except ImportError:
        raise CliFailure("--parts: the global tier is not installed; leave it out") from None

    async def job(mapper: Any) -> Solution:
        return await solve_split(
            problem.network, problem.chains, mapper, workers=parts, work=work, seed=seed
        )

    return on_ray(job, min(parts, cores())) if choice.ray else asyncio.run(job(InProcess()))
