"""The edge to the kernel's tools: deadlines, typed failures, nothing left running."""

from __future__ import annotations

import asyncio
import os

import pytest
from tests.support import eventually

from isthmus.vswitch import CommandFailed, CommandTimedOut, Node, NodeGone

HERE = Node()


def test_a_node_is_entered_without_copying_mounts() -> None:
    """``ip netns exec`` grows with the number of namespaces, ``nsenter --net`` does not."""
    assert Node("h1").command("tc", "-V") == ("nsenter", "--net=/run/netns/h1", "tc", "-V")
    assert HERE.command("tc", "-V") == ("tc", "-V")


async def test_output_and_input_pass() -> None:
    """A batch goes in, an answer comes out."""
    assert await HERE.run("cat", stdin="a\nb\n") == "a\nb\n"


async def test_a_failure_carries_the_tools_own_words() -> None:
    """An operator reads what the kernel said, and the code may be told apart by."""
    with pytest.raises(CommandFailed, match="ended with 3: so sorry") as caught:
        await HERE.run("sh", "-c", "echo so sorry >&2; exit 3")
    assert (caught.value.returncode, caught.value.stderr) == (3, "so sorry\n")


async def test_a_missing_tool_is_named() -> None:
    """No stack trace of a missing file; the sentence says what to install."""
    with pytest.raises(CommandFailed, match="no-such-tool is not installed"):
        await HERE.run("no-such-tool")


async def test_a_missing_node_is_its_own_error() -> None:
    """A host that is down is not a broken command: the caller waits for it instead."""
    with pytest.raises(NodeGone, match="'no-such-node'"):
        await Node("no-such-node").run("true")


async def test_a_tool_that_hangs_is_killed() -> None:
    """Every wait has an end, and nothing goes on behind our back."""
    with pytest.raises(CommandTimedOut, match=r"within 0\.2 s"):
        await HERE.run("sleep", "987654", timeout_s=0.2)
    assert not _running("987654")


async def test_a_cancelled_call_leaves_no_process() -> None:
    """A task that is cancelled (leadership lost, shutdown) takes its tool along."""
    task = asyncio.ensure_future(HERE.run("sleep", "987655"))
    await eventually(lambda: _running("987655"), "the tool runs")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not _running("987655")


async def test_empty_batches_run_nothing() -> None:
    """Nothing to do costs nothing: not even a process."""
    gone = Node("no-such-node")
    assert await gone.ip([]) == ""
    assert await gone.tc(()) == ""
    await gone.nft("")


async def test_a_secret_environment_does_not_reach_the_tools(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tools get a path and a language, nothing of ours."""
    monkeypatch.setenv("ISTHMUS_SECRET", "hunter2")
    text = await HERE.run("env")
    assert "hunter2" not in text
    assert "LC_ALL=C" in text


def _running(word: str) -> bool:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if file.read().split(b"\0")[:2] == [b"sleep", word.encode()]:
                    return True
        except OSError:
            continue
    return False
