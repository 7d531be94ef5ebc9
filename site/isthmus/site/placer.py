"""The site's placer: which host runs which function of the segments this site carries (R4, DESIGN section 5).

It asks the placement engine, one segment at a time, keeps what stands (stickiness), starts a new life of an
instance when the healer asks, and writes the plan, the orders to the hosts and an explanation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from isthmus.contract.chain import Candidate, ChainPlan, ChainRecord, Explanation, Hop, Segment
from isthmus.contract.families import DESIRED, EXPLAIN, HEAL_REQUESTS, INVENTORY, PLANS, SPECS
from isthmus.contract.instance import HostInventory, InstanceDesired
from isthmus.failpoint import afailpoint
from isthmus.microcontroller import Context, Known, Traits
from isthmus.placement import ChainDemand, Placement, Refusal, Usage, place, runner_up
from isthmus.site import hosts
from isthmus.site.chains import chain_item, parse_item

ALL = "*all"
"""Look at every chain: an inventory changed."""
FIRST_LOCAL_VNI = 1


@dataclass(slots=True)
class Placer:
    """One worker: each decision sees the one before it."""

    component: str = "placer"
    traits: Traits = field(default_factory=Traits)

    @property
    def watches(self) -> Sequence[str]:
        """Specs and inventories, heal requests, and what it writes itself."""
        families = (SPECS, INVENTORY, HEAL_REQUESTS, PLANS, DESIRED)
        return (
            *(family.prefix() for family in families),
            EXPLAIN.prefix(component=self.component),
        )

    def items_for(self, key: str) -> Iterable[str]:
        """A changed inventory concerns every chain, a heal request the chain of its instance."""
        for family in (SPECS, PLANS, EXPLAIN):
            values = family.parse(key)
            if values is not None:
                yield chain_item(values["tenant"], values["chain"])
                return
        if INVENTORY.parse(key) is not None:
            yield ALL
        elif (values := HEAL_REQUESTS.parse(key)) is not None or (
            values := DESIRED.parse(key)
        ) is not None:
            yield f"@{values['instance']}"

    async def reconcile(self, item: str, context: Context) -> float | None:
        """Settle one chain, or find the chains that an event concerns and settle those."""
        for tenant, chain in self._chains(item, context):
            record = context.state.get(SPECS, tenant=tenant, chain=chain)
            if record is None:
                await self._withdraw(context, tenant, chain)
            else:
                await self._place(context, record)
        return None

    def _chains(self, item: str, context: Context) -> list[tuple[str, str]]:
        if item == ALL:
            # By priority: when room is short after a loss, the important ones choose first.
            every = sorted(
                context.state.items(SPECS),
                key=lambda k: (-k.envelope.body.segment.priority, k.key),
            )
            return [(k.variables["tenant"], k.variables["chain"]) for k in every]
        if not item.startswith("@"):
            return [parse_item(item)]
        for known in context.state.items(DESIRED):
            if known.variables["instance"] == item[1:]:
                return [(known.envelope.body.tenant, known.envelope.body.chain)]
        return []

    async def _place(self, context: Context, record: ChainRecord) -> None:
        segment = record.segment
        inventories = self._inventories(context)
        current = context.state.get(PLANS, tenant=segment.tenant, chain=segment.chain)
        answer, ground = self._decide(context, segment, inventories, current)
        key = EXPLAIN.key(component=self.component, tenant=segment.tenant, chain=segment.chain)
        if isinstance(answer, Refusal):
            explanation = _refused(record, answer)
            if await context.writer.put(key, explanation):
                item = chain_item(segment.tenant, segment.chain)
                await context.event("not-placed", item, explanation.reason, "warning")
            return
        incarnations = {
            known.variables["instance"]: self._incarnation(context, known.envelope.body)
            for known in self._orders(context, segment.tenant, segment.chain)
        }
        plan = hosts.plan(
            segment, answer, incarnations, self._vnis(context, segment, answer, current)
        )
        await context.writer.put(PLANS.key(tenant=segment.tenant, chain=segment.chain), plan)
        await afailpoint("placer.plan_written")
        await self._order(context, segment, plan)
        await afailpoint("placer.orders_written")
        told = context.state.body(key, Explanation)
        if told is None or gist(told) != gist(_accepted(record, answer, None)):
            # The second best is searched for when the decision is new; it costs more than the decision itself.
            second = None if ground is None else runner_up(*ground, answer)
            await context.writer.put(key, _accepted(record, answer, second))

    def _decide(
        self,
        context: Context,
        segment: Segment,
        inventories: list[HostInventory],
        current: ChainPlan | None,
    ) -> tuple[Placement | Refusal, tuple[Usage, ChainDemand] | None]:
        """The answer, and what it was decided on."""
        item = chain_item(segment.tenant, segment.chain)
        for name, terminal in (("ingress", segment.left), ("egress", segment.right)):
            if not hosts.terminal_hosts(terminal, inventories):
                refusal = Refusal(
                    chain=item,
                    kind="residual",
                    constraint="sites",
                    text=f"no living host delivers {name} {terminal.kind} {terminal.name!r}"
                    + hosts.without_data_plane(inventories),
                )
                return refusal, None
        wanted = hosts.demand(segment, inventories, current)
        usage = Usage(hosts.network(inventories))
        for known in context.state.items(PLANS):
            tenant, chain = known.variables["tenant"], known.variables["chain"]
            other = context.state.get(SPECS, tenant=tenant, chain=chain)
            if other is None or chain_item(tenant, chain) == item:
                continue
            self._charge(usage, other.segment, known.envelope.body, inventories)
        return place(usage, wanted), (usage, wanted)

    @staticmethod
    def _charge(
        usage: Usage, segment: Segment, plan: ChainPlan, inventories: list[HostInventory]
    ) -> None:
        alive = {inventory.host for inventory in inventories}
        names = [function.name for function in segment.functions]
        if [f.function for f in plan.functions] != names:
            return
        if any(end.host not in alive for hop in plan.hops for end in (hop.left, hop.right)):
            return
        if not all(hosts.terminal_hosts(t, inventories) for t in (segment.left, segment.right)):
            return  # its circuit is gone: it holds nothing that others could not have
        usage.apply(hosts.demand(segment, inventories, plan), hosts.placed(segment, plan))

    def _inventories(self, context: Context) -> list[HostInventory]:
        now = context.now()
        return [
            known.envelope.body
            for known in context.state.items(INVENTORY)
            if not known.envelope.expired(now)
        ]

    def _orders(self, context: Context, tenant: str, chain: str) -> list[Known]:
        return [
            known
            for known in context.state.items(DESIRED)
            if (known.envelope.body.tenant, known.envelope.body.chain) == (tenant, chain)
        ]

    def _incarnation(self, context: Context, desired: InstanceDesired) -> int:
        request = context.state.get(HEAL_REQUESTS, instance=desired.instance)
        lost = request is not None and request.lost_incarnation == desired.incarnation
        return desired.incarnation + (1 if lost else 0)

    def _vnis(
        self, context: Context, segment: Segment, answer: Placement, current: ChainPlan | None
    ) -> dict[str, int]:
        """Numbers for the wires between hosts: those in use stay, new ones take the lowest that is free."""
        mine = {h.local_wire.wire: h.local_wire.vni for h in _hops(current) if h.local_wire}
        taken = {
            hop.local_wire.vni
            for known in context.state.items(PLANS)
            for hop in known.envelope.body.hops
            if hop.local_wire
        }
        vnis: dict[str, int] = {}
        for wire in hosts.local_wires_needed(segment, answer):
            number = mine.get(wire)
            if number is None:
                number = next(n for n in range(FIRST_LOCAL_VNI, 2**24) if n not in taken)
            taken.add(number)
            vnis[wire] = number
        return vnis

    async def _order(self, context: Context, segment: Segment, plan: ChainPlan) -> None:
        wanted: set[str] = set()
        specs = {function.name: function for function in segment.functions}
        for planned in plan.functions:
            key = DESIRED.key(host=planned.host, instance=planned.instance)
            wanted.add(key)
            await context.writer.put(
                key,
                InstanceDesired(
                    instance=planned.instance,
                    incarnation=planned.incarnation,
                    tenant=segment.tenant,
                    chain=segment.chain,
                    function=specs[planned.function].model_copy(update={"config": {}}),
                ),
            )
            await afailpoint("placer.desired_written")
        for known in self._orders(context, segment.tenant, segment.chain):
            if known.key not in wanted:
                await context.writer.delete(known.key)

    async def _withdraw(self, context: Context, tenant: str, chain: str) -> None:
        for known in self._orders(context, tenant, chain):
            await context.writer.delete(known.key)
            await afailpoint("placer.order_deleted")
        await context.writer.delete(PLANS.key(tenant=tenant, chain=chain))
        await afailpoint("placer.plan_deleted")
        await context.writer.delete(
            EXPLAIN.key(component=self.component, tenant=tenant, chain=chain)
        )


def _hops(plan: ChainPlan | None) -> Sequence[Hop]:
    return plan.hops if plan is not None else ()


def gist(explanation: Explanation) -> tuple[str, str, str]:
    """What makes a decision another one: not its costs, for these change with every neighbour.

    Compared with what is told, never with the plan: whoever dies between the two has told the one before.
    """
    return explanation.decision, explanation.source, explanation.reason


def _accepted(record: ChainRecord, answer: Placement, second: Placement | None) -> Explanation:
    where = ", ".join(
        f"{function.name} on {host}"
        for function, host in zip(record.segment.functions, answer.sites, strict=True)
    )
    return Explanation(
        decision="accepted",
        source=record.source,
        reason=where or "transit only",
        candidates=()
        if second is None
        else (Candidate.runner_up(second.sites, second.cost, second.cost - answer.cost),),
        figures={"cost": round(answer.cost, 6)},
    )


def _refused(record: ChainRecord, refusal: Refusal) -> Explanation:
    nearest = refusal.nearest
    return Explanation(
        decision="refused",
        source=record.source,
        constraint=refusal.constraint,
        reason=refusal.text,
        epoch=record.segment.epoch,
        candidates=tuple(Candidate(name=c.site, verdict=c.verdict) for c in refusal.candidates[:5]),
        nearest_relaxation=nearest.text if nearest else "",
        figures={key: float(value) for key, value in list(refusal.numbers.items())[:8]},
    )
