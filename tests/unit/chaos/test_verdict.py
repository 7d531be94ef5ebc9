"""The demo's last word: OK only when statements were checked, all true, the code is 0 and nothing is left behind."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.chaos.demo import _verdict

GOOD = {"promise": "p", "statement": "s", "ok": True}
BAD = {"promise": "G1 autonomy", "statement": "it goes on", "ok": False}


@pytest.mark.parametrize(
    ("code", "checks", "left", "exit_code", "last"),
    [
        (0, [GOOD], [], 0, "demo: OK"),
        (0, [GOOD, BAD], [], 1, "demo: FAILED (G1 autonomy: it goes on)"),
        (1, [GOOD], [], 1, "demo: FAILED (it ended with code 1)"),
        (0, [], [], 1, "demo: FAILED (it ended with code 0)"),
        (0, [GOOD], ["process 7"], 1, "demo: FAILED (left behind: process 7)"),
        (130, [GOOD], [], 130, "demo: FAILED (interrupted)"),
        (130, [BAD], [], 130, "demo: FAILED (interrupted)"),
    ],
)
def test_the_last_word(
    capsys: pytest.CaptureFixture[str],
    code: int,
    checks: list[dict[str, Any]],
    left: list[str],
    exit_code: int,
    last: str,
) -> None:
    """Why: scripts read the last line and the exit code; they must never disagree."""
    assert _verdict(code, {"checks": checks}, left, 1.0, False) == exit_code
    assert capsys.readouterr().out.strip().splitlines()[-1] == last
