"""``isthmus explore``: every order in which small worlds of the real cores can run (issue 5)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from isthmus.cli.failures import FAILED, OK

if TYPE_CHECKING:
    from isthmus.chaos.exploration.explorer import Exploration


@click.command(
    epilog="\b\nExamples:\n  isthmus explore\n  isthmus explore --world link-cut --depth 9\n\n\b\n"
    "Exit codes: 0 nothing breaks, 1 a counter-example was found (it is told), 2 usage."
)
@click.option("--world", "names", multiple=True, metavar="NAME", help="Only this one (repeatable).")
@click.option("--depth", type=click.IntRange(1), help="Moves; each world has its own default.")
@click.option(
    "--max-states", type=click.IntRange(1), default=1_000_000, show_default=True, help="Stop there."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def explore(names: tuple[str, ...], depth: int | None, max_states: int, as_json: bool) -> int:
    """Try all orders of events in small worlds: leadership by lease, a link's resume, fencing epochs.

    A counter-example is a shortest one, told step by step. Each more of depth costs about twice the time.
    """
    from isthmus.chaos.exploration.worlds import WORLDS

    for name in names:
        if name not in WORLDS:
            raise click.UsageError(f"--world {name!r}: there are {', '.join(WORLDS)}")
    reports: list[dict[str, Any]] = []
    for name in names or WORLDS:
        found = WORLDS[name].run(depth or 0, max_states)
        reports.append(_report(name, found))
        if not as_json:
            click.echo(f"{name}: {WORLDS[name].tells}\n  {found.text}")
    if as_json:
        click.echo(json.dumps(reports, indent=2))
    return OK if all(report["ok"] for report in reports) else FAILED


def _report(name: str, found: Exploration) -> dict[str, Any]:
    return {
        "world": name,
        "ok": found.ok,
        "depth": found.depth,
        "whole": found.whole,
        "states": found.states,
        "steps": found.steps,
        "settled": found.settled,
        "hits": found.hits,
        "broken": found.broken,
        "story": list(found.story),
    }
