"""The probe tells the truth about this kernel, and leaves no trace on the machine."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from isthmus.deploy import kernel_probe
from isthmus.deploy.kernel_probe import FEATURES, probe_kernel

pytestmark = pytest.mark.world

# The data plane and the fence cannot do without these (DESIGN section 5).
NEEDED = [feature for feature in FEATURES if feature != "tc netem"]


async def test_what_the_data_plane_needs_works_here() -> None:
    """The packets tests stand on it; better one clear reason here."""
    answers = await probe_kernel()
    assert {feature: answers[feature] for feature in NEEDED} == dict.fromkeys(NEEDED, "")


async def test_nothing_is_left_on_the_machine() -> None:
    """It made namespaces, interfaces and rules: none of them may be ours afterwards."""
    before = (sorted(os.listdir("/sys/class/net")), sorted(Path("/run").glob("netns/*")))
    await probe_kernel()
    assert (sorted(os.listdir("/sys/class/net")), sorted(Path("/run").glob("netns/*"))) == before


async def test_a_refusal_is_reported_in_the_kernels_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A feature that is not there must never read as working."""
    script = "ip link add x type no-such-kind"
    answer = await kernel_probe._try(script)
    assert answer
    assert "Unknown device type" in answer or "not permitted" in answer


async def test_outside_a_world_it_touches_nothing() -> None:
    """Started by hand it would add rules to the machine's own network."""
    environ = {k: v for k, v in os.environ.items() if k != "ISTHMUS_WORLD"}
    argv = [sys.executable, "-m", "isthmus.deploy.kernel_probe"]
    done = await asyncio.to_thread(
        subprocess.run, argv, env=environ, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, b"")
