"""``isthmus mirror`` and ``isthmus federation status|lens``: links as an operator sees them.

The mirror is a program of its own (:mod:`isthmus.federation.mirror_main`); its options go there unread.
Status comes from the file that a link's process writes every second; the lens asks the store that exports.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from pathlib import Path

import click

from isthmus.cli import show
from isthmus.cli.failures import CliFailure
from isthmus.cli.leaving import forget_command
from isthmus.cli.link_settings import either, in_lab
from isthmus.cli.summaries import explain_summary
from isthmus.cli.target import lab_apis
from isthmus.contract.envelope import utc_seconds
from isthmus.contract.scopes import site_exports, tier_exports
from isthmus.federation.accord import Accords
from isthmus.federation.errors import AgreementRefused, SettingsRefused
from isthmus.federation.filters import ScopeFilter
from isthmus.federation.lens import Lens, lens
from isthmus.federation.mirror_main import main as mirror_main
from isthmus.federation.settings import GatewaySettings, SiteLinkSettings
from isthmus.federation.standing import Standing
from isthmus.federation.status import LinkStatus, read_status_file
from isthmus.federation.terms import LinkTerms
from isthmus.kv.errors import StoreError
from isthmus.kv.etcd import EtcdStore
from isthmus.policy.peers import Peer
from isthmus.trust.errors import TrustError
from isthmus.trust.workload import load as load_credentials


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def mirror(arguments: tuple[str, ...]) -> int:
    """Keep a prefix of one etcd equal in another."""
    try:
        return mirror_main(arguments)
    except SystemExit as ended:  # argparse: help, or wrong usage
        return ended.code if isinstance(ended.code, int) else 2


@click.group()
def federation() -> None:
    """Links between stores: their state, and what crosses."""


federation.add_command(explain_summary)
federation.add_command(forget_command)


@federation.command(
    short_help="Each link: state, age, lag, bytes, digest.",
    epilog="\b\nExamples:\n  isthmus federation status\n"
    "  isthmus federation status state/gateway/status.json --json",
)
@click.argument("files", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="as JSON")
def status(files: tuple[Path, ...], as_json: bool) -> None:
    """State, age, lag, bytes, denials and digest of each link, from the files its process writes (default: of every
    tier of the running lab); at a gateway also who was refused, by reason."""
    links: list[tuple[str, LinkStatus]] = []
    refused: Counter[str] = Counter()
    for tier, path in [("", path) for path in files] or sorted(_of_the_lab()):
        try:
            told = read_status_file(path)
        except ValueError:
            raise click.ClickException(f"{path}: not the status file of a link") from None
        links += [(tier, link) for link in told.links]
        refused.update(told.refused)
    if as_json:
        found = [
            {**({"at": tier} if tier else {}), **link.model_dump(mode="json")}
            for tier, link in links
        ]
        click.echo(json.dumps({"links": found, "refused": refused}, indent=2))
        return
    for tier, link in links:
        click.echo(f"{tier} to {_line(link)}" if tier else _line(link))
    if refused:
        counts = ", ".join(f"{show.safe(why)} {count}" for why, count in sorted(refused.items()))
        click.echo(f"refused: {counts}")


def _of_the_lab() -> list[tuple[str, Path]]:
    """Each tier of the running lab, and the file of its links."""
    found = [
        (tier, Path(socket).with_name("links.json"))
        for tier, socket in lab_apis(os.environ).items()
    ]
    there = [(tier, path) for tier, path in found if path.exists()]
    if not there:
        raise click.UsageError(
            "name the status files of links (their settings' status_file), or start a lab with "
            "'isthmus lab up'"
        )
    return there


@federation.command(
    "lens",
    short_help="Exactly what crosses to PEER, what is held back, why.",
    epilog="\b\nExamples:\n  isthmus federation lens gateway.json paris\n"
    "  isthmus federation lens zurich --at global",
)
@click.argument("words", nargs=-1, required=True, metavar="[SETTINGS] PEER")
@click.option("--at", metavar="TIER", help="Look at this tier or site of the running lab.")
@click.option("--everything", is_flag=True, help="count the keys outside, too (needs the right)")
@click.option("--json", "as_json", is_flag=True, help="as JSON")
def lens_command(words: tuple[str, ...], at: str | None, everything: bool, as_json: bool) -> int:
    """Exactly what crosses to PEER, and what is held back and why. SETTINGS: of a gateway or a site's link; not needed
    with a running lab."""
    if len(words) == 1:
        more = [*(["--everything"] if everything else []), *(["--json"] if as_json else [])]
        return in_lab("lens", words[0], at or "global", more)
    if len(words) != 2 or at:
        raise click.UsageError("write SETTINGS PEER, or PEER --at TIER of the running lab")
    settings, peer = Path(words[0]), words[1]
    if not settings.is_file():
        raise click.BadParameter(f"{settings}: no such file", param_hint="SETTINGS")
    try:
        seen = asyncio.run(_look(settings, peer, everything))
    except AgreementRefused as refused:
        message = f"nothing crosses to {peer}: {refused.code}: {refused}"
        raise CliFailure(message, detail={"code": refused.code, "message": message}) from None
    except (SettingsRefused, StoreError, TrustError) as error:
        raise click.ClickException(str(error)) from None
    _show(seen, peer, as_json)
    return 0


def _show(seen: Lens, peer: str, as_json: bool) -> None:
    if as_json:
        click.echo(seen.model_dump_json(indent=2))
        return
    for one in seen.crossing:
        click.echo(f"crosses    {one.relative}  ({one.bytes} bytes, from {one.source})")
    for denial in seen.held_back:
        click.echo(f"held back  {denial.key}: {denial.code}: {denial.reason}")
    for family, count in sorted(seen.outside.items()):
        click.echo(f"outside    {family}/: {count} keys")
    click.echo(
        f"{len(seen.crossing)} keys, {seen.total_bytes} bytes cross to {peer}; "
        f"{seen.held_back_total} held back"
    )
    if seen.agreement:
        click.echo(
            f"agreement {seen.agreement}: holds back {seen.held_back_by_agreement} of them, "
            f"the scope {seen.held_back_total - seen.held_back_by_agreement}"
        )


async def _look(path: Path, peer: str, everything: bool) -> Lens:
    settings = either(path)
    reach = settings.store
    others: tuple[str, ...] = ()
    if reach is None:
        raise SettingsRefused(f"{path}: store: is needed: endpoints and certificate of our etcd")
    if isinstance(settings, GatewaySettings):
        others = tuple(link.peer.name for link in settings.uplinks)
        settings = next((link for link in settings.uplinks if link.peer.name == peer), settings)
    if isinstance(settings, GatewaySettings):
        found = {one.name: one.peer() for one in settings.peers}
        roots = tier_exports(peer)
    else:
        found = {settings.peer.name: settings.peer.peer()}
        roots = site_exports(peer)
    if peer not in found:
        raise SettingsRefused(
            f"peer {peer!r} is not listed; there are: {', '.join(sorted((*found, *others)))}"
        )
    store = EtcdStore.connect(reach)
    try:
        check = ScopeFilter(found[peer].sends)
        terms = _agreed(settings, found[peer])
        return await lens(
            store,
            peer,
            roots,
            check,
            everything=everything,
            terms=None if terms is None else terms.export,
            agreement="" if terms is None else terms.title,
        )
    finally:
        await store.aclose()


def _agreed(settings: GatewaySettings | SiteLinkSettings, peer: Peer) -> LinkTerms | None:
    """The agreement as the link itself would judge it; raises AgreementRefused."""
    held = load_credentials(settings.credentials)
    own = held.identity.trust_domain
    standing = Standing(settings.bundles, settings.revocations, utc_seconds, own_domain=own)
    accords = Accords(settings, own, lambda: held.ca_pem, standing, utc_seconds)
    listed = settings.peers if isinstance(settings, GatewaySettings) else (settings.peer,)
    return accords.terms(peer, next(one for one in listed if one.name == peer.name))


def _line(link: LinkStatus) -> str:
    if link.gateway:
        return (
            f"{link.peer}: {link.state}, linked to gateway {show.safe(link.gateway)} of this tier"
        )
    digest = {True: "equal", False: "DIFFERENT", None: "not compared"}[link.digests_equal]
    denied = ", ".join(f"{reason} {count}" for reason, count in sorted(link.denied.items()))
    agreed = f", agreement {link.agreement}" if link.agreement else ""
    doubt = f", quarantined: {link.quarantined}" if link.quarantined else ""
    trouble = f"; last error {link.last_error}" if link.last_error and not link.connected else ""
    return (
        f"{link.peer}: {link.state}, heard {link.silent_s:.1f} s ago, lag {link.lag_ms:.0f} ms, "
        f"sent {link.bytes_sent} received {link.bytes_received} bytes, "
        f"{link.keys_exported} keys out {link.keys_imported} in, digests {digest}, "
        f"denied {denied or 'nothing'}{agreed}{doubt}{trouble}"
    )
