"""A live API on a Unix socket, and the command against it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.live_api import LiveApi, live_api

from isthmus.cli.main import cli


@dataclass
class Command:
    """The ``isthmus`` command, told which API to use."""

    api: str

    def __call__(self, *arguments: str, code: int = 0, stdin: str = "") -> Result:
        """Run it; it must end with ``code``."""
        result = CliRunner().invoke(cli, [*arguments, "--api", self.api], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, f"exit {result.exit_code}: {result.output}"
        return result

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Run it with ``--json``; the document on standard output."""
        return json.loads(self(*arguments, "--json", code=code).stdout)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveApi]:
    """The API of site ``milan``."""
    with live_api(tmp_path, beat_s=0.2) as served:
        yield served


@pytest.fixture
def isthmus(live: LiveApi) -> Command:
    """The command against it."""
    return Command(live.api)


@pytest.fixture
def spec_file(tmp_path: Path) -> Callable[..., str]:
    """Writes a spec; the path of it."""

    def write(chain: str = "shop", *, name: str = "", extra: str = "") -> str:
        path = tmp_path / (name or f"{chain}.yaml")
        path.write_text(
            f"tenant: acme\nchain: {chain}\ningress: {{site: milan, attachment: customer}}\n"
            "egress: {site: milan, attachment: internet}\n"
            f"functions:\n  - {{name: guard, type: firewall}}\n{extra}"
        )
        return str(path)

    return write
