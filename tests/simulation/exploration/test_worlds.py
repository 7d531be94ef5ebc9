"""Every order of the small worlds: nothing breaks, and nothing that matters was left out."""

from __future__ import annotations

import json

import pytest

from isthmus.chaos.exploration.worlds import WORLDS
from isthmus.cli.main import main

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("name", WORLDS)
def test_nothing_breaks(name: str) -> None:
    """All orders to the stated depth; each kind of move that the world is about was done."""
    world = WORLDS[name]
    found = world.run()
    assert found.ok, found.text
    missing = [move for move in world.must if not found.hits.get(move)]
    assert not missing, f"{name} never did {missing}: it was not explored"
    assert found.states > 50


def test_the_command_explores_one_world(capsys: Capture) -> None:
    """A shallow look, as text and as JSON."""
    assert main(["explore", "--world", "lease", "--depth", "6"]) == 0
    text = capsys.readouterr().out
    assert "lease: a leader is paused" in text
    assert "all orders of 6 moves" in text
    assert main(["explore", "--world", "epoch", "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["world"] == "epoch"
    assert report["ok"] is True
    assert report["whole"] is True


def test_bad_usage(capsys: Capture) -> None:
    """An unknown world names the known ones."""
    assert main(["explore", "--world", "moon"]) == 2
    assert "link-cut" in capsys.readouterr().err
    assert main(["explore", "--depth", "0"]) == 2
