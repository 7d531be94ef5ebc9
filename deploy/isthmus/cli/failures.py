"""How a command ends when it did not do what it was asked: one text, one exit code.

    CliFailure          exit 1: refused or failed
    |-- Unreachable     exit 3: no API answered, or it has no store
    `-- Missing         exit 4: there is no such thing

Bad usage is click's own (exit 2), an interrupt ends with 130. Scripts decide by the code, people by the text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

import click

OK, FAILED, USAGE, UNREACHABLE, MISSING, INTERRUPTED = 0, 1, 2, 3, 4, 130


class CliFailure(click.ClickException):
    """Refused or failed. ``detail`` is the machine's view of it, shown with ``--json``."""

    exit_code = FAILED
    code = "failed"

    def __init__(self, message: str, *, detail: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.detail = dict(detail or {"code": self.code, "message": message})
        context = click.get_current_context(silent=True)
        self._as_json = bool(context and context.params.get("as_json"))

    def show(self, file: IO[Any] | None = None) -> None:
        """On standard error, so that pipes stay clean."""
        text = json.dumps({"error": self.detail}) if self._as_json else f"isthmus: {self.message}"
        click.echo(text, file=file, err=file is None)


class Unreachable(CliFailure):
    """No API answered."""

    exit_code = UNREACHABLE
    code = "unreachable"


class Missing(CliFailure):
    """There is no such thing."""

    exit_code = MISSING
    code = "not-found"
