"""Every module in here runs in a private world (see ``tests/world.py``)."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests import world

_HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    return world.run_item(item) if item.path.is_relative_to(_HERE) else None


@pytest.hookimpl
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if _config is not None:
        world.write_report(_config, report)


_config: pytest.Config | None = None


def pytest_configure(config: pytest.Config) -> None:
    global _config
    _config = config
