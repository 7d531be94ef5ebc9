"""What changes the machine's own names runs in a private world (see ``tests/world.py``), unless the run is in one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests import world

_HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Into the world, for modules that are marked so."""
    mine = item.path.is_relative_to(_HERE) and item.get_closest_marker("world") is not None
    return world.run_item(item) if mine else None


@pytest.hookimpl
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Hand reports out of it."""
    if _config is not None:
        world.write_report(_config, report)


_config: pytest.Config | None = None


def pytest_configure(config: pytest.Config) -> None:
    """Remember the run."""
    global _config
    _config = config
