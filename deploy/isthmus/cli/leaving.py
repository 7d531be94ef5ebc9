"""``isthmus federation forget``: what is held of a peer that left goes (docs/agreements.md, "Leaving")."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path

import click

from isthmus.cli import show
from isthmus.cli.failures import CliFailure
from isthmus.cli.link_settings import either, in_lab
from isthmus.contract.envelope import utc_seconds
from isthmus.federation.errors import FederationError, SettingsRefused, StillLinked
from isthmus.federation.leaving import Held, check_ended, forget, held
from isthmus.federation.settings import GatewaySettings, SiteLinkSettings
from isthmus.federation.status import read_status
from isthmus.kv.errors import StoreError
from isthmus.kv.etcd import EtcdStore
from isthmus.policy.errors import PolicyError
from isthmus.policy.keys import check_segment


@click.command(
    "forget",
    short_help="Remove what is held of PEER, which left.",
    epilog="\b\nExamples:\n  isthmus federation forget gateway.json zurich --dry-run\n"
    "  isthmus federation forget gateway.json zurich\n"
    "  isthmus federation forget zurich --at global --dry-run",
)
@click.argument("words", nargs=-1, required=True, metavar="[SETTINGS] PEER")
@click.option("--at", metavar="TIER", help="Of this tier or site of the running lab.")
@click.option("--dry-run", is_flag=True, help="Only tell what is held.")
@click.option("--json", "as_json", is_flag=True, help="as JSON")
def forget_command(words: tuple[str, ...], at: str | None, dry_run: bool, as_json: bool) -> int:
    """Remove what this store holds of PEER, the last step when a peer leaves the federation. SETTINGS: of our gateway
    (which must not list the peer any more) or of a site's link (which must have ended).

    What still runs for the peer goes on until the brake is told otherwise ('isthmus brake PEER'); the newest agreement
    stays known, so that no older one can be put in force later."""
    if len(words) == 1:
        more = [*(["--dry-run"] if dry_run else []), *(["--json"] if as_json else [])]
        return in_lab("forget", words[0], at or "global", more)
    if len(words) != 2 or at:
        raise click.UsageError("write SETTINGS PEER, or PEER --at TIER of the running lab")
    path, peer = Path(words[0]), words[1]
    if not path.is_file():
        raise click.BadParameter(f"{path}: no such file", param_hint="SETTINGS")
    try:
        check_segment(peer)
        found = asyncio.run(_forget(path, peer, dry_run))
    except PolicyError as refused:
        raise click.BadParameter(str(refused), param_hint="PEER") from None
    except StillLinked as refused:
        message = str(refused)
        raise CliFailure(message, detail={"code": refused.code, "message": message}) from None
    except (FederationError, StoreError) as error:
        raise click.ClickException(str(error)) from None
    _show(found, dry_run, as_json)
    return 0


async def _forget(path: Path, peer: str, dry_run: bool) -> Held:
    settings = either(path)
    if settings.store is None:
        raise SettingsRefused(f"{path}: store: is needed: endpoints and certificate of our etcd")
    if not dry_run:
        _check_unlisted(path, settings, peer)
        if settings.status_file is not None and settings.status_file.exists():
            check_ended(peer, read_status(settings.status_file), utc_seconds())
    store = EtcdStore.connect(settings.store)
    try:
        return await (held if dry_run else forget)(store, peer)
    finally:
        await store.aclose()


def _check_unlisted(path: Path, settings: GatewaySettings | SiteLinkSettings, peer: str) -> None:
    """A gateway that lists the peer would have it again at its next dial; a site's link must have ended."""
    if isinstance(settings, SiteLinkSettings):
        return
    for name, listed in (
        ("peers", [one.name for one in settings.peers]),
        ("uplinks", [one.peer.name for one in settings.uplinks]),
    ):
        if peer in listed:
            raise StillLinked(
                f"{path}: {name}: {peer!r} is still listed; take it out, start the gateway again, "
                "and ask again"
            )


def _show(found: Held, dry_run: bool, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({**asdict(found), "removed": not dry_run}, indent=2))
        return
    kinds = ", ".join(f"{show.safe(kind)} {count}" for kind, count in found.kinds.items())
    told = f"{found.keys} keys, {found.bytes} bytes ({kinds})" if found.keys else "nothing"
    word = "is held" if dry_run else "was held, and is removed" if found.keys else "was held"
    click.echo(f"of {found.peer} {told} {word}")
    if found.agreement_version:
        click.echo(
            f"agreement version {found.agreement_version} stays known: an older one is refused"
        )
