"""A state folder per test."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A demo takes a minute on a quiet machine."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.chaos)
            item.add_marker(pytest.mark.world)
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """What XDG_STATE_HOME is for this test."""
    return tmp_path
