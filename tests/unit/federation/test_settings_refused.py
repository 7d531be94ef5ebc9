"""The ends of a link with settings they cannot use: one line that names the field, exit code 2, no stack trace."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from isthmus.federation import gateway_main, site_main

WRONG = [
    ("{", "file"),
    ('{"name": "global", "surprise": 1}', "surprise"),
    ('{"name": "global", "credentials": "x", "bundles": {}}', "bundles"),
    ("[]", "settings.json"),
    ('{"name": 7}', "name"),
]


@pytest.mark.parametrize("main", [gateway_main.main, site_main.main], ids=["gateway", "site"])
@pytest.mark.parametrize(("settings", "words"), WRONG)
def test_wrong_settings_are_one_line_that_names_the_field(
    main: Callable[[], int],
    settings: str,
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Why: an operator reads it at night; both ends of a link say it the same way."""
    path = tmp_path / "settings.json"
    path.write_text(settings)
    monkeypatch.setattr(sys, "argv", ["end-of-a-link", str(path)])
    assert main() == 2
    told = capsys.readouterr().err
    assert words in told
    assert len(told.strip().splitlines()) == 1
    assert "Traceback" not in told


@pytest.mark.parametrize("main", [gateway_main.main, site_main.main], ids=["gateway", "site"])
def test_settings_that_are_not_there_are_named(
    main: Callable[[], int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Why: a wrong path is the commonest mistake of all."""
    monkeypatch.setattr(sys, "argv", ["end-of-a-link", str(tmp_path / "nowhere.json")])
    assert main() == 2
    assert "nowhere.json" in capsys.readouterr().err
