"""``isthmus sites | events | status``: the tier itself, through its API."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import click

from isthmus.cli import show
from isthmus.cli.failures import CliFailure, Unreachable
from isthmus.cli.session import Session, on_api

if TYPE_CHECKING:
    from isthmus.cli.client import ApiClient

PAUSE_S = 1.0
PAUSE_MAX_S = 15.0


@click.command(epilog="\b\nExamples:\n  isthmus sites\n  isthmus sites --at milan -o wide")
@click.option("-o", "--output", type=click.Choice(["table", "wide", "json"]), default="table")
@on_api
def sites(session: Session, output: str) -> None:
    """The sites this tier knows, how old the news of them are; a site shows its hosts."""
    document = session.run(lambda client: client.get("/v1/sites"))
    if session.as_json or output == "json":
        show.print_json(document)
    else:
        click.echo(show.site_rows(document["sites"], wide=output == "wide"))


@click.command(
    epilog="\b\nExamples:\n  isthmus events --limit 20\n  isthmus events --follow --json | jq .message"
)
@click.option("--follow", is_flag=True, help="Go on with what happens; ends with Ctrl-C.")
@click.option("--limit", type=click.IntRange(1, 5_000), default=50, help="So many to begin with.")
@click.option("--since", type=click.IntRange(0), default=0, help="Only behind this revision.")
@on_api
def events(session: Session, follow: bool, limit: int, since: int) -> None:
    """What happened. With --follow the stream resumes by itself after a cut and loses nothing."""
    if follow:
        session.run(lambda client: _follow(client, session, limit=limit, since=since))
        return
    document = session.run(lambda client: client.get("/v1/events", limit=limit, since=since))
    if session.as_json:
        show.print_json(document)
        return
    for event in document["events"]:
        click.echo(show.event_line(event))


async def _follow(client: ApiClient, session: Session, *, limit: int, since: int) -> None:
    """The first question must be answered; after that an absent API is waited for."""
    document = await client.get("/v1/events", limit=limit, since=since)
    for event in document["events"]:
        _print(session, event)
    last_seen = int(document["revision"])
    pause_s = PAUSE_S
    while True:
        try:
            async for kind, identity, data in client.stream(last_seen):
                pause_s = PAUSE_S
                last_seen = identity if identity is not None else last_seen
                _one(session, kind, data)
            _notice("the API ended the stream; resuming")
        except Unreachable as failure:
            _notice(f"{failure.message}; resuming in {pause_s:g} s")
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSE_MAX_S)


def _one(session: Session, kind: str, data: Any) -> None:
    if not isinstance(data, dict):
        raise CliFailure("the event stream holds something else than events")
    if kind == "event":
        _print(session, data)
    elif kind == "reset":
        _notice("the store was restored from a backup: its history is told from the beginning")
    elif kind == "error":
        _notice(str(data.get("message", "the stream failed")))


def _print(session: Session, event: dict[str, Any]) -> None:
    line = json.dumps(event, sort_keys=True) if session.as_json else show.event_line(event)
    click.echo(line)


def _notice(text: str) -> None:
    click.echo(f"isthmus: {show.safe(text)}", err=True)


def _held(count: int) -> str:
    return f"{count} deletions wait for 'isthmus brake confirm'" if count else "nothing"


@click.command(epilog="\b\nExample:\n  isthmus status --at zurich")
@on_api
def status(session: Session) -> None:
    """This tier in one look: its store, its chains, its health."""
    document = session.run(lambda client: client.get("/v1/status"))
    if session.as_json:
        show.print_json(document)
        return
    store = document["store"]
    chains = ", ".join(f"{count} {phase}" for phase, count in document["chains"].items() if count)
    click.echo(
        show.fields(
            [
                ("Tier", f"{document['tier']} {document['name']}"),
                ("Isthmus", document["version"]),
                ("Health", document["health"]),
                ("Store", f"{store['version']}, {store['db_size_bytes']} bytes"),
                ("Revision", store["revision"]),
                ("Alarms", store["alarms"]),
                ("Chains", chains or "none"),
                ("Held", _held(document.get("chains_held", 0))),
                ("Streams", document["streams"]),
                ("Up", show.age(document["uptime_s"])),
            ]
        )
    )
