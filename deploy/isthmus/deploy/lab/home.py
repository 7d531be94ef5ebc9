"""Where a machine's one lab is known: a lock, a state file, a short folder for sockets.

One lab at a time (issue 3, "Bad input and faults").
One lab at a time. Whoever runs one holds the lock for as long as it lives, so a killed lab is recognised as a
leftover at once, whatever its files say, and cleaned up by the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.deploy.errors import DeployError

BASE_PREFIX = "isthmus-lab-"


class LabBusy(DeployError):
    """A lab or a demo runs already; names it and the way out."""


class NoLab(DeployError):
    """No lab runs; says how to start one."""


def state_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """``$XDG_STATE_HOME/isthmus``, or ``~/.local/state/isthmus``."""
    home = environ.get("XDG_STATE_HOME") or str(Path(environ.get("HOME", "~")) / ".local/state")
    return Path(home).expanduser() / "isthmus"


@dataclass(frozen=True, slots=True)
class Home:
    """The state folder of this user."""

    folder: Path

    @classmethod
    def of(cls, environ: Mapping[str, str] = os.environ) -> Home:
        """The folder that the environment names."""
        return cls(state_folder(environ))

    @property
    def state_file(self) -> Path:
        """What the running lab is."""
        return self.folder / "lab.json"

    def acquire(self, what: str) -> int:
        """Take the lock for this process and what inherits it; a descriptor. Raises LabBusy. Cleans a leftover."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.folder / "lab.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            running = self.read() or {}
            name, pid = running.get("what", "a lab"), running.get("pid", "?")
            raise LabBusy(
                f"{name} is running here (pid {pid}); end it with 'isthmus lab down' "
                f"(or wait for it), then start the {what} again"
            ) from None
        os.set_inheritable(descriptor, True)
        self.clean()
        return descriptor

    def new_base(self) -> Path:
        """A fresh folder, short enough for Unix sockets (107 bytes)."""
        return Path(tempfile.mkdtemp(prefix=BASE_PREFIX, dir="/tmp"))

    def write(self, document: Mapping[str, Any]) -> None:
        """Say what runs; whole or not at all."""
        staged = self.state_file.with_suffix(".new")
        staged.write_text(json.dumps(document, indent=2) + "\n")
        staged.replace(self.state_file)

    def read(self) -> dict[str, Any] | None:
        """What is said to run; None when nothing is."""
        try:
            document = json.loads(self.state_file.read_text())
        except (OSError, ValueError):
            return None
        return document if isinstance(document, dict) else None

    def busy(self) -> bool:
        """Does somebody hold the lock?"""
        try:
            descriptor = os.open(self.folder / "lab.lock", os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(descriptor)

    def clean(self) -> bool:
        """Remove what a killed lab left: only call with the lock held. True when there was something."""
        document = self.read()
        if document is None:
            return False
        base = Path(str(document.get("base", "")))
        if base.name.startswith(BASE_PREFIX):
            shutil.rmtree(base, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.state_file.unlink()
        return True
