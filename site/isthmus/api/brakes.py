"""The brake of a site as its operator sees and releases it (GUARANTEES attack 19).

Intake holds deletions by a peer that would end a large share of its chains at once. Whether that is a broken tier or
a customer leaving, only a person can tell; the word is given here, for minutes, and is written with an event that says
whose it was. A site has a brake, and a tier that carries segments for a peer as a site does; a tier that nobody asks
deletes nothing that a person did not ask it to.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from isthmus.api import checks
from isthmus.api.apply import ATTEMPTS, site_names
from isthmus.api.desk import Desk
from isthmus.api.errors import Clash, NotKnown, Refused
from isthmus.api.facts import Fact, fact
from isthmus.api.models import BrakeList, BrakeResult, BrakeRow
from isthmus.contract import Tier, families, seal
from isthmus.contract.chain import ChainRecord, Confirmation, Explanation
from isthmus.contract.instance import OperationalEvent
from isthmus.contract.problems import refusals
from isthmus.contract.world import CarriedSegment
from isthmus.kv.port import Compare, Delete, Entry, Operation, Put, Target, Txn

SHOWN = 500
"""Names of held chains that an answer lists; the count tells all."""


class BrakeOrder(BaseModel):
    """The body of a confirmation; the bounds are those of the contract."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    for_s: int = Field(default=300, ge=1, le=3600)


@dataclass(slots=True)
class _Peer:
    """What the store says about one peer."""

    chains: int = 0
    held: list[tuple[str, Fact[Explanation]]] = field(default_factory=list)
    word: Fact[Confirmation] | None = None


async def listing(desk: Desk) -> BrakeList:
    """Every peer that has chains here, or an operator's word."""
    revision, peers = await _peers(desk)
    now = desk.clock()
    rows = tuple(_row(name, peers[name], now) for name in sorted(peers))
    return BrakeList(revision=revision, brakes=rows)


async def held_chains(desk: Desk) -> int:
    """How many deletions the site holds; none at the global tier."""
    if desk.tier is not Tier.SITE:
        return 0
    snapshot = await desk.snapshot(families.EXPLAIN.prefix(component="intake"))
    found = (fact(entry, Explanation) for entry in snapshot.entries)
    return sum(item is not None and item.body.decision == "held" for item in found)


async def confirm(desk: Desk, peer: str, data: bytes, content_type: str, by: str) -> BrakeResult:
    """Let the brake go for ``peer`` for a while; the body may be left out."""
    await _only_where_peers_ask(desk)
    peer = checks.name_in_path("peer", peer)
    for_s = _order(data, content_type).for_s
    row = await _known(desk, peer)
    now = desk.clock()
    word = Confirmation(for_s=for_s, confirmed_by=by)
    message = f"deletions by {peer} take effect for {for_s} s: the word of {by}"
    result = "extended" if row.confirmed_until is not None else "confirmed"
    revision = await _write(desk, peer, word, OperationalEvent(
        kind="confirmed", subject=peer, message=message, severity="warning",
    ))  # fmt: skip
    return BrakeResult(
        result=result,
        peer=peer,
        confirmed_until=now + for_s,
        held=row.held,
        revision=revision,
        message=message,
    )


async def hold(desk: Desk, peer: str, by: str) -> BrakeResult:
    """Take the word back. What is gone is gone; without a word nothing changes."""
    await _only_where_peers_ask(desk)
    peer = checks.name_in_path("peer", peer)
    row = await _known(desk, peer)
    message = f"the brake holds again for {peer}: the word of {by}"
    revision = await _write(desk, peer, None, OperationalEvent(
        kind="confirmed-no-more", subject=peer, message=message,
    ))  # fmt: skip
    if not revision:
        message = f"no word was in force for {peer}: nothing changed"
    result = "held" if revision else "unchanged"
    return BrakeResult(result=result, peer=peer, held=row.held, revision=revision, message=message)


async def _only_where_peers_ask(desk: Desk) -> None:
    if desk.tier is Tier.SITE or (await desk.snapshot(families.G_SEGMENTS.prefix())).entries:
        return
    sites = ", ".join(await site_names(desk)) or "none yet"
    raise NotKnown(
        "no-brake-here",
        "the global tier has no brake while no peer asks it for anything: a site holds deletions, "
        "and is told at the site",
        fix=f"ask the API of a site, such as 'isthmus brake --at SITE'; the sites are: {sites}",
    )


def _order(data: bytes, content_type: str) -> BrakeOrder:
    if not data:
        return BrakeOrder()
    document = checks.read_object(data, content_type)
    try:
        return BrakeOrder.model_validate_json(json.dumps(document))
    except ValidationError as error:
        raise Refused.because(refusals(error, BrakeOrder)) from None


async def _known(desk: Desk, peer: str) -> BrakeRow:
    """What is known about ``peer``; raises NotKnown for one that has nothing here."""
    _, peers = await _peers(desk)
    if peer not in peers:
        raise NotKnown(
            "not-found",
            f"no peer '{peer}' has chains at this site",
            field="peer",
            value=peer,
            fix=f"the peers are: {', '.join(sorted(peers)) or '(none yet)'}",
        )
    return _row(peer, peers[peer], desk.clock())


async def _peers(desk: Desk) -> tuple[int, dict[str, _Peer]]:
    await _only_where_peers_ask(desk)
    at_site = desk.tier is Tier.SITE
    wanted = (
        (families.SPECS if at_site else families.G_SEGMENTS).prefix(),
        families.EXPLAIN.prefix(component="intake"),
        families.CONFIRMATIONS.prefix(),
    )
    specs, explanations, words = await desk.snapshots(wanted)
    peers: dict[str, _Peer] = {}
    for entry in specs.entries:
        record: Fact[ChainRecord] | Fact[CarriedSegment] | None
        record = fact(entry, ChainRecord) if at_site else fact(entry, CarriedSegment)
        if record is not None and record.body.source != "local":
            peers.setdefault(record.body.source, _Peer()).chains += 1
    for entry in explanations.entries:
        item, parts = fact(entry, Explanation), families.EXPLAIN.parse(entry.key)
        if item is not None and parts is not None and item.body.decision == "held":
            name = f"{parts['tenant']}/{parts['chain']}"
            peers.setdefault(item.body.source, _Peer()).held.append((name, item))
    for entry in words.entries:
        parts = families.CONFIRMATIONS.parse(entry.key)
        if parts is not None:
            peers.setdefault(parts["peer"], _Peer()).word = fact(entry, Confirmation)
    return specs.revision, peers


def _row(name: str, peer: _Peer, now: float) -> BrakeRow:
    newest = max((item for _, item in peer.held), key=lambda item: item.revision, default=None)
    limit = newest.body.figures.get("limit") if newest is not None else None
    word = peer.word
    until = Confirmation.until_utc_s(word.envelope if word is not None else None, now)
    return BrakeRow(
        peer=name,
        state="confirmed" if until is not None else "holding" if peer.held else "ready",
        chains=peer.chains,
        held=len(peer.held),
        chains_held=tuple(sorted(chain for chain, _ in peer.held)[:SHOWN]),
        limit=int(limit) if limit is not None else None,
        confirmed_until=until,
        confirmed_by=word.body.confirmed_by if word is not None and until is not None else "",
    )


async def _write(desk: Desk, peer: str, word: Confirmation | None, event: OperationalEvent) -> int:
    """Word and event in one transaction; the revision, or 0 when there was no word to take back."""
    key = families.CONFIRMATIONS.key(peer=peer)
    for _ in range(ATTEMPTS):
        _, found = await desk.gets((key,))
        entry = found.get(key)
        if entry is None and word is None:
            return 0
        now = desk.clock()
        change: Operation = Delete(key) if word is None else Put(key, _sealed(desk, word, entry))
        stamp = f"{int(now * 1000):013d}-{desk.new_id()[:6]}"
        told = Put(
            families.EVENTS.key(component="api", id=stamp), seal(event, desk.stamp, as_of=now)
        )
        compare = Compare(key, Target.MOD_REVISION, entry.mod_revision if entry else 0)
        result = await desk.txn(Txn((compare,), (change, told)))
        if result.succeeded:
            return result.revision
    raise Clash(
        "conflict",
        f"the brake for {peer} is being changed by others",
        fix="look at it with 'isthmus brake' and try again",
    )


def _sealed(desk: Desk, word: Confirmation, entry: Entry | None) -> bytes:
    known = fact(entry, Confirmation)
    return seal(
        word,
        desk.stamp,
        as_of=desk.clock(),
        generation=known.envelope.generation + 1 if known is not None else 1,
        ttl_s=word.for_s,
    )
