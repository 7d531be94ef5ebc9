"""The settings of a link as commands name them: the file of a gateway or of a site, or a tier of the running lab."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from isthmus.cli import show
from isthmus.cli.machine import hand_over
from isthmus.cli.target import lab_apis
from isthmus.federation.errors import SettingsRefused
from isthmus.federation.settings import (
    GatewaySettings,
    SiteLinkSettings,
    load_gateway,
    load_site,
)


def either(path: Path) -> GatewaySettings | SiteLinkSettings:
    """What ``path`` is; raises SettingsRefused with what is wrong with it as a gateway's."""
    try:
        return load_gateway(path)
    except SettingsRefused as refused:
        try:
            return load_site(path)
        except SettingsRefused:
            raise refused from None


def in_lab(command: str, peer: str, at: str, more: Sequence[str]) -> int:
    """``isthmus federation COMMAND`` where the lab's stores answer: inside the namespace of tier ``at``."""
    apis = lab_apis(os.environ)
    if at not in apis:
        known = ", ".join(sorted(apis)) or "none; start one with 'isthmus lab up'"
        raise click.BadParameter(
            f"the running lab has no tier {show.safe(at)!r} (there are: {known})", param_hint="--at"
        )
    names = ("gateway.json", "link.json")
    folder = Path(apis[at]).parent
    settings = next((folder / name for name in names if (folder / name).exists()), folder)
    words = [sys.executable, "-m", "isthmus.cli.main", "federation", command, str(settings), peer]
    return int(hand_over("isthmus.deploy.lab", "execute", at, [*words, *more]))
