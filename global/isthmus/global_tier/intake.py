"""The global tier's intake: checks what the carrier's users ask for against what is registered (DESIGN section 7).

Where peers may ask this tier to carry segments, it decides about those, too (:mod:`isthmus.global_tier.carrying`). A
name is one of ours or one of a peer's, and ours win.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from isthmus.contract.chain import ChainSpec, Explanation
from isthmus.contract.families import G_EXPLAIN, G_INTENTS, G_REQUESTS, G_SEGMENTS, G_SITES
from isthmus.contract.peering import Refused
from isthmus.contract.quarantine import marked_peer
from isthmus.contract.world import Intent
from isthmus.failpoint import afailpoint
from isthmus.global_tier.carrying import Policy, carry, concerned, drop, watched, wished
from isthmus.microcontroller import Context, Later, Traits

__all__ = ["Intake", "Refused"]

SITES = "*sites"
MARKED = "*marked/"
"""What is held of a peer was quarantined, or is so no more: all that it asks for."""


@dataclass(slots=True)
class Intake:
    """Work items are ``<tenant>/<chain>``."""

    policy: Policy = field(default_factory=Policy)
    component: str = "intake"
    traits: Traits = field(default_factory=Traits)

    @property
    def watches(self) -> Sequence[str]:
        """Requests, registered sites, and what it writes itself."""
        return (
            G_REQUESTS.prefix(),
            G_SITES.prefix(),
            G_INTENTS.prefix(),
            G_EXPLAIN.prefix(component=self.component),
            *watched(self.policy),
        )

    def items_for(self, key: str) -> Iterable[str]:
        """The chain; a new site may make refused requests possible."""
        for family in (G_REQUESTS, G_INTENTS, G_SEGMENTS, G_EXPLAIN):
            values = family.parse(key)
            if values is not None:
                yield f"{values['tenant']}/{values['chain']}"
                return
        if G_SITES.parse(key) is not None:
            yield SITES
        elif (peer := marked_peer(key)) is not None and self.policy.of(peer) is not None:
            yield f"{MARKED}{peer}"
        elif (item := wished(key, self.policy)) is not None:
            yield item

    async def reconcile(self, item: str, context: Context) -> float | None:
        """Admit or refuse one request."""
        if item == SITES:
            for known in list(context.state.items(G_REQUESTS)):
                await self._settle(known.variables["tenant"], known.variables["chain"], context)
            return None
        if item.startswith(MARKED):
            for name in concerned(context.state, item.removeprefix(MARKED)):
                tenant, _, chain = name.partition("/")
                with contextlib.suppress(Later):  # held by the brake: told by its own item
                    await self._settle(tenant, chain, context)
            return None
        tenant, _, chain = item.partition("/")
        return await self._settle(tenant, chain, context)

    async def _settle(self, tenant: str, chain: str, context: Context) -> float | None:
        request = context.state.get(G_REQUESTS, tenant=tenant, chain=chain)
        intent_key = G_INTENTS.key(tenant=tenant, chain=chain)
        explain_key = G_EXPLAIN.key(component=self.component, tenant=tenant, chain=chain)
        if request is None:
            await context.writer.delete(intent_key)
            await afailpoint("global_intake.intent_deleted")
            return await carry(self.policy, tenant, chain, context)
        try:
            self._check(request.spec, context)
        except Refused as refusal:
            explanation = Explanation(
                decision="refused", constraint=refusal.constraint, reason=str(refusal)
            )
            if await context.writer.put(explain_key, explanation):
                await context.event("refused", f"{tenant}/{chain}", str(refusal), "warning")
            return None
        standing = context.state.get(G_SEGMENTS, tenant=tenant, chain=chain)
        if standing is not None:
            await drop(standing, context, "a user of this tier has the name now")
        entry = context.state.entry(G_REQUESTS.key(tenant=tenant, chain=chain))
        revision = entry.mod_revision if entry is not None else 0
        await context.writer.put(intent_key, Intent(spec=request.spec, request_revision=revision))
        await afailpoint("global_intake.intent_written")
        await context.writer.put(
            explain_key,
            Explanation(decision="accepted", reason=f"{len(request.spec.functions)} functions"),
        )
        return None

    def _check(self, spec: ChainSpec, context: Context) -> None:
        sites = {
            known.variables["site"]: known.envelope.body for known in context.state.items(G_SITES)
        }
        for name, endpoint in (("ingress", spec.ingress), ("egress", spec.egress)):
            if endpoint.site is None:
                raise Refused(
                    "site", f"{name}.site is missing; at the global tier name one of {_list(sites)}"
                )
            site = sites.get(endpoint.site)
            if site is None:
                raise Refused(
                    "site",
                    f"{name}.site {endpoint.site!r} is not registered; there are: {_list(sites)}",
                )
            if endpoint.attachment not in site.attachments:
                raise Refused(
                    "attachment",
                    f"{name}.attachment {endpoint.attachment!r} is not at {endpoint.site}; "
                    f"there are: {_list(site.attachments)}",
                )
        for name in spec.constraints.sites:
            if name not in sites:
                raise Refused(
                    "site", f"constraints.sites names {name!r}, registered are: {_list(sites)}"
                )


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
