"""Run one command, with a deadline, and say clearly what became of it.

Everything this package asks of other programs (``go``, ``apt-get``, ``nft``, ``etcdctl``) goes
through ``run``: an argument list and never a shell, no inherited standard input, a timeout without
a default worth forgetting, and an error whose text shows the command and the end of its output.
A command that overruns is killed together with everything it started (its own process group).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from isthmus.deploy.errors import CommandFailed, CommandTimeout

TAIL_CHARS = 2_000  # as much of a failed command's output as a person reads


@dataclass(frozen=True, slots=True)
class Completed:
    """What a finished command left: its exit code and its output (standard error included)."""

    argv: tuple[str, ...]
    code: int
    output: str


async def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
    check: bool = True,
) -> Completed:
    """Run ``argv`` to its end. ``env`` replaces the environment; None inherits it.

    Raises CommandFailed for an exit code other than 0 (unless ``check`` is False) or when the
    program does not exist (code 127), and CommandTimeout when the deadline passes.
    """
    text = shlex.join(argv)
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=True,
        )
    except OSError as error:
        raise CommandFailed(f"{text}: {error.strerror}", code=127, output="") from error
    data = None if stdin is None else stdin.encode()
    try:
        raw, _ = await asyncio.wait_for(process.communicate(data), timeout_s)
    except TimeoutError:
        raise CommandTimeout(f"{text}: still running after {timeout_s:g} s, killed") from None
    finally:
        await _end(process)
    code = process.returncode if process.returncode is not None else -1
    output = raw.decode(errors="replace")
    if check and code != 0:
        tail = output.strip()[-TAIL_CHARS:]
        raise CommandFailed(f"{text}: exit code {code}\n{tail}", code=code, output=tail)
    return Completed(tuple(argv), code, output)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill a command that is still there (overrun or cancelled), with its children; reap it."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
