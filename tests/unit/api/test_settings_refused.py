"""The API's process with settings it cannot use: one sentence, no stack trace, exit code 1.

Its entry is called here; that a process ends with the code is said on a real one (a port in use, a second API).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isthmus.api.main import main


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"tier": "moon"}, "tier: must be one of: site, global"),
        ({"name": "Milan"}, "name: is not a name"),
        ({"socket": "x"}, "socket: unknown field 'socket' (found: \"x\"); did you mean"),
        ({"socket_path": "/" + "x" * 120}, "socket_path: is longer than 107 bytes"),
        ({"socket_path": "/nonexistent/api.sock"}, "No such file or directory"),
        ({"tcp": {"port": 1}}, "api.tokens_file: is missing, and tcp needs it"),
        ({"tcp": {"port": 1, "host": "0.0.0.0"}}, "is not loopback and there is no TLS"),
        ({"api": {"tokens_file": "/nonexistent"}}, "cannot be read"),
    ],
)
def test_unusable_settings_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], word: str
) -> None:
    """Exit 1, the field and the fix, no stack trace."""
    document = {
        "tier": "site",
        "name": "milan",
        "socket_path": str(tmp_path / "api.sock"),
        "store": {"endpoints": ["127.0.0.1:1"]},
        **changes,
    }
    path = tmp_path / "api.json"
    path.write_text(json.dumps(document))
    assert main(["--settings", str(path)]) == 1
    told = capsys.readouterr().err
    assert word in told.strip().splitlines()[-1]
    assert "Traceback" not in told
    assert not (tmp_path / "api.sock").exists()
