"""What a run of the demo states, and the verdict: every statement is a check that can fail."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Check:
    """One statement. ``promise`` names what is broken when it is not true."""

    act: str
    promise: str
    statement: str
    ok: bool
    evidence: str = ""


class Broken(Exception):
    """A check failed that the rest of the run stands on; the run ends here."""


@dataclass(slots=True)
class Facts:
    """Prints as it goes; ``figures`` are measured, never computed from constants."""

    say: Callable[[str], None]
    checks: list[Check] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    acts: dict[str, float] = field(default_factory=dict)
    _act: str = ""
    _began: float = 0.0

    def act(self, title: str) -> None:
        """A new part of the story begins."""
        self._close()
        self._act, self._began = title, time.monotonic()
        self.say(f"\n== {title}")

    def note(self, text: str) -> None:
        """A line between checks."""
        self.say(f"   {text}")

    def figure(self, name: str, value: float | str) -> None:
        """A measured figure, for the record."""
        self.figures[name] = value

    def check(self, promise: str, statement: str, ok: bool, evidence: str = "") -> bool:
        """State something; a false statement is told at once and remembered."""
        self.checks.append(Check(self._act, promise, statement, ok, evidence))
        mark = "ok  " if ok else "FAIL"
        self.say(f"   {mark} {statement}" + (f"  [{evidence}]" if evidence else ""))
        return ok

    def require(self, promise: str, statement: str, ok: bool, evidence: str = "") -> None:
        """The same for what the rest stands on; raises Broken."""
        if not self.check(promise, statement, ok, evidence):
            raise Broken(f"{promise}: {statement}")

    @property
    def failed(self) -> list[Check]:
        """What was not true."""
        return [check for check in self.checks if not check.ok]

    def record(self, path: Path, more: dict[str, Any]) -> None:
        """Everything as JSON."""
        self._close()
        document = {
            **more,
            "checks": [asdict(check) for check in self.checks],
            "figures": self.figures,
            "acts_s": self.acts,
        }
        path.write_text(json.dumps(document, indent=2) + "\n")

    def _close(self) -> None:
        if self._act:
            self.acts[self._act] = round(time.monotonic() - self._began, 2)
