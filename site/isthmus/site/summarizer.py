"""The summarizer: all that another tier learns of this site (DESIGN section 6, R61).

Totals and headroom for everybody who may link to us, told by the rules of :mod:`isthmus.contract.summaries` (the
arithmetic is in :mod:`isthmus.site.figures`); status and wire ends of a chain only for the peer that asked for it,
without the names of hosts and instances. Nothing else is ever below the exported prefixes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from isthmus.contract import ContractError, unseal
from isthmus.contract.alarms import (
    CHAINS_DEGRADED,
    CHAINS_REFUSED,
    CHAINS_UNKNOWN,
    DELETIONS_HELD,
    HOSTS_DOWN,
    Alarm,
    raised,
)
from isthmus.contract.chain import ChainStatus, Phase, WirePeer
from isthmus.contract.families import (
    CATALOG,
    ENDPOINTS,
    EXPLAIN,
    INVENTORY,
    PEER_CHAINS,
    PEER_WIRES,
    PLANS,
    SITE_SUMMARY,
    SPECS,
    STATUS,
    WIRE_HEARD,
)
from isthmus.contract.instance import HostInventory, SiteSummary
from isthmus.failpoint import afailpoint
from isthmus.microcontroller import Context, Traits
from isthmus.site.chains import chain_item, parse_item
from isthmus.site.figures import SiteFacts, body

SITE = "*site"
WIRES = "*wires"
LOCAL = "local"


@dataclass(slots=True)
class Summarizer:
    """``price_milli``: what a core costs here, in thousandths of a unit; the operator's choice."""

    site: str
    price_milli: int = 1000
    period_s: float = 5.0
    component: str = "summarizer"
    traits: Traits = field(default_factory=Traits)
    standing_items: tuple[str, ...] = (SITE, WIRES)

    @property
    def watches(self) -> Sequence[str]:
        """What it sums up, and its own summaries for peers."""
        families = (
            SPECS, PLANS, INVENTORY, ENDPOINTS, STATUS, CATALOG, EXPLAIN, WIRE_HEARD,
        )  # fmt: skip
        peers = PEER_CHAINS.prefix()
        return (*(family.prefix() for family in families), peers)

    def items_for(self, key: str) -> Iterable[str]:
        """A status concerns its chain; the rest concerns the totals or the wires."""
        values = STATUS.parse(key) or PEER_CHAINS.parse(key)
        if values is not None:
            yield chain_item(values["tenant"], values["chain"])
        elif any(family.parse(key) is not None for family in (ENDPOINTS, PEER_WIRES, WIRE_HEARD)):
            yield WIRES
        elif any(family.parse(key) is not None for family in (INVENTORY, PLANS, CATALOG, SPECS)):
            yield SITE
        elif (EXPLAIN.parse(key) or {}).get("component") == "intake":
            yield SITE  # what the brake holds

    async def reconcile(self, item: str, context: Context) -> float | None:
        """Sum up one thing."""
        if item == SITE:
            await context.writer.put(
                SITE_SUMMARY.key(),
                self._summary(context, await self._before(context)),
                ttl_s=3 * self.period_s,
                refresh_s=self.period_s * 0.9,
            )
            await afailpoint("summarizer.site_written")
            return self.period_s
        if item == WIRES:
            await self._wires(context)
            await afailpoint("summarizer.wires_written")
            return None
        await self._chain(item, context)
        return self.period_s

    @staticmethod
    async def _before(context: Context) -> SiteSummary | None:
        """What was told last, by whichever life: the store remembers it, not this process."""
        writer = context.writer
        entry = await writer.store.get(SITE_SUMMARY.key(), timeout_s=writer.timeout_s)
        if entry is None:
            return None
        try:
            return unseal(entry.value, SiteSummary).body
        except ContractError:
            return None  # a foreign mistake: everything is told anew

    def _summary(self, context: Context, before: SiteSummary | None) -> SiteSummary:
        """The rules of the contract decide what is told anew; the rest stays as it was told."""
        now = context.now()
        hosts = [
            known.envelope.body
            for known in context.state.items(INVENTORY)
            if not known.envelope.expired(now) and known.envelope.body.dataplane != "none"
        ]
        used, load = self._used(context)
        chains = [known.key for known in context.state.items(SPECS)]
        held = [
            known.key
            for known in context.state.items(EXPLAIN, component="intake")
            if known.envelope.body.decision == "held"
        ]
        facts = SiteFacts(
            hosts=hosts,
            used=used,
            chains=chains,
            held=held,
            price_milli=self.price_milli,
            load=load,
            alarms=self._alarms(context, len(hosts), len(chains), len(held)),
        )
        fields, told = body(facts, before, now)
        types = sorted(
            f"{known.variables['type']}/{known.variables['version']}"
            for known in context.state.items(CATALOG)
        )
        return SiteSummary(
            **fields,
            attachments=tuple(sorted({name for host in hosts for name in host.attachments})),
            function_types=tuple(types),
            fence=_fence(hosts),
            told=told,
        )

    @staticmethod
    def _alarms(context: Context, up: int, chains: int, held: int) -> Mapping[str, Alarm]:
        """What an operator above should look at here: counts by kind, without a name."""
        now = context.now()
        phases = Counter(
            Phase.UNKNOWN if known.envelope.expired(now) else known.envelope.body.phase
            for known in context.state.items(STATUS)
        )
        hosts = sum(1 for _ in context.state.items(INVENTORY))
        return raised(
            {
                HOSTS_DOWN: (hosts - up, hosts),
                CHAINS_DEGRADED: (phases[Phase.DEGRADED], phases.total()),
                CHAINS_UNKNOWN: (phases[Phase.UNKNOWN], phases.total()),
                CHAINS_REFUSED: (phases[Phase.REFUSED], phases.total()),
                DELETIONS_HELD: (held, max(held, chains)),
            }
        )

    @staticmethod
    def _used(context: Context) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
        """CPU and memory per host that *local* chains hold: what a peer's own chains hold here it knows by itself.
        And CPU per host that chains hold, whoever asked for them."""
        used: dict[str, tuple[int, int]] = {}
        load: dict[str, int] = {}
        for known in context.state.items(PLANS):
            record = context.state.get(SPECS, **known.variables)
            if record is None:
                continue
            needs = {function.name: function.resources for function in record.segment.functions}
            for planned in known.envelope.body.functions:
                resources = needs.get(planned.function)
                if resources is None:
                    continue
                load[planned.host] = load.get(planned.host, 0) + resources.cpu_milli
                if record.source == LOCAL:
                    cpu, memory = used.get(planned.host, (0, 0))
                    used[planned.host] = (cpu + resources.cpu_milli, memory + resources.memory_mib)
        return used, load

    async def _chain(self, item: str, context: Context) -> None:
        tenant, chain = parse_item(item)
        status = context.state.get(STATUS, tenant=tenant, chain=chain)
        for known in list(context.state.items(PEER_CHAINS)):
            if (known.variables["tenant"], known.variables["chain"]) != (tenant, chain):
                continue
            if status is None or status.source != known.variables["peer"]:
                await context.writer.delete(known.key)
        if status is None or status.source == LOCAL:
            return
        await context.writer.put(
            PEER_CHAINS.key(peer=status.source, tenant=tenant, chain=chain),
            self._for_peer(status),
            ttl_s=3 * self.period_s,
            refresh_s=self.period_s * 0.9,
        )
        await afailpoint("summarizer.chain_written")

    def _for_peer(self, status: ChainStatus) -> ChainStatus:
        """The same without hosts and instances: inventories never cross."""
        functions = tuple(
            function.model_copy(update={"host": "", "instance": ""})
            for function in status.functions
        )
        reason = status.reason
        if status.refused is not None:
            reason = status.refused.reason
        elif status.phase is not Phase.REFUSED and reason:
            reason = f"{status.connected_hops} of {status.hops} hops are patched"
        return status.model_copy(
            update={
                "functions": functions,
                "path": tuple(f"{self.site}/{function.function}" for function in functions),
                "reason": reason,
            }
        )

    async def _wires(self, context: Context) -> None:
        wanted = set()
        heard = {
            known.variables["wire"]: known.envelope.body.heard_at
            for known in context.state.items(WIRE_HEARD)
        }
        for known in context.state.items(ENDPOINTS):
            end = known.envelope.body
            if end.source == LOCAL:
                continue
            key = PEER_WIRES.key(peer=end.source, wire=end.wire)
            wanted.add(key)
            await context.writer.put(
                key,
                WirePeer(
                    wire=end.wire,
                    vni=end.vni,
                    address=end.address,
                    udp_port=end.udp_port,
                    heard_at=heard.get(end.wire, 0.0),
                ),
            )
        for known in list(context.state.items(PEER_WIRES)):
            if known.key not in wanted:
                await context.writer.delete(known.key)


def _fence(hosts: Iterable[HostInventory]) -> str:
    kinds = {host.fence for host in hosts}
    return "kernel" if kinds == {"kernel"} else "none"
