"""The demo inside its private world: ``python -m isthmus.chaos.demo.inner BASE OPTIONS`` (see ``main``)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from isthmus.chaos.demo import acts_faults, acts_traffic
from isthmus.chaos.demo.facts import Broken, Facts
from isthmus.chaos.demo.stage import Late, Stage
from isthmus.chaos.toxics import FaultNotInForce
from isthmus.deploy.lab.carrier import carrier
from isthmus.deploy.lab.engine import Lab
from isthmus.deploy.supervisor import Supervisor

ACTS: tuple[Callable[[Stage], Awaitable[None]], ...] = (
    acts_traffic.apply_all,
    acts_traffic.traffic,
    acts_faults.partner,
    acts_faults.cut,
    acts_faults.without_global,
    acts_faults.farewell,
)


def say(text: str) -> None:
    """Tell at once, also through a pipe."""
    print(text, flush=True)


async def play(base: Path, options: dict[str, Any], stop: asyncio.Event) -> Facts:
    """Bring the carrier up, play the acts, write the result; with ``keep`` stay until told to stop."""
    facts = Facts(say)
    spec = carrier(options["runtime"], taps=True)
    facts.act("A carrier comes up: three sites, a partner, the tier above")
    facts.note(f"distances: {spec.attribution}; one network namespace per tier, host and customer")
    began = time.monotonic()
    supervisor = Supervisor(state_file=base / "supervisor.json")
    async with Lab(spec, base, facts.note, supervisor) as lab:
        facts.figure("lab_up_s", round(time.monotonic() - began, 1))
        stage = Stage(lab, facts, options["sabotage"])
        try:
            await _acts(stage)
        finally:
            await stage.close()
            _result(base, facts, options, spec.attribution)
        if options["keep"]:
            await stop.wait()
    return facts


async def _acts(stage: Stage) -> None:
    for act in ACTS:
        try:
            await act(stage)
        except Broken:
            return
        except Late as late:
            stage.facts.check("every wait has an end", str(late), False)
            return
        except FaultNotInForce as fault:
            stage.facts.check("every fault is the one that was meant", str(fault), False)
            return
        if stage.sabotage and stage.facts.failed:
            stage.facts.note("a promise is broken; the rest is not played")
            return


def _result(base: Path, facts: Facts, options: dict[str, Any], attribution: str) -> None:
    facts.record(
        base / "result.json",
        {
            "sabotage": options["sabotage"],
            "runtime": options["runtime"],
            "topology": attribution,
            "python": platform.python_version(),
            "kernel": platform.release(),
            "cores": os.cpu_count(),
        },
    )


async def _main(base: Path, options: dict[str, Any]) -> int:
    stop = asyncio.Event()
    playing = asyncio.ensure_future(play(base, options, stop))

    def told() -> None:
        stop.set()
        if not (base / "result.json").exists():
            playing.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told)
    with contextlib.suppress(asyncio.CancelledError):
        await playing
    if playing.cancelled():
        say("interrupted; everything is being ended")
        return 130
    return 1 if playing.result().failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main(Path(sys.argv[1]), json.loads(sys.argv[2]))))
