"""A supervisor: owns the processes of a lab by process id, restarts them, leaves nothing behind.

A lab is some sixty processes in a dozen network namespaces (DESIGN section 8). Exactly one owner
starts them, in order, learns of each death at once, brings back what should come back after a
jittered and capped pause, and ends all of them in reverse order. Should the owner itself be killed
(SIGKILL included) the kernel kills its children: each has a parent death signal. Nothing is ever
looked up by name among the machine's processes.

    async with Supervisor(state_file=folder / "supervisor.json") as supervisor:
        supervisor.start(ProcessSpec(name="etcd.geneva", argv=("etcd", ...), netns="geneva"))
        await supervisor.wait_ready("etcd.geneva", timeout_s=20)
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from isthmus.deploy.errors import AlreadySupervised, NotSupervised
from isthmus.deploy.process_spec import ProcessSpec, ProcessStatus, SupervisorState
from isthmus.deploy.supervised import Supervised

STOP_ALL_S = 30.0  # a person who pressed ctrl-C waits this long at most


class Supervisor:
    """Starts, watches, restarts and ends processes. Lives in one event loop's main thread."""

    def __init__(
        self,
        *,
        state_file: Path | None = None,
        clock: Callable[[], float] = time.time,
        roll: Callable[[], float] = random.random,
    ) -> None:
        self._state_file = state_file
        self._clock = clock
        self._roll = roll
        self._processes: dict[str, Supervised] = {}

    async def __aenter__(self) -> Self:
        """Nothing starts by itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave nothing behind."""
        await self.stop_all()

    def start(self, spec: ProcessSpec) -> None:
        """Start a process now and keep it. AlreadySupervised while one of that name lives."""
        known = self._processes.pop(spec.name, None)
        if known is not None and not known.over:
            self._processes[spec.name] = known
            raise AlreadySupervised(f"process {spec.name!r} is running; stop it first")
        process = Supervised(spec, clock=self._clock, roll=self._roll, changed=self._write_state)
        process.start()
        self._processes[spec.name] = process
        self._write_state()

    async def wait_ready(self, name: str, timeout_s: float) -> None:
        """Return when ``name`` is ready; NotReady says why it never was."""
        await self._of(name).wait_ready(timeout_s)

    async def stop(self, name: str, timeout_s: float | None = None) -> None:
        """Ask ``name`` to end, then insist; it does not come back. Idempotent."""
        await self._of(name).stop(timeout_s)

    async def restart(self, name: str) -> None:
        """Stop ``name`` and start it again with the same spec."""
        process = self._of(name)
        await process.stop()
        self.start(process.spec)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> bool:
        """Send a signal, as a fault would; its restart policy stays. False: it was not running."""
        return self._of(name).send(number)

    def pause(self, name: str) -> bool:
        """SIGSTOP to ``name`` and its children: it hangs, it is not dead."""
        return self._of(name).pause()

    def resume(self, name: str) -> bool:
        """SIGCONT after ``pause``."""
        return self._of(name).resume()

    def status(self) -> tuple[ProcessStatus, ...]:
        """What is known of every process, in the order they were started."""
        return tuple(process.status() for process in self._processes.values())

    def status_of(self, name: str) -> ProcessStatus:
        """What is known of one process."""
        return self._of(name).status()

    async def stop_all(self, timeout_s: float = STOP_ALL_S) -> None:
        """Stop everything, last started first; past ``timeout_s`` the rest is killed at once."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        for process in reversed(tuple(self._processes.values())):
            left_s = max(0.0, deadline - loop.time())
            await process.stop(min(left_s, process.spec.stop_timeout_s))
        self._write_state()

    def _of(self, name: str) -> Supervised:
        try:
            return self._processes[name]
        except KeyError:
            known = ", ".join(self._processes) or "none"
            raise NotSupervised(f"no process {name!r}; there are: {known}") from None

    def _write_state(self) -> None:
        """Replace the state file in one step: a reader sees the old state or the new one."""
        path = self._state_file
        if path is None:
            return
        state = SupervisorState(supervisor_pid=os.getpid(), processes=self.status())
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_text(state.model_dump_json(indent=1))
        fresh.replace(path)


def read_state(path: Path) -> SupervisorState | None:
    """The state a supervisor left; None when there is no such file."""
    try:
        return SupervisorState.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
