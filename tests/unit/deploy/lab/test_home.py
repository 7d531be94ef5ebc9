"""One lab at a time, known by a lock and not by its files; what a killed one left is cleaned (issue 3)."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from isthmus.deploy.lab.home import BASE_PREFIX, Home, LabBusy, state_folder

HOLD = """
import sys, time
from isthmus.deploy.lab.home import Home
from pathlib import Path
Home(Path(sys.argv[1])).acquire("lab")
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A state folder of its own."""
    return Home(tmp_path / "state")


@pytest.fixture
def holder(home: Home) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs a lab."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home.folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait(10)
    process.stdout.close()


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"XDG_STATE_HOME": "/x"}, "/x/isthmus"),
        ({"HOME": "/home/u"}, "/home/u/.local/state/isthmus"),
        ({"XDG_STATE_HOME": "", "HOME": "/home/u"}, "/home/u/.local/state/isthmus"),
    ],
)
def test_the_state_folder_is_where_the_desktop_rules_say(
    environ: dict[str, str], folder: str
) -> None:
    """Why: an empty variable counts as unset (XDG base directory specification)."""
    assert state_folder(environ) == Path(folder)


def test_who_comes_second_is_told_who_runs_and_the_way_out(
    home: Home, holder: subprocess.Popen[str]
) -> None:
    """Why: "resource busy" sends people to the process list; a name, a pid and a command do not."""
    home.write({"what": "the demo", "pid": 4711})
    assert home.busy()
    with pytest.raises(LabBusy) as refused:
        home.acquire("lab")
    for word in ("the demo", "4711", "isthmus lab down", "start the lab again"):
        assert word in str(refused.value)
    assert home.read() == {"what": "the demo", "pid": 4711}, "the refused one changed nothing"


def test_a_killed_holder_holds_nothing(home: Home, holder: subprocess.Popen[str]) -> None:
    """Why: a lock file with a pid in it outlives its owner; a kernel lock does not."""
    holder.send_signal(signal.SIGKILL)
    holder.wait(10)
    assert not home.busy()
    os.close(home.acquire("lab"))


def test_a_leftover_is_cleaned_by_the_next_start(home: Home) -> None:
    """Why: certificates' keys of a killed lab must not lie around until somebody looks."""
    home.folder.mkdir(parents=True)
    base = home.new_base()
    (base / "deep").mkdir()
    (base / "deep" / "key.pem").write_text("secret")
    home.write({"base": str(base)})
    os.close(home.acquire("lab"))
    assert not base.exists()
    assert home.read() is None


@pytest.mark.parametrize("where", ["precious", "", "..", "."])
def test_cleaning_removes_labs_only(home: Home, tmp_path: Path, where: str) -> None:
    """Why: a state file is a file anybody's editor can damage; it must never aim a recursive delete."""
    home.folder.mkdir(parents=True)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis").write_text("five years")
    home.write({"base": str(tmp_path / where) if where else ""})
    assert home.clean()
    assert (precious / "thesis").exists()
    assert not home.clean(), "the second time there is nothing"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "\x00"])
def test_a_damaged_state_file_is_no_lab(home: Home, text: str) -> None:
    """Why: a machine that lost power in the middle of a write must be able to start again."""
    home.folder.mkdir(parents=True)
    home.state_file.write_text(text)
    assert home.read() is None
    os.close(home.acquire("lab"))


def test_the_folder_is_closed_and_short(home: Home) -> None:
    """Why: secrets live below it, and a Unix socket's path has 107 bytes."""
    base = home.new_base()
    try:
        assert stat.S_IMODE(base.stat().st_mode) == 0o700
        assert base.name.startswith(BASE_PREFIX)
        assert (
            len(str(base / "frankfurt" / "h1" / "instances" / ("i-" + 12 * "0") / "kv.sock")) < 107
        )
    finally:
        base.rmdir()
