"""``isthmus federation`` beside a running lab: nobody has to know where a link writes its status (issue 7)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

import isthmus.deploy.lab
from isthmus.cli.main import main
from isthmus.federation.status import LinkStatus, write_status

TIERS = ("global", "milan")


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a running lab leaves where commands look: names, and a folder a tier."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    apis = {}
    for tier, peer, settings in (
        ("global", "milan", "gateway.json"),
        ("milan", "global", "link.json"),
    ):
        folder = tmp_path / "base" / tier
        folder.mkdir(parents=True)
        (folder / settings).write_text("{}")
        link = LinkStatus(peer=peer, state="open", digests_equal=True)
        write_status(folder / "links.json", (link,), {"expired": 1} if tier == "global" else None)
        apis[tier] = str(folder / "api.sock")
    state = tmp_path / "isthmus" / "lab.json"
    state.parent.mkdir()
    state.write_text(json.dumps({"apis": apis}))
    return tmp_path / "base"


def test_status_without_files_is_of_every_tier_of_the_lab(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Why: "global: open" of four sites in a row says nothing; each line names both its ends."""
    assert main(["federation", "status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "global to milan", "milan to global", "refused",
    ]  # fmt: skip
    assert main(["federation", "status", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(link["at"], link["peer"]) for link in told["links"]] == [
        ("global", "milan"), ("milan", "global"),
    ]  # fmt: skip


def test_a_named_file_is_told_as_before(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Why: scripts read it; a file does not say whose it is."""
    path = str(lab / "milan" / "links.json")
    assert main(["federation", "status", path]) == 0
    assert capsys.readouterr().out.startswith("global: open")
    assert main(["federation", "status", path, "--json"]) == 0
    assert "at" not in json.loads(capsys.readouterr().out)["links"][0]


def test_without_files_and_lab_it_says_what_to_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Why: an error without a next step is half an error."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert main(["federation", "status"]) == 2
    assert "status_file" in capsys.readouterr().err
    assert main(["federation", "lens", "paris"]) == 2
    assert "isthmus lab up" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "tier", "settings", "peer"),
    [
        (["milan"], "global", "gateway.json", "milan"),
        (["global", "--at", "milan", "--everything", "--json"], "milan", "link.json", "global"),
    ],
)
def test_the_lens_of_a_lab_looks_where_its_store_answers(
    lab: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    tier: str,
    settings: str,
    peer: str,
) -> None:
    """Why: a lab's stores listen inside their namespaces only; from outside the lens waited 30 s and was refused."""
    ran: list[tuple[str, list[str]]] = []

    def execute(namespace: str, command: Sequence[str]) -> int:
        ran.append((namespace, list(command)))
        return 4

    monkeypatch.setattr(isthmus.deploy.lab, "execute", execute)
    assert main(["federation", "lens", *words]) == 4
    ((namespace, command),) = ran
    assert namespace == tier
    assert command[3:7] == ["federation", "lens", str(lab / tier / settings), peer]
    assert command[7:] == words[3:]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["milan", "--at", "rome"], "no tier 'rome' (there are: global, milan)"),
        (["none.json", "milan"], "none.json: no such file"),
        (["a", "b", "c"], "write SETTINGS PEER"),
        (["a", "b", "--at", "global"], "write SETTINGS PEER"),
    ],
)
def test_wrong_words_are_named(
    lab: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    """Why: wrong usage is exit code 2 and one sentence."""
    assert main(["federation", "lens", *words]) == 2
    assert says in capsys.readouterr().err
