"""The demo must be able to fail, or "demo: OK" means nothing (issue 3, point 14)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.chaos.demo import kit

PROMISES = {
    "swap-order": "R15 chaining",
    "no-firewall": "firewall",
    "leak": "G8 scope",
    "no-heal": "G14 data plane",
    "fake-cut": "the cut is real",
}
QUICK = ("swap-order", "fake-cut")


@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, marks=() if k in QUICK else pytest.mark.slow) for k in PROMISES],
)
def test_a_broken_promise_is_noticed_and_named(home: Path, kind: str) -> None:
    """Why: each kind breaks exactly what one of the demo's statements is about; an OK would be a lie."""
    record = home / "facts.json"
    done = kit.isthmus(
        home, "demo", "--runtime", "in-process", "--sabotage", kind, "--record", str(record)
    )
    last = done.stdout.strip().splitlines()[-1]
    assert done.returncode == 1, done.stdout[-3000:]
    assert last.startswith(f"demo: FAILED ({PROMISES[kind]}"), done.stdout[-3000:]
    assert "left behind: nothing" in done.stdout
    facts = json.loads(record.read_text())
    failed = [check["promise"] for check in facts["checks"] if not check["ok"]]
    assert facts["sabotage"] == kind
    assert all(promise.startswith(PROMISES[kind]) for promise in failed), failed
    assert list(Path(home, "isthmus").glob("lab.json")) == []


@pytest.mark.slow
def test_without_sabotage_it_is_ok(home: Path) -> None:
    """Why: the same run with nothing broken must pass, or the tests above only show that it always fails."""
    done = kit.isthmus(home, "demo", "--runtime", "in-process")
    assert done.stdout.strip().splitlines()[-1] == "demo: OK", done.stdout[-3000:]
    assert done.returncode == 0


def test_an_unknown_sabotage_is_refused_with_the_list(home: Path) -> None:
    """Why: a typing error must not run the demo with nothing broken and look like a demo that cannot fail."""
    done = kit.isthmus(home, "demo", "--sabotage", "swap-oder", timeout_s=60)
    assert done.returncode not in (0, 130)
    assert "'swap-oder' is unknown" in done.stdout
    for kind in PROMISES:
        assert f"  {kind}: " in done.stdout
    assert not Path(home, "isthmus").exists(), "nothing was begun"
