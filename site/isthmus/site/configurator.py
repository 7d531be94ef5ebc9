"""The configurator: general configuration management for every VNF that has no EMS (R31-R37).

It writes what the chain's owner declared to the instance's configuration key; the VNF reads and applies it by
itself. Instances whose configuration belongs to an EMS are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from isthmus.contract.chain import ChainRecord, FunctionSpec
from isthmus.contract.families import CONFIG, CONFIG_OWNERS, SPECS
from isthmus.contract.ids import instance_id
from isthmus.contract.instance import InstanceConfig
from isthmus.failpoint import afailpoint
from isthmus.microcontroller import Context, Traits

OWNER = "configurator"


@dataclass(slots=True)
class Configurator:
    """Work items are instance ids."""

    component: str = OWNER
    traits: Traits = field(default_factory=Traits)

    @property
    def watches(self) -> Sequence[str]:
        """Admitted segments, owners, and its own configurations."""
        return (SPECS.prefix(), CONFIG_OWNERS.prefix(), CONFIG.prefix(owner=OWNER))

    def items_for(self, key: str) -> Iterable[str]:
        """A changed chain concerns all its functions; one that is gone is found by the sweep of its chain."""
        values = SPECS.parse(key)
        if values is not None:
            yield f"{values['tenant']}/{values['chain']}"
        for family in (CONFIG_OWNERS, CONFIG):
            values = family.parse(key)
            if values is not None:
                yield values["instance"]

    async def reconcile(self, item: str, context: Context) -> float | None:
        """Settle one instance, or all of one chain and what is left of chains that are gone."""
        wanted = self._wanted(context)
        if "/" in item:
            for known in list(context.state.items(CONFIG, owner=OWNER)):
                if known.variables["instance"] not in wanted:
                    await context.writer.delete(known.key)
                    await afailpoint("configurator.config_deleted")
            for instance, (record, function) in wanted.items():
                if f"{record.segment.tenant}/{record.segment.chain}" == item:
                    await self._settle(instance, function, context)
            return None
        found = wanted.get(item)
        if found is None:
            await context.writer.delete(CONFIG.key(owner=OWNER, instance=item))
        else:
            await self._settle(item, found[1], context)
        return None

    async def _settle(self, instance: str, function: FunctionSpec, context: Context) -> None:
        owner = context.state.get(CONFIG_OWNERS, instance=instance)
        if owner is not None and owner.owner != OWNER:
            return
        await context.writer.put(
            CONFIG.key(owner=OWNER, instance=instance),
            InstanceConfig(
                type=function.type, version=function.version, parameters=function.config
            ),
        )
        await afailpoint("configurator.config_written")

    @staticmethod
    def _wanted(context: Context) -> dict[str, tuple[ChainRecord, FunctionSpec]]:
        wanted = {}
        for known in context.state.items(SPECS):
            segment = known.envelope.body.segment
            for function in segment.functions:
                instance = instance_id(segment.tenant, segment.chain, function.name)
                wanted[instance] = (known.envelope.body, function)
        return wanted
