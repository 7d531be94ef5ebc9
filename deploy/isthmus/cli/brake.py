"""``isthmus brake``: what a site holds back, and the operator's word that lets it go (GUARANTEES attack 19).

A site does not follow a peer that deletes a large share of its chains at once. Whoever reads the list and knows that
it is meant says so with ``confirm``, for minutes; ``hold`` takes the word back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import click

from isthmus.cli import show
from isthmus.cli.session import Session, on_api

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600}
NAMES_SHOWN = 10


class Duration(click.ParamType[int]):
    """``300``, ``300s``, ``5m`` or ``1h`` as seconds; how much is too much is the API's to say."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Seconds."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"([0-9]{1,6})([smh]?)", str(value))
        if found is None:
            self.fail(f"'{show.safe(value)}' is no time: write 300, 300s, 5m or 1h", param, ctx)
        return int(found.group(1)) * _UNITS_S[found.group(2)]


class PeerName(click.ParamType[str]):
    """A peer on the command line; a path is never built from what is no name."""

    name = "PEER"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Checked."""
        from isthmus.policy.errors import KeyRefused
        from isthmus.policy.keys import check_segment

        try:
            return check_segment(str(value))
        except KeyRefused as error:
            self.fail(f"write the name of a peer, such as global ({error.reason})", param, ctx)


@click.group(
    invoke_without_command=True,
    epilog="\b\nExamples:\n  isthmus brake --at milan\n"
    "  isthmus brake confirm global --for 5m --at milan\n  isthmus brake hold global --at milan",
)
@on_api
def brake(session: Session) -> None:
    """Deletions by a peer that a site holds until its operator confirms; lists them."""
    ctx = click.get_current_context()
    if ctx.invoked_subcommand is not None:
        # "isthmus brake --at milan confirm global" means milan, too: nothing that was said is dropped.
        ctx.default_map = {ctx.invoked_subcommand: _said(ctx)}
        return
    document = session.run(lambda client: client.get("/v1/brakes"))
    if session.as_json:
        show.print_json(document)
    else:
        click.echo(_listing(document["brakes"]))


@brake.command(
    epilog="\b\nExamples:\n  isthmus brake confirm global --at milan\n"
    "  isthmus brake confirm global --for 30m --at milan"
)
@click.argument("peer", type=PeerName())
@click.option(
    "--for", "for_s", type=Duration(), default=300, show_default="5m", help="So long; at most 1h."
)
@on_api
def confirm(session: Session, peer: str, for_s: int) -> None:
    """Let all deletions by PEER take effect for a while. What is deleted then is gone."""
    body = {"for_s": for_s}
    _told(session, session.run(lambda client: client.put(f"/v1/brakes/{peer}", body)))


@brake.command(epilog="\b\nExample:\n  isthmus brake hold global --at milan")
@click.argument("peer", type=PeerName())
@on_api
def hold(session: Session, peer: str) -> None:
    """Take the word back before its time is over: the brake holds again."""
    _told(session, session.run(lambda client: client.remove(f"/v1/brakes/{peer}")))


def _said(ctx: click.Context) -> dict[str, Any]:
    """The options that the group was given on its own command line."""
    line = click.core.ParameterSource.COMMANDLINE
    return {name: ctx.params[name] for name in ctx.params if ctx.get_parameter_source(name) is line}


def _told(session: Session, document: Mapping[str, Any]) -> None:
    if session.as_json:
        show.print_json(document)
        return
    text = show.safe(document["message"])
    if document["confirmed_until"] is not None:
        text += f"; until {show.moment(document['confirmed_until'])}"
    if document["held"]:
        text += f"; {document['held']} held deletions"
    click.echo(text)


def _listing(brakes: list[Mapping[str, Any]]) -> str:
    if not brakes:
        return "no peer has chains here"
    columns = ("PEER", "STATE", "HELD", "OF", "LIMIT", "CONFIRMED UNTIL", "BY")
    rows = [
        [
            row["peer"],
            row["state"],
            row["held"],
            row["chains"],
            row["limit"],
            show.moment(row["confirmed_until"]),
            row["confirmed_by"],
        ]
        for row in brakes
    ]
    text = show.table(columns, rows)
    for row in brakes:
        if row["held"]:
            names = ", ".join(show.safe(name) for name in row["chains_held"][:NAMES_SHOWN])
            more = row["held"] - len(row["chains_held"][:NAMES_SHOWN])
            tail = f" and {more} more" if more > 0 else ""
            text += f"\n\n{show.safe(row['peer'])} wants these deleted: {names}{tail}"
            if row["state"] == "holding":
                text += f"\nIf that is meant: isthmus brake confirm {show.safe(row['peer'])}"
    return text
