"""The foreign vendor's Python environment: built once with pip, kept in the user's cache, named by what is in it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLES = Path(__file__).resolve().parents[3] / "docs" / "examples" / "vendor"
REQUIREMENTS = SAMPLES / "requirements.txt"
BUILD_TIMEOUT_S = 600.0


def vendor_python() -> Path:
    """An interpreter that has exactly the pinned packages; ``ISTHMUS_VENDOR_PYTHON`` names one made elsewhere."""
    given = os.environ.get("ISTHMUS_VENDOR_PYTHON")
    if given:
        return Path(given)
    text = REQUIREMENTS.read_bytes() + sys.version.encode()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "isthmus"
    folder = cache / f"vendor-etcd3-{hashlib.sha256(text).hexdigest()[:16]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs at once build one environment
        if not (folder / "complete").exists():
            _build(folder)
    return folder / "bin" / "python"


def _build(folder: Path) -> None:
    steps = (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check",
         "--no-deps", "-r", str(REQUIREMENTS)],
    )  # fmt: skip
    for step in steps:
        done = subprocess.run(
            step, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
        )
        if done.returncode:
            pytest.fail(
                f"the foreign vendor's environment cannot be built in {folder}: it needs a package index once; "
                f"or set ISTHMUS_VENDOR_PYTHON to an interpreter with {REQUIREMENTS.name}. pip said: "
                f"{done.stderr.strip()[-300:]}",
                pytrace=False,
            )
    (folder / "complete").touch()
