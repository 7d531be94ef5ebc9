"""``isthmus failpoints | prove``: the proving ground's hands on real processes (issue 5)."""

from __future__ import annotations

import json
import os
import timeit
from pathlib import Path

import click

from isthmus.cli.machine import hand_over
from isthmus.failpoint import FAILPOINTS, VARIABLE, failpoint

_CALLS = 200_000


@click.command(
    epilog="\b\nExamples:\n  isthmus failpoints\n"
    f"  {VARIABLE}='launcher.port_made=kill' isthmus site run --settings site.json --all\n"
    "\b\nActions: kill, stop, delay:<seconds>, error; 2*kill at most twice; kill@3 after three passes;\n"
    f"  {VARIABLE}=@FILE reads orders from a file that may change while the process runs."
)
@click.option("--json", "as_json", is_flag=True, help="Answer with JSON.")
def failpoints(as_json: bool) -> None:
    """The points where a test may kill, stop, delay or fail a process, and what stands there."""
    armed = os.environ.get(VARIABLE, "")
    if as_json:
        click.echo(json.dumps({"failpoints": FAILPOINTS, "armed": armed or None}, indent=2))
        return
    width = max(len(name) for name in FAILPOINTS)
    for name, sentence in FAILPOINTS.items():
        click.echo(f"{name:<{width}}  {sentence}")
    cost_ns = timeit.timeit(lambda: failpoint("runtime.lead_won"), number=_CALLS) / _CALLS * 1e9
    state = f"ARMED here by {VARIABLE}={armed}" if armed else "none is armed here"
    click.echo(f"{len(FAILPOINTS)} failpoints; {state}; one that is reached costs {cost_ns:.0f} ns")


@click.command(
    epilog="\b\nExamples:\n  isthmus prove\n  isthmus prove --minutes 12 --seed 7\n"
    "  isthmus prove --only kills --minutes 10\n"
    "  isthmus prove --history run.jsonl && isthmus judge run.jsonl"
)
@click.option("--minutes", type=click.FloatRange(0.25, 24 * 60), default=5.0, show_default=True,
              help="How long faults are played.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=None,
              help="Of the faults and the load (default: the day's).")  # fmt: skip
@click.option("--history", type=click.Path(path_type=Path, dir_okay=False), default=None,
              help="Keep the recorded history here.")  # fmt: skip
@click.option(
    "--only", multiple=True, metavar="KIND",
    help="Play this kind of fault (repeatable); kills: every gateway, agent and etcd at random, in bursts.",
)  # fmt: skip
@click.option(
    "--without", multiple=True, metavar="KIND", help="Leave a kind of fault out (repeatable)."
)
@click.option(
    "--json", "as_json", is_flag=True, help="The verdict as JSON; progress goes to stderr."
)
def prove(
    minutes: float,
    seed: int | None,
    history: Path | None,
    only: tuple[str, ...],
    without: tuple[str, ...],
    as_json: bool,
) -> None:
    """Faults and load on a lab of real processes; judged promise by promise, then everything is put away."""
    code = hand_over("isthmus.chaos.proving", "prove",
                     minutes=minutes, seed=seed, history=history, only=only, without=without,
                     as_json=as_json)  # fmt: skip
    if code:
        click.get_current_context().exit(int(code))
