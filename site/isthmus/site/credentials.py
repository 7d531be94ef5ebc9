"""Credentials: the only editor of the store's users, and the signer of instances' certificates (R13).

An instance gets a user of its own that may write below its own keys and read its own configuration, nothing
else; it loses it with its last order. The private key is made on the host and never passes here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from isthmus.contract.families import (
    APPLIED,
    CERTIFICATES,
    CONFIG_OWNERS,
    DESIRED,
    SIGNING_REQUESTS,
    STATE,
    VNF_STATS,
)
from isthmus.contract.instance import InstanceCertificate
from isthmus.contract.roles import instance_role
from isthmus.failpoint import afailpoint
from isthmus.identity.profiles import LEAF, SKEW_S
from isthmus.microcontroller import Context, Later, Traits
from isthmus.site.ports import Signer, StoreUsers

RENEW_AFTER_S = LEAF.lifetime_s / 2
"""A certificate lives a day: half of it is left to notice that nobody renews, and to be cut off meanwhile."""


@dataclass(slots=True)
class Credentials:
    """Work items are ``<host>/<instance>``."""

    signer: Signer
    users: StoreUsers
    component: str = "credentials"
    traits: Traits = field(default_factory=Traits)
    _known: dict[str, str] = field(default_factory=dict)

    @property
    def watches(self) -> Sequence[str]:
        """Orders, requests, owners and its own certificates."""
        return tuple(
            family.prefix() for family in (DESIRED, SIGNING_REQUESTS, CERTIFICATES, CONFIG_OWNERS)
        )

    def items_for(self, key: str) -> Iterable[str]:
        """The instance on its host; an owner's change reaches it through its order."""
        for family in (DESIRED, SIGNING_REQUESTS, CERTIFICATES):
            values = family.parse(key)
            if values is not None:
                yield f"{values['host']}/{values['instance']}"
                return
        values = CONFIG_OWNERS.parse(key)
        if values is not None:
            yield f"*/{values['instance']}"

    async def reconcile(self, item: str, context: Context) -> float | None:
        """Give or take one instance's credentials."""
        host, _, instance = item.partition("/")
        if host == "*":
            hosts = [
                known.variables["host"]
                for known in context.state.items(DESIRED)
                if known.variables["instance"] == instance
            ]
        else:
            hosts = [host]
        for name in hosts:
            await self._settle(name, instance, context)
        return None

    async def _settle(self, host: str, instance: str, context: Context) -> None:
        key = CERTIFICATES.key(host=host, instance=instance)
        request = context.state.get(SIGNING_REQUESTS, host=host, instance=instance)
        if context.state.get(DESIRED, host=host, instance=instance) is None:
            if request is not None:
                await self._check_unordered(host, instance, context)
            if not self._ordered_elsewhere(instance, context):
                await self.users.remove(f"instance.{instance}")
                await afailpoint("credentials.user_removed")
                self._known.pop(instance, None)
                # Its own keys go with it, and only now: without its user it cannot write them again.
                for family in (APPLIED, STATE, VNF_STATS):
                    await context.writer.delete(family.key(instance=instance))
                await afailpoint("credentials.words_removed")
            await context.writer.delete(key)
            return
        if request is None:
            return
        await self._user(instance, context)
        await afailpoint("credentials.user_made")
        known = context.state.envelope(key, InstanceCertificate)
        if known is not None and getattr(known.body, "csr_pem", None) == request.csr_pem:
            age_s = context.now() - known.as_of
            if -SKEW_S <= age_s < RENEW_AFTER_S:  # one from further ahead is not valid yet
                return
        signed = self.signer.sign(request.csr_pem, f"instance.{instance}")
        await context.writer.put(
            key,
            InstanceCertificate(
                instance=instance,
                certificate_pem=signed.certificate_pem,
                ca_pem=signed.ca_pem,
                csr_pem=request.csr_pem,
            ),
        )
        await afailpoint("credentials.certificate_written")

    @staticmethod
    async def _check_unordered(host: str, instance: str, context: Context) -> None:
        """A request may be heard of before the order that it answers: each prefix has a watch of its own. Who takes
        that for the end of the instance deletes what it has just said (found by simulation, docs/bugs-found.md)."""
        writer = context.writer
        key = DESIRED.key(host=host, instance=instance)
        if await writer.store.get(key, timeout_s=writer.timeout_s) is not None:
            raise Later("its order is on its way", after_s=1.0)

    async def _user(self, instance: str, context: Context) -> None:
        owner = context.state.get(CONFIG_OWNERS, instance=instance)
        name = owner.owner if owner is not None else "configurator"
        if self._known.get(instance) == name:
            return
        await self.users.ensure(instance_role(instance, owner=name))
        self._known[instance] = name

    @staticmethod
    def _ordered_elsewhere(instance: str, context: Context) -> bool:
        return any(k.variables["instance"] == instance for k in context.state.items(DESIRED))
