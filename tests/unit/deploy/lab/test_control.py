"""The lab seen from outside, when it is not there or not as it should be: each answer says what to do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from isthmus.deploy.lab import control
from isthmus.deploy.lab.carrier import carrier
from isthmus.deploy.lab.home import Home, LabBusy, NoLab
from isthmus.deploy.lab.spec import LabSite, LabSpec

SPEC = LabSpec(sites=(LabSite(site="milan"),))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A state folder of its own, as the environment names it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return Home.of()


def test_no_file_means_the_demos_carrier() -> None:
    """Why: ``isthmus lab up`` alone must work."""
    assert control.read_spec(None) == carrier()


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    """Why: what status shows and what the daemon builds is this document, both ways."""
    path = tmp_path / "lab.json"
    path.write_text(SPEC.model_dump_json())
    assert control.read_spec(path) == SPEC


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "No such file"),
        ("{", "field file"),
        ('{"sites": []}', "field sites"),
        ('{"sites": [{"site": "milan", "hosts": "many"}]}', "field sites.0.hosts"),
        ('{"sites": [{"site": "milan"}], "size": 3}', "field size"),
    ],
)
def test_a_file_that_is_no_lab_is_refused_by_field(
    tmp_path: Path, text: str | None, words: str
) -> None:
    """Why: the person has the file open; the field is what they search for."""
    path = tmp_path / "lab.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(control.LabFailed) as refused:
        control.read_spec(path)
    assert str(path) in str(refused.value)
    assert words in str(refused.value)


def test_down_without_a_lab_is_no_error(home: Home) -> None:
    """Why: ``make lab-down`` is typed to be sure."""
    assert control.down(tell=lambda _: None) == {"lab": "none was running"}


def test_down_cleans_what_a_killed_lab_left_and_kills_nobody(home: Home) -> None:
    """Why: the pid in a leftover's state may belong to somebody else by now; here it is this very process."""
    os.close(home.acquire("lab"))
    base = home.new_base()
    home.write({"what": "the lab", "pid": os.getpid(), "base": str(base)})
    assert control.down(tell=lambda _: None) == {"lab": "ended", "left behind": "nothing"}
    assert not base.exists()


def test_status_and_exec_without_a_lab_say_how_to_start_one(home: Home) -> None:
    """Why: the next command is part of the answer."""
    assert "isthmus lab up" in control.status()["lab"]
    with pytest.raises(NoLab, match="isthmus lab up"):
        control.execute("milan", ["true"])


def test_status_of_a_leftover_is_no_lab(home: Home) -> None:
    """Why: a state file without a living owner is not a lab that runs."""
    os.close(home.acquire("lab"))
    home.write({"name": "carrier", "pid": 1, "base": "/nowhere"})
    assert "none is running" in control.status()["lab"]


def test_status_tells_processes_and_links(home: Home, tmp_path: Path) -> None:
    """Why: the two questions after "is it up": what keeps dying, and is everybody connected."""
    lock = home.acquire("lab")
    try:
        base = tmp_path / "base"
        (base / "global").mkdir(parents=True)
        process = {
            "name": "milan.etcd", "state": "ready", "pid": 7, "netns": "milan", "restarts": 2,
            "last_exit": -9, "since_unix_s": 1.0, "log_file": None,
        }  # fmt: skip
        (base / "supervisor.json").write_text(
            json.dumps({"supervisor_pid": 1, "processes": [process]})
        )
        link = {"peer": "milan", "state": "open", "synced": True}
        (base / "global" / "links.json").write_text(
            json.dumps({"links": [link], "refused": {"malformed": 2, "expired": 1}})
        )
        home.write({"name": "carrier", "pid": 1, "base": str(base)})
        found = control.status()
    finally:
        os.close(lock)
    assert found["milan.etcd"] == "ready, 2 restarts"
    assert found["link milan"] == "open, synced"
    assert found["gateway refused"] == "expired 1, malformed 2"


def test_up_beside_a_running_lab_starts_nothing(home: Home) -> None:
    """Why: the refused one must not leave a folder, nor touch the other's state."""
    lock = home.acquire("lab")
    try:
        home.write({"what": "the demo", "pid": 4711})
        with pytest.raises(LabBusy, match="4711"):
            control.up(tell=lambda _: None)
        assert home.read() == {"what": "the demo", "pid": 4711}
    finally:
        os.close(lock)


def test_apis_are_named_by_tier() -> None:
    """Why: ``isthmus --at milan`` looks here."""
    document = control.describe("the lab", 7, Path("/tmp/b"), SPEC)
    assert document["apis"] == {
        "global": "/tmp/b/global/api.sock",
        "milan": "/tmp/b/milan/api.sock",
    }
