"""Which API a command talks to: ``--api``, ``--at``, ``ISTHMUS_API``, or the running lab's global tier.

A lab writes down where its APIs listen; so ``--at milan`` is enough. Tokens come from a file, never from the command
line or the environment, where others can read them (GUARANTEES attack 22), and are not sent in clear beyond loopback.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import click

from isthmus.cli.failures import Unreachable
from isthmus.identity.text import visible

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Target:
    """Where the API is. ``socket_path`` empty: by TCP at ``url``. ``told_by`` says who named it, for messages."""

    url: str
    socket_path: str = ""
    told_by: str = ""
    token: str = ""
    ca_file: str = ""

    def __str__(self) -> str:
        return visible(f"unix:{self.socket_path}" if self.socket_path else self.url)


def lab_state_file(environ: Mapping[str, str]) -> Path:
    """Where the running lab says what it is."""
    home = environ.get("XDG_STATE_HOME") or str(Path(environ.get("HOME", "~")) / ".local/state")
    return Path(home).expanduser() / "isthmus" / "lab.json"


def lab_apis(environ: Mapping[str, str]) -> dict[str, str]:
    """The socket of each API of the running lab, by name; empty without a lab."""
    try:
        document = json.loads(lab_state_file(environ).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    apis = document.get("apis") if isinstance(document, dict) else None
    if not isinstance(apis, dict):
        return {}
    return {str(name): str(path) for name, path in apis.items()}


def resolve(
    api: str | None,
    at: str | None,
    token_file: Path | None,
    ca_file: Path | None,
    environ: Mapping[str, str] = os.environ,
) -> Target:
    """The target that the options and the environment name; raises click's usage errors or Unreachable."""
    if api and at:
        raise click.UsageError("--api and --at exclude each other: give one of them")
    if api:
        return parse(api, "--api", token_file, ca_file)
    apis = lab_apis(environ)
    if at:
        if at not in apis:
            known = ", ".join(sorted(apis)) or "none; start one with 'isthmus lab up'"
            raise click.BadParameter(
                f"the running lab has no API '{visible(at)}' (there are: {known})",
                param_hint="--at",
            )
        return Target("http://isthmus", apis[at], "--at")
    if environ.get("ISTHMUS_API"):
        return parse(environ["ISTHMUS_API"], "ISTHMUS_API", token_file, ca_file)
    if "global" in apis or len(apis) == 1:
        path = apis.get("global") or next(iter(apis.values()))
        return Target("http://isthmus", path, "the running lab")
    raise Unreachable(
        "no API is named: give --api unix:/path or --api https://host:port, set ISTHMUS_API, "
        "or start a lab with 'isthmus lab up'"
    )


def parse(text: str, told_by: str, token_file: Path | None, ca_file: Path | None) -> Target:
    """``unix:/path`` or a URL."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path.startswith("/"):
            raise click.BadParameter("write unix:/path/of/the/socket", param_hint=told_by)
        return Target("http://isthmus", path, told_by)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=told_by) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise click.BadParameter(
            f"'{visible(text)}' is neither unix:/path nor http(s)://host:port", param_hint=told_by
        )
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise click.BadParameter("give scheme, host and port only", param_hint=told_by)
    if token_file and parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise click.BadParameter(
            "a token in clear is a token lost: use https beyond this machine", param_hint=told_by
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    url = f"{parts.scheme}://{host}" + (f":{port}" if port else "")
    token = read_token(token_file) if token_file else ""
    return Target(url, "", told_by, token, str(ca_file or ""))


def read_token(path: Path) -> str:
    """The token in a file that only its owner reads."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{path}: {error}", param_hint="--token-file") from None
    if mode & 0o077:
        raise click.BadParameter(
            f"{path}: mode {mode:04o} lets others read it; chmod 600 {path}",
            param_hint="--token-file",
        )
    if not text.isascii() or not text.isprintable() or " " in text or not text:
        raise click.BadParameter(f"{path}: holds no token", param_hint="--token-file")
    return text
