"""The supervisor owns real processes: it learns of deaths, brings back, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from tests.support import eventually

from isthmus.deploy.command import run
from isthmus.deploy.errors import AlreadySupervised, NotReady, NotSupervised, StartFailed
from isthmus.deploy.process_spec import ProcessSpec, ProcessStatus, RestartPolicy
from isthmus.deploy.supervisor import Supervisor, read_state
from isthmus.deploy.world import world_command

SLEEP = ("sleep", "1000")
QUICK = RestartPolicy(first_delay_s=0.01, cap_s=0.05)


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    """A supervisor that is stopped, with all it owns, after the test."""
    async with Supervisor(state_file=tmp_path / "state.json", roll=lambda: 0.5) as owner:
        yield owner


def ended(pid: int) -> bool:
    """The opposite of ``alive``, for waiting."""
    return not alive(pid)


def alive(pid: int) -> bool:
    """Is there such a process, other than a zombie?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def pid_of(status: ProcessStatus) -> int:
    """The id of a process that runs."""
    assert status.pid is not None
    return status.pid


async def test_a_process_starts_and_is_what_was_asked(supervisor: Supervisor) -> None:
    """The id we know is the program's own, not that of a wrapper around it."""
    supervisor.start(ProcessSpec(name="a", argv=SLEEP))
    pid = pid_of(supervisor.status_of("a"))
    line = Path(f"/proc/{pid}/cmdline")
    await eventually(lambda: line.read_bytes() == b"sleep\x001000\x00", "the wrapper becomes it")


async def test_stop_ends_and_reaps_and_it_stays_away(supervisor: Supervisor) -> None:
    """A stopped process is gone, not a zombie, although its policy is always."""
    supervisor.start(ProcessSpec(name="a", argv=SLEEP, restart=QUICK))
    pid = pid_of(supervisor.status_of("a"))
    await supervisor.stop("a")
    assert not Path(f"/proc/{pid}").exists()
    status = supervisor.status_of("a")
    assert (status.state, status.pid, status.last_exit) == ("stopped", None, -signal.SIGTERM)
    await supervisor.stop("a")  # twice is as good as once


async def test_one_that_ignores_the_request_is_killed(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """A hung process must not hang the end of a lab."""
    ready = tmp_path / "ready"
    script = f"trap '' TERM; touch {ready}; while :; do sleep 0.05; done"
    supervisor.start(ProcessSpec(name="deaf", argv=("sh", "-c", script), stop_timeout_s=0.2))
    await eventually(ready.exists, "it ignores SIGTERM by now")
    await supervisor.stop("deaf")
    assert supervisor.status_of("deaf").last_exit == -signal.SIGKILL


async def test_a_killed_process_comes_back(supervisor: Supervisor) -> None:
    """The promise of a lab: each part may be killed -9 at any time."""
    supervisor.start(ProcessSpec(name="a", argv=SLEEP, restart=QUICK))
    before = pid_of(supervisor.status_of("a"))
    assert supervisor.kill("a")
    assert supervisor.status_of("a").state == "waiting"  # at once: "ready" means the next life
    await supervisor.wait_ready("a", timeout_s=20)
    status = supervisor.status_of("a")
    assert status.pid not in (None, before)
    assert (status.restarts, status.last_exit) == (1, -signal.SIGKILL)


async def test_its_children_do_not_outlive_it(supervisor: Supervisor, tmp_path: Path) -> None:
    """Killing only the leader would leave a worker holding the port of the next life."""
    note = tmp_path / "child"
    script = f"sleep 1000 & echo $! > {note}.new; mv {note}.new {note}; wait"
    policy = RestartPolicy(when="never")
    supervisor.start(ProcessSpec(name="a", argv=("sh", "-c", script), restart=policy))
    await eventually(note.exists, "the child runs")
    supervisor.kill("a")
    child = int(note.read_text())
    await eventually(lambda: not alive(child), "the child ends with its leader")


@pytest.mark.parametrize(
    ("when", "code", "restarts"),
    [("never", 3, False), ("on-failure", 0, False), ("on-failure", 3, True), ("always", 0, True)],
)
async def test_the_policy_decides_who_returns(
    supervisor: Supervisor, when: str, code: int, restarts: bool
) -> None:
    """One-shot tasks end; servers come back."""
    policy = RestartPolicy(when=when, first_delay_s=0.01)  # type: ignore[arg-type]
    supervisor.start(ProcessSpec(name="a", argv=("sh", "-c", f"exit {code}"), restart=policy))
    wanted = "it returns" if restarts else "it ends for good"

    def settled() -> bool:
        status = supervisor.status_of("a")
        return status.restarts > 0 if restarts else status.state == "ended"

    await eventually(settled, wanted)
    assert supervisor.status_of("a").last_exit == code


async def test_a_sound_life_starts_the_count_anew() -> None:
    """One death a day must not add up to the longest pause; a crash loop must."""
    now = [0.0]
    pauses: list[float] = []

    class Noting(RestartPolicy):
        def delay_s(self, short_lives: int, roll: float) -> float:
            pauses.append(float(short_lives))
            return 0.0

    async with Supervisor(clock=lambda: now[0]) as supervisor:
        supervisor.start(ProcessSpec(name="a", argv=SLEEP, restart=Noting(steady_after_s=10)))
        for life, lasted_s in enumerate((1.0, 1.0, 60.0, 1.0), start=1):
            now[0] += lasted_s
            supervisor.kill("a")
            await eventually(
                lambda n=life: supervisor.status_of("a").restarts == n,  # type: ignore[misc]
                f"life {life + 1} begins",
            )
    assert pauses == [0, 1, 0, 1]


async def test_readiness_is_what_the_probe_says(supervisor: Supervisor, tmp_path: Path) -> None:
    """A process that runs is not yet a service."""
    sign = tmp_path / "sign"

    async def ready() -> bool:
        return sign.exists()

    supervisor.start(ProcessSpec(name="a", argv=SLEEP, ready=ready, restart=QUICK))
    with pytest.raises(NotReady, match=r"'a': not ready within 0.2 s \(probe: no\)"):
        await supervisor.wait_ready("a", timeout_s=0.2)
    assert supervisor.status_of("a").state == "running"
    sign.touch()
    await supervisor.wait_ready("a", timeout_s=20)
    assert supervisor.status_of("a").state == "ready"


async def test_a_new_life_is_asked_anew(supervisor: Supervisor, tmp_path: Path) -> None:
    """Yesterday's yes says nothing about a process that was started since."""
    sign = tmp_path / "sign"
    sign.touch()

    async def ready() -> bool:
        return sign.exists()

    supervisor.start(ProcessSpec(name="a", argv=SLEEP, ready=ready, restart=QUICK))
    await supervisor.wait_ready("a", timeout_s=20)
    sign.unlink()
    supervisor.kill("a")
    await eventually(lambda: supervisor.status_of("a").state == "running", "the next life begins")
    with pytest.raises(NotReady):
        await supervisor.wait_ready("a", timeout_s=0.2)


async def test_a_failing_probe_is_a_no_with_its_reason(supervisor: Supervisor) -> None:
    """The person who waits wants to know why."""

    async def ready() -> bool:
        raise ConnectionRefusedError("port 2379")

    supervisor.start(ProcessSpec(name="a", argv=SLEEP, ready=ready))
    with pytest.raises(NotReady, match=r"ConnectionRefusedError: port 2379"):
        await supervisor.wait_ready("a", timeout_s=0.2)


async def test_an_early_end_is_told_at_once_with_the_log(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """Waiting out the timeout for a process that is dead wastes a person's minute."""

    async def ready() -> bool:
        return False

    spec = ProcessSpec(
        name="a",
        argv=("sh", "-c", "echo bind: address already in use >&2; exit 1"),
        restart=RestartPolicy(when="never"),
        ready=ready,
        log_file=tmp_path / "logs" / "a.log",
    )
    supervisor.start(spec)
    with pytest.raises(NotReady, match=r"(?s)ended with code 1 before.*address already in use"):
        await supervisor.wait_ready("a", timeout_s=60)


async def test_logs_are_kept_over_lives(supervisor: Supervisor, tmp_path: Path) -> None:
    """The reason of a crash is in the log of the life before."""
    log = tmp_path / "a.log"
    argv = ("sh", "-c", "echo life; exec sleep 1000")
    supervisor.start(ProcessSpec(name="a", argv=argv, log_file=log, restart=QUICK))
    await eventually(lambda: log.read_text() == "life\n", "the first life writes")
    supervisor.kill("a")
    await eventually(lambda: log.read_text() == "life\nlife\n", "the second life appends")


async def test_pause_freezes_and_resume_thaws(supervisor: Supervisor) -> None:
    """A hung process is another fault than a dead one: the fence is tested with it."""
    supervisor.start(ProcessSpec(name="a", argv=SLEEP))
    pid = pid_of(supervisor.status_of("a"))

    def kernel_state() -> str:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]

    assert supervisor.pause("a")
    await eventually(lambda: kernel_state() == "T", "the kernel stops it")
    assert supervisor.status_of("a").state == "paused"
    assert supervisor.resume("a")
    await eventually(lambda: kernel_state() == "S", "the kernel lets it go on")
    assert supervisor.status_of("a").state == "ready"


async def test_a_frozen_process_can_be_stopped(supervisor: Supervisor) -> None:
    """It cannot hear SIGTERM while it is frozen; the end of a lab must not wait for that."""
    supervisor.start(ProcessSpec(name="a", argv=SLEEP))
    supervisor.pause("a")
    await supervisor.stop("a")
    assert supervisor.status_of("a").last_exit == -signal.SIGTERM


async def test_stop_all_goes_backwards(supervisor: Supervisor, tmp_path: Path) -> None:
    """What was started first is what the others stand on: it goes last."""
    order = tmp_path / "order"
    for name in ("etcd", "agent", "api"):
        up = tmp_path / name
        script = (
            f"trap 'echo {name} >> {order}; exit' TERM; touch {up}; while :; do sleep 0.02; done"
        )
        supervisor.start(ProcessSpec(name=name, argv=("sh", "-c", script)))
        await eventually(up.exists, f"{name} is up")
    await supervisor.stop_all()
    assert order.read_text().split() == ["api", "agent", "etcd"]
    assert [s.state for s in supervisor.status()] == ["stopped"] * 3


async def test_stop_all_has_a_deadline_for_all_together(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """Sixty deaf processes of five seconds each would keep a person five minutes."""
    for n in range(3):
        up = tmp_path / str(n)
        script = f"trap '' TERM; touch {up}; while :; do sleep 0.05; done"
        supervisor.start(ProcessSpec(name=str(n), argv=("sh", "-c", script), stop_timeout_s=1000))
        await eventually(up.exists, f"{n} is up")
    await supervisor.stop_all(timeout_s=0.2)
    assert {s.last_exit for s in supervisor.status()} == {-signal.SIGKILL}


async def test_names_are_unique_while_they_live(supervisor: Supervisor) -> None:
    """Two owners of one data folder would be a corrupt store."""
    spec = ProcessSpec(name="a", argv=SLEEP)
    supervisor.start(spec)
    first = supervisor.status_of("a").pid
    with pytest.raises(AlreadySupervised, match="'a' is running; stop it first"):
        supervisor.start(spec)
    assert supervisor.status_of("a").pid == first
    await supervisor.stop("a")
    supervisor.start(spec)
    assert supervisor.status_of("a").state == "ready"


async def test_restart_keeps_the_spec(supervisor: Supervisor) -> None:
    """An orderly restart is not a fault: the count of restarts starts anew."""
    supervisor.start(ProcessSpec(name="a", argv=SLEEP))
    before = supervisor.status_of("a").pid
    await supervisor.restart("a")
    status = supervisor.status_of("a")
    assert status.pid not in (None, before)
    assert status.restarts == 0


async def test_unknown_names_are_told_with_the_known(supervisor: Supervisor) -> None:
    """A typo in a chaos experiment must not pass as a fault that was survived."""
    supervisor.start(ProcessSpec(name="etcd.a", argv=SLEEP))
    with pytest.raises(NotSupervised, match=r"no process 'etcd.b'; there are: etcd.a"):
        supervisor.kill("etcd.b")


async def test_a_program_that_cannot_start_is_told_at_once(supervisor: Supervisor) -> None:
    """A namespace that is not there is the lab's mistake, not the program's crash."""
    with pytest.raises(StartFailed, match="no network namespace 'nowhere'"):
        supervisor.start(ProcessSpec(name="a", argv=SLEEP, netns="nowhere"))
    with pytest.raises(StartFailed, match="'b'"):
        supervisor.start(ProcessSpec(name="b", argv=SLEEP, cwd=Path("/nowhere")))
    assert supervisor.status() == ()


async def test_secrets_reach_the_process_and_nobody_else(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """By environment, never in an argument list, the state file or a status."""
    seen = tmp_path / "seen"
    spec = ProcessSpec(
        name="a",
        argv=("sh", "-c", f'printf %s "$TOKEN" > {seen}; exec sleep 1000'),
        secret_env={"TOKEN": "hunter2"},
    )
    supervisor.start(spec)
    await eventually(lambda: seen.exists() and seen.read_text() == "hunter2", "it has the secret")
    pid = pid_of(supervisor.status_of("a"))
    assert b"hunter2" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert "hunter2" not in (tmp_path / "state.json").read_text()


async def test_the_state_file_tells_what_is(supervisor: Supervisor, tmp_path: Path) -> None:
    """`lab status` reads it from outside, at any moment, whole."""
    path = tmp_path / "state.json"
    supervisor.start(ProcessSpec(name="a", argv=SLEEP))
    state = read_state(path)
    assert state is not None
    assert state.supervisor_pid == os.getpid()
    assert state.processes == supervisor.status()
    assert json.loads(path.read_text())["processes"][0]["state"] == "ready"
    await supervisor.stop_all()
    after = read_state(path)
    assert after is not None
    assert [p.state for p in after.processes] == ["stopped"]
    assert read_state(tmp_path / "none.json") is None


@pytest.mark.world
async def test_a_process_runs_in_its_network_namespace() -> None:
    """A site's etcd must be inside the site's namespace, or a cut would not cut it off."""
    program = """
import asyncio, os, pathlib
from isthmus.deploy.supervisor import Supervisor
from isthmus.deploy.process_spec import ProcessSpec
async def main():
    async with Supervisor() as owner:
        owner.start(ProcessSpec(name="a", argv=("sleep", "1000"), netns="geneva"))
        pid = owner.status_of("a").pid
        want = os.stat("/run/netns/geneva").st_ino
        while pathlib.Path(f"/proc/{pid}/comm").read_text() != "sleep\\n":
            await asyncio.sleep(0.01)
        print(os.stat(f"/proc/{pid}/ns/net").st_ino == want, os.stat("/proc/self/ns/net").st_ino == want)
asyncio.run(main())
"""
    script = f"ip netns add geneva && exec {sys.executable} -c '{program}'"
    done = await run(world_command(["sh", "-c", script]), timeout_s=60)
    assert done.output.split() == ["True", "False"]


async def test_a_killed_supervisor_takes_its_processes_along(tmp_path: Path) -> None:
    """Even kill -9 of the owner leaves nothing: the kernel ends the children."""
    note = tmp_path / "pids"
    program = f"""
import asyncio, pathlib
from isthmus.deploy.supervisor import Supervisor
from isthmus.deploy.process_spec import ProcessSpec
async def main():
    owner = Supervisor()
    for name in "ab":
        owner.start(ProcessSpec(name=name, argv=("sleep", "1000")))
    pids = [s.pid for s in owner.status()]
    while any(pathlib.Path(f"/proc/{{p}}/comm").read_text() != "sleep\\n" for p in pids):
        await asyncio.sleep(0.01)
    pathlib.Path({str(note)!r}).write_text(" ".join(map(str, pids)))
    os.kill(os.getpid(), 9)
import os
asyncio.run(main())
"""
    done = await run([sys.executable, "-c", program], timeout_s=60, check=False)
    assert done.code == -signal.SIGKILL, done.output
    for pid in map(int, note.read_text().split()):
        await eventually(partial(ended, pid), f"{pid} ends with its owner")
