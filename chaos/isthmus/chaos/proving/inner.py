"""The proving ground inside its private world: ``python -m isthmus.chaos.proving.inner OPTIONS`` (see ``prove``).

Its folder is a tmpfs that only this world sees: whatever ends the world, were it SIGKILL, takes it along.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from isthmus.chaos.history import Header, open_recorder, read
from isthmus.chaos.history.judge import judge_all, unkept
from isthmus.chaos.history.report import json_report, text_report
from isthmus.chaos.proving.faults import CUTS
from isthmus.chaos.proving.kills import KILLS, plan
from isthmus.chaos.proving.runner import running, versions
from isthmus.chaos.proving.schedule import FORGOTTEN, REVOKED

BASE = Path("/mnt")
INTERRUPTED = 130
TROUBLE = 2
PROMISES = ("G3", "G5", "G6")
"""A run without data for one of these has not tried it. G4 is one of them when a link is cut,
G12 when a site is silent for longer than it is believed, G14 when a sandbox is lost; G1 and G7 are judged where the
schedule gave them data."""


def boottime_s() -> float:
    """Goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def say(text: str) -> None:
    """Tell at once, also through a pipe; the answer alone goes to standard output."""
    print(text, file=sys.stderr, flush=True)


async def play(base: Path, history: Path, options: dict[str, Any]) -> None:
    """The run, recorded."""
    seconds = options["minutes"] * 60
    kinds = {fault.kind for fault in plan(options["seed"], seconds, options["kinds"])}
    promises = (
        *PROMISES,
        *(("G4",) if kinds & CUTS or KILLS in options["kinds"] else ()),
        *(("G9",) if REVOKED in kinds else ()),
        *(("G12",) if FORGOTTEN in kinds else ()),
        *(("G14",) if "lost" in kinds else ()),
    )
    header = Header(
        source="processes", seed=options["seed"], commit=options["commit"], world="two tiers",
        versions=versions(), command=options["command"], clock="prove.boot", promises=promises,
    )  # fmt: skip
    with open_recorder(history, header, boottime_s) as recorder:
        async with running(base, recorder, options["seed"], say, options["kinds"]) as run:
            await run.play(seconds)
            say(run.load())
            done = sorted(run.hands.counts.items())
            say(f"faults: {', '.join(f'{kind} {count}' for kind, count in done)}")


def verdict(path: Path, *, as_json: bool) -> int:
    """What the judges say; 1 when a promise is broken or was not tried."""
    history = read(path)
    verdicts = judge_all(history.records)
    bad = unkept(history, verdicts, asked=False)
    if as_json:
        print(json.dumps({**json_report(history, verdicts), "ok": not bad}, indent=2))
        return 1 if bad else 0
    print(text_report(history, verdicts))
    print(f"prove: {'FAILED (' + ', '.join(one.promise.id for one in bad) + ')' if bad else 'OK'}")
    return 1 if bad else 0


async def _main(options: dict[str, Any]) -> int:
    base = BASE / "lab"
    base.mkdir(mode=0o700)
    history = Path(options["history"] or BASE / "history.jsonl")
    playing = asyncio.ensure_future(play(base, history, options))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, playing.cancel)
    try:
        await playing
    except asyncio.CancelledError:
        say("interrupted; everything is being ended")
        return INTERRUPTED
    except Exception as error:
        logging.getLogger(__name__).debug("the run", exc_info=error)
        say(f"the run itself failed, nothing is judged: {type(error).__name__}: {error}")
        say(f"reproduce: {options['command']}")
        _keep_logs(base, options)
        return TROUBLE
    code = verdict(history, as_json=options["json"])
    if code:
        _keep_logs(base, options)
    return code


def _keep_logs(base: Path, options: dict[str, Any]) -> None:
    """Beside the history, if there is one: the world takes everything else along."""
    if options["history"]:
        kept = Path(f"{options['history']}.logs")
        shutil.copytree(base / "logs", kept, dirs_exist_ok=True)
        say(f"logs: {kept}")


def _furnish() -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700", "prove", str(BASE)], check=True)


if __name__ == "__main__":
    _furnish()
    sys.exit(asyncio.run(_main(json.loads(sys.argv[1]))))
