"""What a supervised process is, as data: its command line, where it runs, when it comes back.

Pure: no process is started here. ``ProcessSpec.command()`` is the whole truth of what will be
executed, so that a test, a unit file and a person read the same line. Secrets go into
``secret_env``; a spec whose arguments contain one is refused, because every user of a machine
reads every argument list.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from isthmus.deploy.errors import SecretInArguments

NETNS_FOLDER = Path("/run/netns")

State = Literal["starting", "running", "ready", "paused", "waiting", "stopping", "stopped", "ended"]
Ready = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """When a process that ended comes back, and after which pause."""

    when: Literal["always", "on-failure", "never"] = "always"
    first_delay_s: float = 0.1  # a healed microcontroller is missed for a tenth of a second
    cap_s: float = 5.0  # a broken one costs at most one start each five seconds
    jitter: float = 0.5  # a site full of processes killed together does not return in step
    steady_after_s: float = 10.0  # a life this long proves the process sound: count anew

    def returns(self, code: int) -> bool:
        """Does a process that ended with ``code`` come back?"""
        return self.when == "always" or (self.when == "on-failure" and code != 0)

    def delay_s(self, short_lives: int, roll: float) -> float:
        """Pause before life number ``short_lives + 1``; ``roll`` in [0, 1) is the jitter's die."""
        full = min(self.cap_s, self.first_delay_s * 2.0 ** min(short_lives, 30))
        return full * (1.0 - self.jitter * roll)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """One process to supervise. ``argv[0]`` is looked up in PATH unless it holds a slash."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)  # added to the supervisor's own
    secret_env: Mapping[str, str] = field(default_factory=dict, repr=False)  # never shown
    netns: str | None = None  # name below /run/netns; None: the supervisor's own
    cwd: Path | None = None
    restart: RestartPolicy = RestartPolicy()
    log_file: Path | None = None  # output is appended; None: thrown away
    ready: Ready | None = None  # None: ready as soon as it runs
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 5.0  # then SIGKILL, to the whole process group

    def __post_init__(self) -> None:
        """Refuse a spec without a command and one that shows a secret."""
        if not self.argv:
            raise ValueError(f"process {self.name!r}: argv is empty; name a program")
        for variable, secret in self.secret_env.items():
            if secret and any(secret in argument for argument in self.argv):
                raise SecretInArguments(
                    f"process {self.name!r}: the value of {variable} is in its arguments, which "
                    "every user can read; pass it by environment or by a file of mode 0600"
                )

    def command(self) -> tuple[str, ...]:
        """What is executed. Each step replaces itself by the next: one process, one id."""
        enter = () if self.netns is None else ("nsenter", f"--net={NETNS_FOLDER / self.netns}")
        return (*enter, "setpriv", "--pdeathsig", "KILL", "--", *self.argv)


class ProcessStatus(BaseModel):
    """What a supervisor knows of one process; nothing of it is secret."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    state: State
    pid: int | None = None
    netns: str | None = None
    restarts: int = 0
    last_exit: int | None = None  # negative: ended by that signal
    since_unix_s: float = 0.0  # when it entered ``state``
    log_file: str | None = None


class SupervisorState(BaseModel):
    """The content of a supervisor's state file: who supervises, and what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    supervisor_pid: int
    processes: tuple[ProcessStatus, ...] = ()
