"""One supervised process through all its lives: start, watch, reap, come back after a pause.

The end of a life is learnt from a pidfd that becomes readable, without a thread, and a signal is
sent through the same pidfd: it can never hit a stranger who was given the process id since. Each
process leads a session of its own; when the leader ends, what is left of its group is killed
*before* the leader is reaped, while its id cannot have been reused.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
from collections.abc import Callable

from isthmus.deploy.errors import NotReady, StartFailed
from isthmus.deploy.process_spec import (
    NETNS_FOLDER,
    ProcessSpec,
    ProcessStatus,
    Ready,
    State,
)

log = logging.getLogger(__name__)

PROBE_EVERY_S = 0.05
PROBE_TIMEOUT_S = 5.0
LOG_TAIL_BYTES = 1_500


class Supervised:
    """The lives of one ProcessSpec. Owned by a Supervisor; not for direct use."""

    def __init__(
        self,
        spec: ProcessSpec,
        *,
        clock: Callable[[], float],
        roll: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        self.spec = spec
        self._clock = clock
        self._roll = roll
        self._changed = changed
        self._state: State = "stopped"
        self._since = clock()
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._restarts = 0
        self._last_exit: int | None = None
        self._stop = asyncio.Event()
        self._news = asyncio.Event()  # set, and replaced, at each change of state
        self._guard: asyncio.Task[None] | None = None
        self._prober: asyncio.Task[None] | None = None
        self._probe_says = "never asked"

    # ---- seen from outside

    @property
    def over(self) -> bool:
        """True when no life is left: stopped, or ended and not to return."""
        return self._state in ("stopped", "ended")

    def status(self) -> ProcessStatus:
        """A copy of what is known now."""
        return ProcessStatus(
            name=self.spec.name,
            state=self._state,
            pid=self._process.pid if self._process else None,
            netns=self.spec.netns,
            restarts=self._restarts,
            last_exit=self._last_exit,
            since_unix_s=self._since,
            log_file=str(self.spec.log_file) if self.spec.log_file else None,
        )

    def start(self) -> None:
        """Begin the first life at once (StartFailed if that is impossible) and keep watch."""
        ended = self._spawn()
        self._guard = asyncio.create_task(self._keep(ended), name=f"supervise {self.spec.name}")

    async def stop(self, timeout_s: float | None = None) -> None:
        """Ask it to end, insist after the stop timeout, return when it is reaped. Repeatable."""
        patience_s = self.spec.stop_timeout_s if timeout_s is None else timeout_s
        self._stop.set()
        if self._guard is None:
            return
        if self._process is not None:
            self._enter("stopping")
            self.send(self.spec.stop_signal)
            self.send(signal.SIGCONT)  # a frozen process cannot hear
        await asyncio.wait({self._guard}, timeout=patience_s)
        self._send_group(signal.SIGKILL)
        await self._guard

    def send(self, number: signal.Signals) -> bool:
        """Send a signal to the process itself; False when it is not running."""
        if self._process is None:
            return False
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            return False
        if number == signal.SIGKILL:  # nobody survives it: from now on "ready" means the next life
            self._enter("waiting")
        return True

    def pause(self) -> bool:
        """Freeze it with its children, as a hung machine would."""
        if not self._send_group(signal.SIGSTOP):
            return False
        self._enter("paused")
        return True

    def resume(self) -> bool:
        """Let a frozen one go on; its readiness is asked anew."""
        if not self._send_group(signal.SIGCONT):
            return False
        self._run_or_ready()
        return True

    async def wait_ready(self, timeout_s: float) -> None:
        """Return when it is ready; NotReady, with the end of its log, when that never comes."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._state != "ready" and not self.over:
                    await self._news.wait()
        except TimeoutError:
            raise NotReady(self._unready(f"not ready within {timeout_s:g} s")) from None
        if self.over:
            raise NotReady(self._unready(f"ended with code {self._last_exit} before it was ready"))

    # ---- its lives

    def _spawn(self) -> asyncio.Future[None]:
        """Start the program; the future resolves when it ended and waits to be reaped."""
        spec = self.spec
        if spec.netns is not None and not (NETNS_FOLDER / spec.netns).exists():
            raise StartFailed(f"process {spec.name!r}: no network namespace {spec.netns!r}")
        try:
            with contextlib.ExitStack() as stack:
                sink: int = subprocess.DEVNULL
                if spec.log_file is not None:
                    spec.log_file.parent.mkdir(parents=True, exist_ok=True)
                    sink = stack.enter_context(spec.log_file.open("ab")).fileno()
                process = subprocess.Popen(
                    spec.command(),
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **spec.env, **spec.secret_env},
                    cwd=spec.cwd,
                    start_new_session=True,
                )
        except OSError as error:
            raise StartFailed(f"process {spec.name!r}: {error}") from error
        self._process = process
        self._pidfd = os.pidfd_open(process.pid)
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._pidfd, self._saw_end, ended)
        self._run_or_ready()
        return ended

    def _saw_end(self, ended: asyncio.Future[None]) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        if not ended.done():
            ended.set_result(None)

    def _reap(self) -> int:
        """Collect the ended leader and kill what is left of its group first."""
        process = self._process
        assert process is not None
        if self._prober is not None:
            self._prober.cancel()
        self._send_group(signal.SIGKILL)
        code = process.wait()
        os.close(self._pidfd)
        self._process, self._pidfd, self._last_exit = None, -1, code
        return code

    async def _keep(self, ended: asyncio.Future[None] | None) -> None:
        """Live, die, pause, live again, until told to stop or the policy says no."""
        policy, short_lives = self.spec.restart, 0
        while True:
            code = 127
            if ended is not None:
                born = self._clock()
                await ended
                code = self._reap()
                short_lives = 0 if self._clock() - born >= policy.steady_after_s else short_lives
            if self._stop.is_set() or not policy.returns(code):
                self._enter("stopped" if self._stop.is_set() else "ended")
                return
            delay_s = policy.delay_s(short_lives, self._roll())
            log.warning("%s ended (%s), back in %.2f s", self.spec.name, code, delay_s)
            self._enter("waiting")
            if await self._stopped_within(delay_s):
                self._enter("stopped")
                return
            short_lives += 1
            self._restarts += 1
            ended = self._spawn_again()

    def _spawn_again(self) -> asyncio.Future[None] | None:
        try:
            return self._spawn()
        except StartFailed as error:
            log.warning("%s", error)
            return None

    async def _stopped_within(self, delay_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), delay_s)
        return self._stop.is_set()

    # ---- small parts

    def _send_group(self, number: signal.Signals) -> bool:
        if self._process is None:
            return False
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)
        return True

    def _enter(self, state: State) -> None:
        self._state = state
        self._since = self._clock()
        self._changed()
        self._news.set()
        self._news = asyncio.Event()

    def _run_or_ready(self) -> None:
        """A life began or goes on: ready at once, or as soon as the probe says so."""
        if self.spec.ready is None:
            self._enter("ready")
            return
        self._enter("running")
        if self._prober is not None:
            self._prober.cancel()
        self._prober = asyncio.create_task(self._probe(self.spec.ready))

    async def _probe(self, ready: Ready) -> None:
        """Ask until it says yes; cancelled when this life ends."""
        while not await self._ask(ready):  # noqa: ASYNC110 (another process has no event for us)
            await asyncio.sleep(PROBE_EVERY_S)
        if self._state == "running":
            self._enter("ready")

    async def _ask(self, ready: Ready) -> bool:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                answer = await ready()
        except Exception as error:  # a probe may fail in any way: that is a "no" with a reason
            self._probe_says = f"{type(error).__name__}: {error}"
            return False
        self._probe_says = "no"
        return answer

    def _unready(self, what: str) -> str:
        return f"process {self.spec.name!r}: {what} (probe: {self._probe_says}){self._log_tail()}"

    def _log_tail(self) -> str:
        path = self.spec.log_file
        if path is None or not path.exists():
            return ""
        tail = path.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
        return f"; the end of {path}:\n{tail}"
