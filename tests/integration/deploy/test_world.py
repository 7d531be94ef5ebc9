"""A private world: what is done inside cannot be seen, or survive, outside."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from tests.support import eventually

from isthmus.deploy.command import Completed, run
from isthmus.deploy.world import in_world, world_command

pytestmark = pytest.mark.world

# Not root, yet able to read the interpreter wherever it is installed: a user namespace does both.
AS_SOMEBODY = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
AS_NAMESPACE_ROOT = ["unshare", "--user", "--map-root-user"]


async def world(script: str, *, check: bool = True, prefix: list[str] | None = None) -> Completed:
    """Run a shell script in a world."""
    argv = [*(prefix or []), *world_command(["sh", "-ec", script])]
    return await run(argv, timeout_s=60, check=check)


def _running(marker: str) -> list[int]:
    """Ids of processes whose argument list holds ``marker``, other than our own."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if marker.encode() in line:
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize("code", [0, 1, 7, 255])
async def test_the_exit_code_passes_through(code: int) -> None:
    """A test run's verdict must not be lost at the border."""
    assert (await world(f"exit {code}", check=False)).code == code


async def test_death_by_signal_is_told_as_a_shell_tells_it() -> None:
    """128 + number, so that `make` fails."""
    assert (await world("kill -KILL $$", check=False)).code == 128 + signal.SIGKILL


async def test_a_missing_program_is_127() -> None:
    """As in any shell, with its name."""
    done = await run(world_command(["no-such-program"]), timeout_s=60, check=False)
    assert (done.code, "no-such-program" in done.output) == (127, True)


async def test_bad_usage_is_2() -> None:
    """And it says how it is used."""
    done = await run([sys.executable, "-m", "isthmus.deploy.world"], timeout_s=60, check=False)
    assert (done.code, "usage" in done.output) == (2, True)


async def test_arguments_and_output_pass_unchanged() -> None:
    """No shell in between that would split or expand them."""
    argv = ["printf", "%s|", "a b", "$HOME", "*", "--"]
    assert (await run(world_command(argv), timeout_s=60)).output == "a b|$HOME|*|--|"


async def test_the_world_knows_itself() -> None:
    """Tests that would harm the machine refuse to run outside."""
    script = "from isthmus.deploy.world import in_world; print(in_world())"
    done = await run(world_command([sys.executable, "-c", script]), timeout_s=60)
    assert done.output.strip() == "True"
    assert not in_world({})


async def test_names_of_network_namespaces_are_the_worlds_own() -> None:
    """Two labs on a machine both have a namespace `wan`; neither sees the other's."""
    name = f"t{uuid.uuid4().hex[:8]}"
    done = await world(f"ip netns add {name}; ip netns list; ls /run/netns")
    assert done.output.split().count(name) == 2
    assert not (Path("/run/netns") / name).exists()


async def test_the_network_is_its_own_and_loopback_works() -> None:
    """lo is down in a fresh network namespace, and everything would hang on it."""
    done = await world(
        "ls /sys/class/net; ping -c1 -W2 127.0.0.1 >/dev/null; ip link add v type veth peer name w"
    )
    assert done.output.split() == ["lo"]
    assert not Path("/sys/class/net/v").exists()


async def test_mounts_stay_inside(tmp_path: Path) -> None:
    """A lab's mounts must never show on the machine."""
    await world(f"mount -t tmpfs tmpfs {tmp_path}; touch {tmp_path}/inside; ls {tmp_path}/inside")
    assert list(tmp_path.iterdir()) == []


async def test_processes_see_only_the_world() -> None:
    """/proc is the world's: a kill by a wrong id cannot reach the machine."""
    done = await world("for p in /proc/[0-9]*; do echo ${p#/proc/}; done")
    assert max(int(pid) for pid in done.output.split()) < 50


async def test_what_is_left_running_ends_with_the_command(tmp_path: Path) -> None:
    """A daemon that left its session and its parent is still gone when the command returns."""
    marker = f"marker-{uuid.uuid4().hex}"
    stay = f"setsid sh -c 'trap \"\" TERM INT HUP; sleep 1000; : {marker}' &"
    await world(f"{stay} while ! pgrep -f {marker} >/dev/null; do :; done")
    await eventually(lambda: not _running(marker), "what was left in the world ends")


async def test_orphans_are_reaped() -> None:
    """Process 1 that does not reap fills the table with zombies in a long lab."""
    script = (
        "for i in 1 2 3 4 5; do sh -c 'sleep 0 & exit' ; done; "
        "n=0; while grep -l 'State:.*Z' /proc/[0-9]*/status >/dev/null 2>&1; do "
        "n=$((n+1)); [ $n -lt 2000 ]; done; echo clean"
    )
    assert (await world(script)).output.strip() == "clean"


async def _start(script: str, ready: Path) -> asyncio.subprocess.Process:
    gate = await asyncio.create_subprocess_exec(
        *world_command(["sh", "-c", script]), stdin=subprocess.DEVNULL, start_new_session=True
    )
    await eventually(ready.exists, "the command in the world runs")
    return gate


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_to_the_gate_reaches_the_command_once(
    tmp_path: Path, number: signal.Signals
) -> None:
    """ctrl-C starts the clean-up of a lab; a second one would cut the clean-up short."""
    ready, heard = tmp_path / "ready", tmp_path / "heard"
    name = number.name.removeprefix("SIG")
    script = (
        f"n=0; trap 'echo heard >> {heard}; n=$((n+1))' {name}; touch {ready}; "
        "while [ $n -lt 1 ]; do sleep 0.05; done; sleep 0.3; exit 5"
    )
    gate = await _start(script, ready)
    gate.send_signal(number)
    assert await asyncio.wait_for(gate.wait(), 30) == 5
    assert heard.read_text().split() == ["heard"]


async def test_a_terminals_interrupt_reaches_the_command_once(tmp_path: Path) -> None:
    """The terminal signals the whole foreground group itself: passing it on would make it two."""
    ready, heard = tmp_path / "ready", tmp_path / "heard"
    script = (
        f"n=0; trap 'echo heard >> {heard}; n=$((n+1))' INT; touch {ready}; "
        "while [ $n -lt 1 ]; do sleep 0.05; done; sleep 0.3; exit 5"
    )
    terminal, line = os.openpty()
    try:
        gate = await asyncio.create_subprocess_exec(
            "setsid", "--ctty", "--wait", *world_command(["sh", "-c", script]), stdin=line
        )
        await eventually(ready.exists, "the command in the world runs")
        os.write(terminal, b"\x03")
        assert await asyncio.wait_for(gate.wait(), 30) == 5
    finally:
        os.close(line)
        os.close(terminal)
    assert heard.read_text().split() == ["heard"]


async def test_killing_the_gate_ends_the_world(tmp_path: Path) -> None:
    """Whoever kills a stuck lab with -9 must not have to hunt for its sixty processes."""
    marker, ready = f"marker-{uuid.uuid4().hex}", tmp_path / "ready"
    script = f"trap '' TERM INT HUP; touch {ready}; while :; do sleep 0.1; : {marker}; done"
    gate = await _start(script, ready)
    assert _running(marker)
    gate.kill()
    await gate.wait()
    await eventually(lambda: not _running(marker), "the world ends with its gate")


async def test_worlds_can_be_nested() -> None:
    """The whole test run is in one, and these tests make their own."""
    inner = " ".join(world_command(["true"]))
    assert (await world(f"ip netns add a; {inner}; ls /run/netns")).output.strip() == "a"


async def test_a_user_gets_a_world_through_a_user_namespace() -> None:
    """Root is not needed where the kernel grants user namespaces: veth, tc and nft work there."""
    script = (
        "id -u; ip netns add a; ip link add v0 type veth peer name v1 netns a; "
        "tc qdisc add dev v0 clsact; nft add table inet t; ls /run/netns"
    )
    done = await world(script, prefix=AS_SOMEBODY)
    assert done.output.split() == ["0", "a"]


async def test_without_root_and_user_namespaces_it_says_what_is_missing() -> None:
    """The message names the switch, no stack trace, and its own exit code.

    The switch is turned off inside a user namespace of our own, never on the machine.
    """
    inner = " ".join(["setpriv", "--bounding-set=-all", *world_command(["true"])])
    script = f"echo 0 > /proc/sys/user/max_user_namespaces; {inner}"
    done = await world(script, check=False, prefix=AS_NAMESPACE_ROOT)
    assert done.code == 69, done.output
    assert "user.max_user_namespaces" in done.output
    assert "root without CAP_SYS_ADMIN" in done.output
    assert "Traceback" not in done.output
