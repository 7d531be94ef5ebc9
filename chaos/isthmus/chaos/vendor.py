"""The foreign vendor's Python environment: plain ``etcd3`` with the old packages that it wants, apart from ours.

Built once with pip from ``docs/examples/vendor/requirements.txt`` into the user's cache, named by what is in it. The
vendor's samples run in it (R10, R47), and ``isthmus bench kv`` measures ``etcd3`` there: it does not import beside
protobuf 4 and later. ``ISTHMUS_VENDOR_PYTHON`` names an interpreter made elsewhere.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

from isthmus.deploy.errors import DeployError

SAMPLES = Path(__file__).resolve().parents[3] / "docs" / "examples" / "vendor"
BUILD_TIMEOUT_S = 600.0


class VendorUnavailable(DeployError):
    """The environment is not there and could not be built; the message says what to do."""


def vendor_python() -> Path:
    """An interpreter that has exactly the pinned packages. Raises VendorUnavailable."""
    given = os.environ.get("ISTHMUS_VENDOR_PYTHON")
    if given:
        return Path(given)
    requirements = SAMPLES / "requirements.txt"
    try:
        text = requirements.read_bytes() + sys.version.encode()
    except FileNotFoundError:
        raise VendorUnavailable(
            "the vendor's samples come with a checkout, not with the package; "
            "set ISTHMUS_VENDOR_PYTHON to an interpreter that has etcd3"
        ) from None
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "isthmus"
    folder = cache / f"vendor-etcd3-{hashlib.sha256(text).hexdigest()[:16]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once build one environment
        if not (folder / "complete").exists():
            _build(folder, requirements)
    return folder / "bin" / "python"


def _build(folder: Path, requirements: Path) -> None:
    steps = (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check",
         "--no-deps", "-r", str(requirements)],
    )  # fmt: skip
    for step in steps:
        try:
            done = subprocess.run(
                step, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
            )
            problem = done.stderr.strip()[-300:] if done.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as error:
            problem = str(error) or "failed"
        if problem:
            raise VendorUnavailable(
                f"the foreign vendor's environment cannot be built in {folder}: it needs a package index once; "
                f"or set ISTHMUS_VENDOR_PYTHON to an interpreter with {requirements.name}. pip said: {problem}"
            )
    (folder / "complete").touch()
