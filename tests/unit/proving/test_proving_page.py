"""docs/proving.md is what a newcomer follows: its code runs, its table is the format's, its worlds exist."""

from __future__ import annotations

import re
from pathlib import Path

from isthmus.chaos.exploration.worlds import WORLDS
from isthmus.chaos.history.kinds import as_markdown
from isthmus.chaos.history.promises import VALIDATORS

PAGE = Path(__file__).parents[3] / "docs" / "proving.md"


def _part(begin: str, end: str) -> str:
    text = PAGE.read_text()
    return text[text.index(begin) : text.index(end)]


def test_adding_a_validator_works_as_told() -> None:
    """The block holds its own planted mutant: its assertions are the test."""
    blocks = re.findall(
        r"```python\n(.*?)```", _part("### Adding a validator", "## Exhaustive"), re.S
    )
    assert len(blocks) == 1
    found: dict[str, object] = {}
    exec(compile(blocks[0], str(PAGE), "exec"), found)
    assert callable(found["judge"])


def test_the_table_of_kinds_is_the_formats() -> None:
    """A table that is written by hand is wrong after the first change."""
    written = _part("<!-- kinds:", "<!-- end of kinds -->").partition("-->\n")[2].strip()
    assert written == as_markdown(), "run isthmus.chaos.history.kinds.as_markdown() again"


def test_every_promise_and_world_is_told() -> None:
    """What is not on the page does not exist for a newcomer."""
    text = PAGE.read_text()
    missing = [name for name in WORLDS if f"`{name}`" not in text]
    judged = _part("### What each judge says", "### Adding a validator")
    apart = {"G2", "G2'", "G8", "G9", "G10", "G11"}
    missing += [name for name in VALIDATORS if name not in apart and f"| {name} |" not in judged]
    assert not missing
