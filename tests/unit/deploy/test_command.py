"""Commands of other programs end in time, say what went wrong, and leave no children."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from tests.support import eventually

from isthmus.deploy.command import run
from isthmus.deploy.errors import CommandFailed, CommandTimeout


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return state != "Z"


async def test_output_of_both_streams_comes_back_in_order() -> None:
    """A failing tool explains itself on standard error; losing that loses the reason."""
    done = await run(["sh", "-c", "echo one; echo two >&2"], timeout_s=20)
    assert (done.code, done.output) == (0, "one\ntwo\n")


async def test_standard_input_is_given_or_empty_but_never_inherited() -> None:
    """A tool that waits for a terminal would hang a lab."""
    assert (await run(["cat"], timeout_s=20)).output == ""
    assert (await run(["cat"], timeout_s=20, stdin="table inet x")).output == "table inet x"


async def test_a_failure_names_command_code_and_the_end_of_the_output() -> None:
    """The message is all a user sees."""
    with pytest.raises(CommandFailed, match=r"exit code 3\nno such table") as caught:
        await run(["sh", "-c", "echo no such table; exit 3"], timeout_s=20)
    assert caught.value.code == 3
    assert "sh -c" in str(caught.value)


async def test_an_unchecked_failure_is_data() -> None:
    """Probes ask whether something works; no is an answer."""
    assert (await run(["false"], timeout_s=20, check=False)).code == 1


async def test_a_missing_program_is_a_plain_failure() -> None:
    """Not an OSError from the depths: callers handle one tree of errors."""
    with pytest.raises(CommandFailed, match="No such file") as caught:
        await run(["no-such-program-here"], timeout_s=20)
    assert caught.value.code == 127


async def test_only_the_given_environment_is_passed() -> None:
    """Builds must not depend on what the user's shell happens to export."""
    done = await run(
        [sys.executable, "-c", "import os; print(sorted(os.environ))"],
        timeout_s=20,
        env={"ONLY": "this", "LC_CTYPE": "C.UTF-8"},
    )
    assert done.output.strip() == "['LC_CTYPE', 'ONLY']"


async def test_an_overrun_kills_the_whole_family(tmp_path: Path) -> None:
    """A shell killed alone would leave its child running for ever."""
    note = tmp_path / "child"
    with pytest.raises(CommandTimeout, match=r"still running after 0\.3 s"):
        await run(["sh", "-c", f"sleep 1000 & echo $! > {note}; wait"], timeout_s=0.3)
    child = int(note.read_text())
    await eventually(lambda: not _alive(child), f"child {child} of the killed command ends")


async def test_cancelling_kills_the_command(tmp_path: Path) -> None:
    """ctrl-C in the middle of a build must not leave the compiler running."""
    note = tmp_path / "pid"
    task = asyncio.create_task(
        run(
            ["sh", "-c", f"echo $$ > {note}.new; mv {note}.new {note}; exec sleep 1000"],
            timeout_s=60,
        )
    )
    await eventually(note.exists, "the command starts")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not _alive(int(note.read_text()))
