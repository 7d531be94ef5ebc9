"""A skipped test is a promise nobody checked: each one is named in allowed_skips.txt, or it fails.

The list holds one test id per line, then ``#`` and the reason; a whole file may be named. A run
with a skip that is not on it ends with exit code 1 and says which, whatever else passed.
Tests of this guard: unit/test_skip_guard.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

LIST = Path(__file__).with_name("allowed_skips.txt")

# No clock judges an example: the pure tests run behind others, with what processor time these leave.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


def read_list(lines: Iterable[str]) -> dict[str, str]:
    """Test id -> reason. A line without a reason is a mistake: ValueError names it."""
    allowed: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        test, _, reason = (part.strip() for part in line.partition("#"))
        if test and not reason:
            raise ValueError(f"allowed_skips.txt line {number}: {test!r} has no '# reason'")
        if test:
            allowed[test] = reason
    return allowed


class SkipGuard:
    """Collects skips while the tests run, and judges them at the end."""

    def __init__(self, allowed: dict[str, str]) -> None:
        self.allowed = allowed
        self.unlisted: list[str] = []

    def see(self, node: str, reason: str) -> None:
        """A test, or a whole file, was skipped."""
        file = node.partition("::")[0]
        plain = node.partition("[")[0]  # a parametrised test is listed once
        if not {node, plain, file} & self.allowed.keys():
            self.unlisted.append(f"{node}: {reason}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """An expected failure (xfail) is reported as skipped, too, but it did run."""
        if report.skipped and not hasattr(report, "wasxfail"):
            self.see(report.nodeid, _reason(report.longrepr))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that skips itself at import takes all its tests along."""
        if report.skipped:
            self.see(report.nodeid, _reason(report.longrepr))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Turn a green run red."""
        if self.unlisted and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name them."""
        if self.unlisted:
            terminalreporter.section("skips that tests/allowed_skips.txt does not name", red=True)
            for line in self.unlisted:
                terminalreporter.line(f"FAILED {line}")


def _reason(longrepr: object) -> str:
    """(file, line, reason) is how pytest keeps a skip."""
    return str(longrepr[2]) if isinstance(longrepr, tuple) else str(longrepr)


def pytest_configure(config: pytest.Config) -> None:
    """Arm the guard. A broken list stops the run at once."""
    lines = LIST.read_text().splitlines() if LIST.exists() else []
    try:
        config.pluginmanager.register(SkipGuard(read_list(lines)), "skip-guard")
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error
