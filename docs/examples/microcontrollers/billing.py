"""A microcontroller that nobody planned for: it counts what each tenant is to be billed for (R8).

It reads the chains' reports and writes below ``x/billing/``, its own part of the key space. Nothing else had to be
changed for it, and nothing has to be restarted when it comes or goes: give it a user with its role
(``guest_role(Tier.SITE, "billing")`` for leadership and events, ``vendor_role(...)`` for its own keys) and run it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from isthmus.contract import Body
from isthmus.contract.families import STATUS
from isthmus.microcontroller import Context, Traits
from isthmus.policy.keys import ROOT

OWN = f"{ROOT}x/billing/"


class Bill(Body):
    """What a tenant uses now."""

    running_chains: int
    functions: int


@dataclass(slots=True)
class Billing:
    """One bill per tenant, kept equal to the reports."""

    component: str = "billing"
    traits: Traits = field(default_factory=Traits)

    @property
    def watches(self) -> Sequence[str]:
        """The reports, and the bills themselves: who changes a bill gets it mended."""
        return (STATUS.prefix(), OWN)

    def items_for(self, key: str) -> Iterable[str]:
        """A report concerns its tenant's bill."""
        values = STATUS.parse(key)
        if values is not None:
            yield values["tenant"]
        elif key.startswith(OWN):
            yield key[len(OWN) :]

    async def reconcile(self, item: str, context: Context) -> float | None:
        """Write, or withdraw, the bill of one tenant."""
        chains = [known.envelope.body for known in context.state.items(STATUS, tenant=item)]
        running = [chain for chain in chains if chain.phase.value == "running"]
        if chains:
            functions = sum(len(chain.functions) for chain in running)
            bill = Bill(running_chains=len(running), functions=functions)
            await context.writer.put(OWN + item, bill)
        else:
            await context.writer.delete(OWN + item)
        return None
