"""Running test modules inside a private world, so that packets never meet the machine's network.

A module below ``tests/packets`` runs as a whole in a child pytest inside
``isthmus.deploy.world`` (own mounts, network and process ids). Its reports come back through
a file and are shown as if the tests had run here. When the child ends, the kernel frees
every namespace, link and process, whatever a test forgot.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from isthmus.deploy.world import in_world, world_command

REPORTS_VARIABLE = "ISTHMUS_WORLD_REPORTS"
MODULE_TIMEOUT_S = 900.0

_modules: dict[Path, dict[str, list[pytest.TestReport]]] = {}
"""By module, or by folder where one world serves a whole folder."""

_complaints: dict[Path, str] = {}


def run_item(item: pytest.Item, folder: Path | None = None) -> bool | None:
    """Report the outcome of ``item`` from its module's world; None: we are inside, run it.

    With ``folder`` all chosen tests below it share one world, which is theirs alone even when this
    run is in a world already: a lab wants every name of a network namespace for itself.
    """
    if REPORTS_VARIABLE in os.environ if folder is not None else in_world():
        return None
    share = folder or item.path
    if share not in _modules:
        _modules[share] = _run_module(item, share)
    reports = _modules[share].get(item.nodeid) or [_missing(item, share)]
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def write_report(config: pytest.Config, report: pytest.TestReport) -> None:
    """Inside a world: hand a report to the pytest outside."""
    path = os.environ.get(REPORTS_VARIABLE)
    if path:
        data = config.hook.pytest_report_to_serializable(config=config, report=report)
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(data) + "\n")


def _run_module(item: pytest.Item, share: Path) -> dict[str, list[pytest.TestReport]]:
    config = item.config
    chosen = [i.nodeid for i in item.session.items if i.path.is_relative_to(share)]
    with tempfile.TemporaryDirectory(prefix="isthmus-world-") as folder:
        reports = Path(folder) / "reports"
        done = subprocess.run(
            world_command([sys.executable, "-m", "pytest", "-q", "--no-header", *chosen]),
            cwd=config.rootpath,
            env={**os.environ, REPORTS_VARIABLE: str(reports)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=MODULE_TIMEOUT_S,
            check=False,
        )
        lines = reports.read_text().splitlines() if reports.exists() else []
    _complaints[share] = f"exit {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    found: dict[str, list[pytest.TestReport]] = {}
    for line in lines:
        report = config.hook.pytest_report_from_serializable(config=config, data=json.loads(line))
        found.setdefault(report.nodeid, []).append(report)
    return found


def _missing(item: pytest.Item, share: Path) -> pytest.TestReport:
    """A test without a report did not pass: the world itself failed."""
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords=dict.fromkeys(item.keywords, 1),
        outcome="failed",
        longrepr=f"the world gave no report: {_complaints[share]}",
        when="call",
    )
