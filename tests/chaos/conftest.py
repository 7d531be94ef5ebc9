"""One world for the lab of ``two_tiers``; ``demo`` makes its own, as a user's does."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests import world

_LAB = Path(__file__).parent / "two_tiers"
pytest.register_assert_rewrite("tests.chaos.two_tiers.kit", "tests.chaos.demo.kit")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Into the world of the lab."""
    return world.run_item(item, _LAB) if item.path.is_relative_to(_LAB) else None


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
