"""The options that every command on an API has, and one way to run its questions.

Commands are asyncio underneath like everything else; a command is one run of a loop. All waiting is bounded: each
question by ``--timeout``.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from isthmus.cli.target import resolve

T = TypeVar("T")
DEFAULT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Session:
    """What a command was told about the API, and how it should answer."""

    api: str | None
    at: str | None
    token_file: Path | None
    ca_file: Path | None
    timeout_s: float | None
    as_json: bool

    @property
    def question_s(self) -> float:
        """The deadline of one question."""
        return self.timeout_s if self.timeout_s is not None else DEFAULT_TIMEOUT_S

    def run(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Open the API and do ``work`` with it; failures end the command."""
        from isthmus.cli.client import ApiClient  # httpx costs 0.2 s that --help need not pay

        target = resolve(self.api, self.at, self.token_file, self.ca_file)

        async def opened() -> T:
            async with ApiClient(target, timeout_s=self.question_s) as client:
                return await work(client)

        return asyncio.run(opened())


_OPTIONS = (
    click.option("--api", metavar="URL", help="The API: unix:/path or https://host:port."),
    click.option("--at", metavar="NAME", help="The API of this tier or site of the running lab."),
    click.option(
        "--token-file",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="ISTHMUS_TOKEN_FILE",
        help="File with the bearer token, mode 0600 (for https).",
    ),
    click.option(
        "--ca-file",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        envvar="ISTHMUS_CA_FILE",
        help="Authority that signed the API's certificate.",
    ),
    click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(min=0, min_open=True, max=86_400),
        metavar="SECONDS",
        help="Give up after so long (10; with --wait 60).",
    ),
    click.option("--json", "as_json", is_flag=True, help="Answer with JSON."),
)


def on_api(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give ``command`` the options of the API; it gets a Session as its first argument."""

    @functools.wraps(command)
    def wrapped(
        api: str | None,
        at: str | None,
        token_file: Path | None,
        ca_file: Path | None,
        timeout_s: float | None,
        as_json: bool,
        **arguments: Any,
    ) -> Any:
        session = Session(api, at, token_file, ca_file, timeout_s, as_json)
        return command(session, **arguments)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


class ChainName(click.ParamType[tuple[str, str]]):
    """``TENANT/CHAIN`` on the command line."""

    name = "TENANT/CHAIN"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Split and check; a path is never built from what is no name."""
        from isthmus.policy.errors import KeyRefused
        from isthmus.policy.keys import check_segment

        if isinstance(value, tuple):
            return value
        tenant, _, chain = str(value).partition("/")
        try:
            return check_segment(tenant), check_segment(chain)
        except KeyRefused as error:
            self.fail(f"write TENANT/CHAIN, such as acme/shop ({error.reason})", param, ctx)


CHAIN = ChainName()
