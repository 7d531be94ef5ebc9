"""docs/proving.md on simulation is what a newcomer follows: its code runs, its tables are complete."""

from __future__ import annotations

import re
from pathlib import Path

from isthmus.chaos.simulation.faults import KINDS
from isthmus.chaos.simulation.worlds import WORLDS

PAGE = Path(__file__).parents[3] / "docs" / "proving.md"


def _part(begin: str, end: str) -> str:
    text = PAGE.read_text()
    return text[text.index(begin) : text.index(end)]


def test_adding_a_fault_kind_works_as_told() -> None:
    """The block asserts by itself that the new kind was drawn, hit and healed."""
    blocks = re.findall(
        r"```python\n(.*?)```", _part("### Adding a fault kind", "## Real processes"), re.S
    )
    assert len(blocks) == 1
    exec(compile(blocks[0], str(PAGE), "exec"), {})
    assert "line.deaf" not in KINDS


def test_every_fault_kind_and_world_is_told() -> None:
    """What is not on the page does not exist for a newcomer."""
    text = _part("## Simulation", "## Real processes")
    assert [name for name in (*KINDS, *WORLDS) if f"`{name}`" not in text] == []
