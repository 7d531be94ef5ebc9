"""What becomes of chains: effects as a reader sees them, facts that decisions relied on, and what is wrong at rest.

Looks at stores and at the hollow infrastructure from outside; asks nobody who is being judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from isthmus.chaos.simulation.carriage import TIER
from isthmus.chaos.simulation.stores import StoreServer
from isthmus.contract import Body, ContractError, Envelope, unseal
from isthmus.contract.chain import ChainRecord, ChainRequest, ChainStatus, Phase
from isthmus.contract.families import (
    DESIRED,
    G_INTENTS,
    G_OUTBOX_INTENTS,
    G_PLACEMENTS,
    G_REQUESTS,
    G_STATUS,
    G_VNIS,
    G_WIRES,
    PLANS,
    REQUESTS,
    SPECS,
    STATUS,
)
from isthmus.contract.ids import instance_id
from isthmus.contract.scopes import site_chain_prefix
from isthmus.contract.world import Placement, VniClaim, Wire
from isthmus.kv.port import Entry, Event

if TYPE_CHECKING:
    from isthmus.chaos.simulation.world_carrier import CarrierWorld

_B = TypeVar("_B", bound=Body)
KNOWN = frozenset({Phase.RUNNING, Phase.PENDING})


class ChainObserver:
    """Of one world."""

    def __init__(self, world: CarrierWorld) -> None:
        self._world = world
        self._phases: dict[tuple[str, str], str] = {}
        self._epochs: dict[tuple[str, str], tuple[int, int]] = {}

    # ---- on the way

    def committed(self, server: StoreServer, events: Iterable[Event]) -> None:
        """``server`` has committed these."""
        family = G_STATUS if server.name == TIER else STATUS
        for event in events:
            if SPECS.parse(event.key) is not None:
                self._in_force(server, event)
            named = family.parse(event.key)
            if named is None:
                continue
            chain = f"{named['tenant']}/{named['chain']}"
            status = None if event.entry is None else _opened(event.entry, ChainStatus)
            phase = "gone" if status is None else status.body.phase.value
            if self._phases.get((server.name, chain)) != phase:
                self._phases[server.name, chain] = phase
                reason = None if status is None else status.body.reason[:120] or None
                self._world.record.effect(
                    f"store.{server.name}",
                    tier=server.name,
                    chain=chain,
                    phase=phase,
                    reason=reason,
                )
            if status is not None and server.name == TIER:
                self._facts(named["tenant"], named["chain"], status)

    def _in_force(self, server: StoreServer, event: Event) -> None:
        """What a site carries for the tier only ever grows newer, unless the site itself went back in time (G2')."""
        record = None if event.entry is None else _opened(event.entry, ChainRecord)
        place = server.name, event.key
        if record is None or record.body.source != TIER:
            self._epochs.pop(place, None)
            return
        epoch = record.body.segment.epoch
        before, life = self._epochs.get(place, (0, server.incarnation))
        if life == server.incarnation and epoch < before:
            self._world.problem(
                f"epoch: {event.key} at {server.name} fell from {before} to {epoch}"
            )
        self._epochs[place] = epoch, server.incarnation

    def _facts(self, tenant: str, chain: str, status: Envelope[ChainStatus]) -> None:
        """On which of the sites' words a status of the tier was built, and how old they were then (G12)."""
        placement = self._at(TIER, G_PLACEMENTS.key(tenant=tenant, chain=chain), Placement)
        if placement is None or placement.body.epoch != status.body.epoch:
            return
        for placed in placement.body.segments:
            key = f"{site_chain_prefix(placed.site)}{tenant}/{placed.segment.chain}"
            said = self._at(TIER, key, ChainStatus)
            if said is None or not said.ttl_s:
                continue
            self._world.record.fact(
                f"{TIER}.reporter",
                by=f"{TIER}.reporter",
                fact=key,
                as_of=said.as_of,
                ttl_s=said.ttl_s,
                now=status.as_of,
                used=True,
                treated_as="known" if status.body.phase in KNOWN else "unknown",
            )

    # ---- at rest

    def wrong(self) -> list[str]:
        """What is not as it should be; empty at rest."""
        return [*self._asked(), *self._left_over(), *self._wires(), *self._instances()]

    def _requests(self, tier: str) -> dict[str, ChainRequest]:
        family = G_REQUESTS if tier == TIER else REQUESTS
        found = {}
        for entry in self._below(tier, family.prefix()):
            envelope = _opened(entry, ChainRequest)
            if envelope is not None:
                found[f"{envelope.body.spec.tenant}/{envelope.body.spec.chain}"] = envelope.body
        return found

    def _asked(self) -> Iterator[str]:
        for tier in self._world.servers:
            for chain in self._requests(tier):
                status = self._status(tier, chain)
                now = self._world.clocks[tier].wall_s()
                if status is None:
                    yield f"{chain} is asked for at {tier} and nobody reports it"
                elif status.expired(now) or status.body.phase is not Phase.RUNNING:
                    old = " (old)" if status.expired(now) else ""
                    yield f"{chain} at {tier} is {status.body.phase.value}{old}: {status.body.reason}"

    def _status(self, tier: str, chain: str) -> Envelope[ChainStatus] | None:
        family = G_STATUS if tier == TIER else STATUS
        tenant, _, name = chain.partition("/")
        return self._at(tier, family.key(tenant=tenant, chain=name), ChainStatus)

    def _left_over(self) -> Iterator[str]:
        wanted = set(self._requests(TIER))
        for family in (G_INTENTS, G_PLACEMENTS, G_STATUS, G_OUTBOX_INTENTS):
            for entry in self._below(TIER, family.prefix()):
                named = family.parse(entry.key)
                if named is None:
                    continue
                chain = f"{named['tenant']}/{named['chain'].partition('.')[0]}"
                if chain not in wanted:
                    yield f"left over at {TIER}: {entry.key}"
        for site in self._world.hosts:
            here = wanted | set(self._requests(site))
            for family in (SPECS, PLANS, STATUS):
                for entry in self._below(site, family.prefix()):
                    named = family.parse(entry.key)
                    if named is None:
                        continue
                    chain = f"{named['tenant']}/{named['chain'].partition('.')[0]}"
                    if chain not in here:
                        yield f"left over at {site}: {entry.key}"

    def _wires(self) -> Iterator[str]:
        """Each number is one wire's, and both ends' panels agree."""
        wires = [
            envelope.body
            for entry in self._below(TIER, G_WIRES.prefix())
            if (envelope := _opened(entry, Wire)) is not None
        ]
        claims = {}
        for entry in self._below(TIER, G_VNIS.prefix()):
            claim = _opened(entry, VniClaim)
            if claim is not None:
                claims[int((G_VNIS.parse(entry.key) or {})["number"])] = claim.body.wire
        for vni, count in Counter(wire.vni for wire in wires).items():
            if count > 1:
                yield f"network identifier {vni} is given to {count} wires"
        for wire in wires:
            if claims.pop(wire.vni, None) != wire.wire:
                yield f"wire {wire.wire} has number {wire.vni}, which is not claimed for it"
            yield from self._ends(wire)
        for vni, owner in claims.items():
            yield f"number {vni} is claimed for {owner}, which is no wire"

    def _ends(self, wire: Wire) -> Iterator[str]:
        hosts = self._world.hosts
        for site, other in (
            (wire.left_site, wire.right_site),
            (wire.right_site, wire.left_site),
        ):
            spec = next((w for w in hosts[site].panel.panel.wires if w.wire_id == wire.wire), None)
            far = hosts[other].facts.underlay_address
            if spec is None:
                yield f"wire {wire.wire} of {wire.chain} is not at {site}"
            elif (spec.vni, spec.remote_ip) != (wire.vni, far):
                yield f"wire {wire.wire} at {site} has {spec.vni} to {spec.remote_ip}"

    def _instances(self) -> Iterator[str]:
        """Every function of every chain exactly once, and nothing else."""
        running = self._running()
        wanted = {
            instance_id(spec.tenant, spec.chain, function.name): f"{spec.chain}/{function.name}"
            for tier in self._world.servers
            for spec in (request.spec for request in self._requests(tier).values())
            for function in spec.functions
        }
        own = Counter(
            instance_id(r.spec.tenant, r.spec.chain, f.name)
            for tier in self._world.servers
            for r in self._requests(tier).values()
            for f in r.spec.functions
        )
        for instance, name in wanted.items():
            if running[instance] != own[instance]:
                yield f"{name} exists {running[instance]} times"
        for instance in sorted(running.keys() - wanted.keys()):
            yield f"instance {instance} runs, and nobody asked for it"
        for site in self._world.hosts:
            for entry in self._below(site, DESIRED.prefix()):
                if (DESIRED.parse(entry.key) or {}).get("instance") not in wanted:
                    yield f"left over at {site}: {entry.key}"

    def _running(self) -> Counter[str]:
        return Counter(
            instance
            for host in self._world.hosts.values()
            for instance, state in host.compute._instances.items()
            if state.phase == "running"
        )

    def tell_end(self) -> None:
        """The end state of every chain that was ever asked for (G3)."""
        running = self._running()
        for slot in self._world.customers.slots:
            for name, spec in sorted(slot.wants.items()):
                chain = f"acme/{name}"
                status = self._status(slot.tier, chain)
                asked = self._requests(slot.tier).get(chain)
                functions = asked or ChainRequest(spec=spec) if spec else asked
                names = [f.name for f in functions.spec.functions] if functions else ["fw", "nat"]
                counts = [running[instance_id("acme", name, function)] for function in names]
                same = sum(name in one.wants for one in self._world.customers.slots)
                gone = status is None
                self._world.record.effect(
                    "sim",
                    tier=slot.tier,
                    chain=chain,
                    phase="gone" if status is None else status.body.phase.value,
                    reason=None if status is None else status.body.reason[:120] or None,
                    count=None if same > 1 else (max(counts) if gone else min(counts)),
                )

    # ---- looking

    def _below(self, store: str, prefix: str) -> tuple[Entry, ...]:
        entries: tuple[Entry, ...] = self._world.servers[store].mvcc.snapshot(prefix).entries
        return entries

    def _at(self, store: str, key: str, model: type[_B]) -> Envelope[_B] | None:
        entry = self._world.servers[store].mvcc.get(key)
        return None if entry is None else _opened(entry, model)


def _opened(entry: Entry, model: type[_B]) -> Envelope[_B] | None:
    try:
        return unseal(entry.value, model)
    except ContractError:
        return None
