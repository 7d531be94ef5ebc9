"""``isthmus conformance``: does a component or a network function keep docs/spec.md? (R10, R46, R47)

Needs no API and nothing of ours beside it: only the store, and the certificate (or the socket) of who is judged.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from isthmus.cli import show
from isthmus.cli.failures import FAILED, CliFailure, Unreachable

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command(
    epilog="\b\nExamples:\n"
    "  isthmus conformance --endpoint 127.0.0.1:2379 --component acme \\\n"
    "      --cert acme.pem --key acme-key.pem --ca ca.pem\n"
    "  isthmus conformance --endpoint unix:/run/vnf/kv.sock --instance i-3f9c0a1b2c3d\n\n"
    "\b\nExit codes: 0 conforms, 1 does not, 2 usage, 3 no store was reached."
)
@click.option("--endpoint", required=True, metavar="HOST:PORT", help="The store, or unix:/path.")
@click.option("--component", help="Who is judged: of the contract, or a vendor's own.")
@click.option("--instance", help="The VNF instance that is judged.")
@click.option(
    "--tier",
    type=click.Choice(["site", "global"]),
    default="site",
    show_default=True,
    help="Whose store it is.",
)
@click.option("--cert", type=_FILE, help="Its certificate.")
@click.option("--key", type=_FILE, help="Its private key.")
@click.option("--ca", type=_FILE, help="Who signed the store's certificate.")
@click.option("--server-name", help="The name in the store's certificate.")
@click.option(
    "--may-read", multiple=True, metavar="PREFIX", help="What a vendor's agreement lets it read."
)
@click.option(
    "--owner", default="configurator", show_default=True, help="Who configures the instance."
)
@click.option(
    "--observe",
    "observe_s",
    type=click.FloatRange(0, 3600),
    default=0.0,
    metavar="SECONDS",
    help="Look twice, so far apart: finds what is not renewed, and what goes back.",
)
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0.1, 300), default=10.0, show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="Answer with JSON.")
def conformance(as_json: bool, observe_s: float, timeout_s: float, **given: Any) -> None:
    """Does a component, or a VNF instance, keep the key specification (docs/spec.md)?

    Run it beside the component at work, with the component's own certificate. It changes nothing.
    """
    from isthmus.contract.conformance import check
    from isthmus.kv.errors import StoreError

    subject = _subject(given)
    settings = _settings(given)
    try:
        report = asyncio.run(check(subject, settings, observe_s=observe_s, timeout_s=timeout_s))
    except StoreError as error:
        raise Unreachable(f"{given['endpoint']}: {error}") from None
    if as_json:
        show.print_json(report.as_json())
    else:
        click.echo("\n".join(show.safe(line) for line in report.as_text().splitlines()))
    if not report.conforms:
        click.get_current_context().exit(FAILED)


def _subject(given: dict[str, Any]) -> Any:
    from isthmus.contract.family import Tier
    from isthmus.contract.subject import Subject
    from isthmus.policy.errors import KeyRefused

    if bool(given["component"]) == bool(given["instance"]):
        raise click.UsageError("give either --component NAME or --instance ID")
    try:
        if given["instance"]:
            return Subject.of_instance(given["instance"], owner=given["owner"])
        return Subject.of_component(Tier(given["tier"]), given["component"], given["may_read"])
    except KeyRefused as refused:
        raise CliFailure(str(refused)) from None


def _settings(given: dict[str, Any]) -> Any:
    from pydantic import ValidationError

    from isthmus.kv.settings import EtcdSettings

    try:
        return EtcdSettings(
            endpoints=(given["endpoint"],),
            ca_file=given["ca"],
            cert_file=given["cert"],
            key_file=given["key"],
            server_name=given["server_name"],
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise click.UsageError(str(first["msg"]).removeprefix("Value error, ")) from None
