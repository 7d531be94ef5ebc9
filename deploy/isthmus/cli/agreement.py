"""``isthmus agreement new|sign|verify|show|simulate``: what two operators let cross, written, signed, tried out.

Nothing here touches a link: gateway and dialer read the same file and judge for themselves.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from cryptography import x509
from pydantic import ValidationError

from isthmus.cli.failures import CliFailure, Unreachable
from isthmus.contract.scopes import ExportRoot, site_exports, tier_exports
from isthmus.federation.accord import check_signatures, judge_period
from isthmus.federation.agreement import CONTEXT, Agreement, Clause, Flow, load, moment
from isthmus.federation.draft import draft
from isthmus.federation.errors import FederationError
from isthmus.federation.replay import Recorded, Simulation, read_recording, simulate
from isthmus.identity import TrustDomain, TrustDomainRefused
from isthmus.kv.errors import StoreError
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.settings import EtcdSettings
from isthmus.policy.errors import KeyRefused
from isthmus.trust import NONE_REVOKED, files
from isthmus.trust.errors import TrustError
from isthmus.trust.signing import sign_detached
from isthmus.trust.store import existing_root

FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
ANSWER_S = 10.0
"""To the snapshot of a store that a draft is tried on."""

JSON = click.option("--json", "as_json", is_flag=True, help="as JSON")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Refusals become one line with the file's name."""
    try:
        yield
    except (FederationError, TrustError, StoreError) as refused:
        code = getattr(refused, "code", "refused")
        message = f"{path}: {refused}"
        raise CliFailure(message, detail={"code": code, "message": message}) from None


@click.group()
def agreement() -> None:
    """What two operators let cross between their stores, signed by both."""


@agreement.command(
    short_help="Write a draft, with only totals.",
    epilog="\b\nExample:\n  isthmus agreement new alps.yaml --tier carrier.example "
    "--site helvetia.example --tenant acme",
)
@FILE
@click.option("--tier", required=True, metavar="DOMAIN", help="Trust domain of the tier above.")
@click.option(
    "--site", required=True, metavar="DOMAIN", help="Trust domain of the site's operator."
)
@click.option("--name", default="agreement", show_default=True, help="How both call it.")
@click.option("--days", type=click.IntRange(1, 3660), default=90, show_default=True)
@click.option("--tenant", "tenants", multiple=True, help="Only chains of this tenant (repeatable).")
@click.option("--tier-region", "tier_regions", multiple=True, help="Where the tier may keep it.")
@click.option("--site-region", "site_regions", multiple=True, help="Where the site may keep it.")
def new(
    file: Path,
    tier: str,
    site: str,
    name: str,
    days: int,
    tenants: tuple[str, ...],
    tier_regions: tuple[str, ...],
    site_regions: tuple[str, ...],
) -> None:
    """Write a draft: what the contract lets cross, only totals, nothing of hosts. Narrow it, then sign it."""
    if file.exists():
        raise CliFailure(f"{file}: it exists already; choose another name, or remove it first")
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        made = draft(
            name, tier=tier, site=site, not_before=midnight, days=days, tenants=tenants,
            tier_regions=tier_regions, site_regions=site_regions,
        )  # fmt: skip
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        found = str(first.get("input", ""))[:80]
        raise click.UsageError(f"{where}: {first['msg']} (found: {found!a})") from None
    with _told(file):
        files.write_public(file.absolute(), made.to_yaml())
    click.echo(f"{file}: a draft; read it, then both run: isthmus agreement sign {file}")


@agreement.command(
    short_help="Sign as a party; its old signature goes.",
    epilog="\b\nExample:\n  isthmus agreement sign alps.yaml --authority authorities/carrier.example",
)
@FILE
@click.option(
    "--authority",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder of the trust domain's authorities (its root signs).",
)
def sign(file: Path, authority: Path) -> None:
    """Sign as the trust domain whose root lies in --authority; a signature of it in the file is replaced."""
    with _told(file):
        known = load(file)
    with _told(authority):
        root = existing_root(authority)
    domain = root.trust_domain.name
    parties = [party.trust_domain for party in known.agreement.parties]
    if domain not in parties:
        raise CliFailure(
            f"{file}: parties: {' and '.join(parties)}; {authority} is of {domain}: give another folder"
        )
    signed = known.signed_by(domain, sign_detached(root.key, CONTEXT, known.agreement.canonical()))
    with _told(file):
        files.write_public(file.absolute(), signed.to_yaml())
    missing = sorted(set(parties) - {one.trust_domain for one in signed.signatures})
    rest = f"; {missing[0]} has still to sign" if missing else "; both have signed"
    click.echo(f"{file}: signed by {domain}{rest}")


@agreement.command(
    short_help="Both signatures and the period, as links do.",
    epilog="\b\nExample:\n  isthmus agreement verify alps.yaml --roots carrier.example=carrier.pem "
    "--roots helvetia.example=helvetia.pem",
)
@FILE
@click.option(
    "--roots", "bundles", multiple=True, metavar="DOMAIN=PEM", help="Pinned roots of a party."
)
@JSON
def verify(file: Path, bundles: tuple[str, ...], as_json: bool) -> None:
    """Both signatures over exactly these terms, and the period: as gateway and dialer do."""
    with _told(file):
        known = load(file)
        signers = check_signatures(known, dict(map(_roots, bundles)), NONE_REVOKED)
        judge_period(known.agreement, time.time())
    if as_json:
        click.echo(json.dumps({"valid": True, "signers": signers}, indent=2))
        return
    for domain, signer in signers.items():
        click.echo(f"signed by {domain} (root {signer[:16]})")
    click.echo(f"{known.agreement.name} version {known.agreement.version} is in force")


@agreement.command(epilog="\b\nExample:\n  isthmus agreement show alps.yaml")
@FILE
@JSON
def show(file: Path, as_json: bool) -> None:
    """The terms in words; says nothing about signatures being good (see verify)."""
    with _told(file):
        known = load(file)
    if as_json:
        click.echo(known.model_dump_json(indent=2))
        return
    terms = known.agreement
    click.echo(
        f"{terms.name} version {terms.version}, from {moment(terms.not_before)} "
        f"until {moment(terms.not_after)}"
    )
    for party in terms.parties:
        where = ", ".join(party.regions) or "anywhere"
        click.echo(f"{party.trust_domain} may keep what it gets in: {where}")
    for flow in terms.flows:
        click.echo(
            f"{flow.sender} to {flow.receiver}: at most {flow.max_changes_per_s:g} changes/s, "
            f"{flow.burst_changes} at once"
        )
        for clause in flow.clauses:
            click.echo(f"  {clause.pattern}  {_clause(clause)}")
    signed = ", ".join(one.trust_domain for one in known.signatures) or "nobody"
    click.echo(f"signed by: {signed} (not checked here)")


@agreement.command(
    "simulate",
    short_help="What would have crossed, by recorded keys.",
    epilog="\b\nExamples:\n  isthmus agreement simulate alps.yaml tap.jsonl --sender helvetia.example\n"
    "  isthmus agreement simulate alps.yaml --from 127.0.0.1:2379 --peer global",
)
@FILE
@click.argument("recordings", nargs=-1, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--from", "endpoint", metavar="ENDPOINT", help="Take what an etcd holds now.")
@click.option("--cacert", type=click.Path(path_type=Path), help="Authority of that etcd.")
@click.option("--cert", type=click.Path(path_type=Path), help="Our certificate for it.")
@click.option("--key", type=click.Path(path_type=Path), help="Our key for it.")
@click.option("--peer", default="global", show_default=True, help="To whom absolute keys cross.")
@click.option("--sender", metavar="DOMAIN", help="Only what this party sends; both else.")
@click.option(
    "--direction",
    type=click.Choice(["sent", "received"]),
    default="sent",
    show_default=True,
    help="Which frames of a tap.",
)
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="Lines shown.")
@JSON
def simulate_command(
    file: Path,
    recordings: tuple[Path, ...],
    endpoint: str | None,
    cacert: Path | None,
    cert: Path | None,
    key: Path | None,
    peer: str,
    sender: str | None,
    direction: str,
    limit: int,
    as_json: bool,
) -> None:
    """Replay recorded keys through a draft: what would have crossed, what was held back and why, bytes, changes/s.

    A recording is JSON lines of key, value and at (UTC seconds), or the tap of a link.
    """
    if not recordings and endpoint is None:
        raise click.UsageError("nothing to replay: give recordings, or --from ENDPOINT")
    with _told(file):
        flows = _flows(load(file), file, sender)
    records = [one for path in recordings for one in _recorded(path, direction)]
    if endpoint is not None:
        with _told(Path(endpoint)):
            settings = EtcdSettings(
                endpoints=(endpoint,), ca_file=cacert, cert_file=cert, key_file=key
            )
            records += asyncio.run(_held(settings))
    outcomes = [simulate(flow, records, _exports(peer)) for flow in flows]
    if as_json:
        click.echo(json.dumps([one.model_dump(mode="json") for one in outcomes], indent=2))
        return
    for outcome in outcomes:
        _show(outcome, limit)


def _show(outcome: Simulation, limit: int) -> None:
    for fate in [one for one in outcome.fates if one.verdict != "outside"][:limit]:
        why = f": {fate.code}: {fate.reason}" if fate.code else f"  ({fate.bytes} bytes)"
        late = f", waited {fate.waited_s:.1f} s" if fate.waited_s > 0.05 else ""
        click.echo(f"{fate.verdict:<11}{fate.key}{why}{late}")
    counts = ", ".join(f"{count} {name}" for name, count in sorted(outcome.counts.items()))
    click.echo(
        f"{outcome.sender} to {outcome.receiver}: {outcome.records} changes in "
        f"{outcome.seconds:.1f} s: {counts or 'nothing'}; {outcome.bytes} bytes, "
        f"{outcome.mean_changes_per_s:.1f} changes/s (peak {outcome.peak_changes_per_s}), "
        f"longest wait {outcome.longest_wait_s:.1f} s"
    )
    for code, count in sorted(outcome.reasons.items()):
        click.echo(f"  {code}: {count}")


def _flows(known: Agreement, file: Path, sender: str | None) -> tuple[Flow, ...]:
    flows = tuple(one for one in known.agreement.flows if sender in (None, one.sender))
    if not flows:
        there = ", ".join(one.sender for one in known.agreement.flows) or "none"
        raise CliFailure(f"{file}: no flow from {sender}; senders are: {there}")
    return flows


def _recorded(path: Path, direction: str) -> list[Recorded]:
    with _told(path):
        try:
            with path.open(encoding="utf-8") as file:
                return list(read_recording(file, path.name, direction))
        except (OSError, UnicodeDecodeError) as error:
            raise CliFailure(f"{path}: {error}; give a file of JSON lines") from None


async def _held(settings: EtcdSettings) -> list[Recorded]:
    """Everything of ours that the store holds, as of now."""
    store = EtcdStore.connect(settings)
    now_s = time.time()
    try:
        async with asyncio.timeout(ANSWER_S):
            snapshot = await store.snapshot("/isthmus/v1/")
    except TimeoutError:
        asked = f"{settings.endpoints[0]}: no answer within {ANSWER_S:g} s"
        raise Unreachable(f"{asked}; is it an etcd, and is the certificate right?") from None
    finally:
        await store.aclose()
    return [
        Recorded(key=one.key, value=one.value.decode("utf-8", "backslashreplace"), at=now_s)
        for one in snapshot.entries
    ]


def _exports(peer: str) -> tuple[ExportRoot, ...]:
    try:
        return (*site_exports(peer), *tier_exports(peer))
    except KeyRefused as refused:
        raise click.UsageError(f"--peer: {refused}") from None


def _roots(text: str) -> tuple[TrustDomain, tuple[x509.Certificate, ...]]:
    name, _, path = text.partition("=")
    try:
        domain, pem = TrustDomain(name), files.read_public(Path(path))
        return domain, tuple(x509.load_pem_x509_certificates(pem))
    except (TrustDomainRefused, TrustError, ValueError) as error:
        raise click.UsageError(f"--roots {text}: {error}; write DOMAIN=FILE.pem") from None


def _clause(clause: Clause) -> str:
    parts: list[str] = [clause.aggregation.value]
    told: tuple[tuple[object, Callable[[], str]], ...] = (
        (clause.rules, lambda: f"only {', '.join(clause.rules)}"),
        (clause.min_members > 1, lambda: f"of at least {clause.min_members}"),
        (clause.never, lambda: f"never {', '.join(clause.never)}"),
        (clause.max_age_s, lambda: f"at most {clause.max_age_s:g} s old"),
        (clause.min_interval_s, lambda: f"a key at most every {clause.min_interval_s:g} s"),
    )
    parts += [text() for given, text in told if given]
    return "; ".join(parts)


__all__: list[Any] = ["agreement"]
