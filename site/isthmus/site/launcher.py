"""The launcher of one host: makes the instances the placer ordered, through ComputePort alone (R4, R14).

A restart adopts what runs. An instance whose sandbox vanished is reported ``lost`` and not rebuilt by itself:
the healer decides, and a new life has a new incarnation, so no packet passes before its configuration is applied.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from isthmus.contract.families import CERTIFICATES, DESIRED, RUNTIME, SIGNING_REQUESTS
from isthmus.contract.instance import InstanceDesired, InstanceRuntime, SigningRequest
from isthmus.failpoint import afailpoint
from isthmus.infrastructure.errors import InfrastructureError
from isthmus.infrastructure.ports import ComputePort, Form, InstanceSpec, InstanceState, Resources
from isthmus.microcontroller import Context, Listener, Traits
from isthmus.site.ports import InstanceFolder, Shares

SWEEP = "*sweep"
"""Look for sandboxes and folders that nobody ordered."""


@dataclass(slots=True)
class Launcher:
    """One per host; its writes are bound to the host's name by its store user."""

    host: str
    compute: ComputePort
    shares: Shares
    mtu: int = 1450
    traits: Traits = field(default_factory=lambda: Traits(workers=4, leader=True))
    standing_items: tuple[str, ...] = (SWEEP,)

    @property
    def component(self) -> str:
        """``launcher.<host>``."""
        return f"launcher.{self.host}"

    @property
    def watches(self) -> Sequence[str]:
        """Only this host's keys."""
        families = (DESIRED, CERTIFICATES, RUNTIME, SIGNING_REQUESTS)
        return tuple(family.prefix(host=self.host) for family in families)

    def items_for(self, key: str) -> Iterable[str]:
        """The instance a key is about."""
        for family in (DESIRED, CERTIFICATES, RUNTIME, SIGNING_REQUESTS):
            values = family.parse(key)
            if values is not None:
                yield values["instance"]
                return

    async def listen(self, add: Listener) -> None:
        """Turn the infrastructure's changes into items."""
        async for change in self.compute.watch():
            add(change.subject or SWEEP)

    async def reconcile(self, item: str, context: Context) -> float | None:
        """Settle one instance, or sweep."""
        if item == SWEEP:
            await self._sweep(context)
            return None
        desired = context.state.get(DESIRED, host=self.host, instance=item)
        if desired is None:
            await self._remove(item, context)
            return None
        runtime = context.state.get(RUNTIME, host=self.host, instance=item)
        if runtime is not None and runtime.incarnation >= desired.incarnation:
            return await self._keep(desired, runtime, context)
        return await self._launch(desired, context)

    async def _keep(
        self, desired: InstanceDesired, runtime: InstanceRuntime, context: Context
    ) -> float | None:
        """This life was launched before: adopt it, or say that it is lost."""
        if runtime.phase in ("lost", "failed"):
            return None
        state = await self._observed(desired.instance)
        if state is None or state.phase != "running" or state.incarnation != runtime.incarnation:
            reason = state.reason if state is not None else "its sandbox is gone"
            await self._write(
                context, runtime.model_copy(update={"phase": "lost", "error": reason})
            )
            await afailpoint("launcher.lost_written")
            # Legs first: nothing passes a sandbox that nobody watches over any more.
            await self.compute.remove_instance(desired.instance)
            await afailpoint("launcher.lost_removed")
            self.shares.withdraw(desired.instance)
            await context.event("instance-lost", desired.instance, reason, "error")
            return None
        return await self._publish(desired, runtime, context)

    async def _launch(self, desired: InstanceDesired, context: Context) -> float | None:
        instance = desired.instance
        await context.writer.put(
            SIGNING_REQUESTS.key(host=self.host, instance=instance),
            SigningRequest(instance=instance, csr_pem=self.shares.signing_request(instance)),
        )
        await afailpoint("launcher.request_written")
        try:
            state = await self.compute.ensure_instance(self._spec(desired))
        except InfrastructureError as error:
            if error.retryable:
                raise
            await self._write(
                context,
                InstanceRuntime(
                    instance=instance,
                    incarnation=desired.incarnation,
                    phase="failed",
                    error=str(error),
                ),
            )
            return None
        await afailpoint("launcher.port_made")
        runtime = _runtime(state)
        # Before the folder: what the VNF says of this sandbox is then always newer than this key's creation.
        await self._write(context, runtime)
        await afailpoint("launcher.runtime_written")
        return await self._publish(desired, runtime, context)

    async def _publish(
        self, desired: InstanceDesired, runtime: InstanceRuntime, context: Context
    ) -> float | None:
        """Mount the folder once the certificate is there; its arrival is an event, the wait only a net."""
        certificate = context.state.get(CERTIFICATES, host=self.host, instance=desired.instance)
        if certificate is None:
            return 2.0
        self.shares.publish(
            desired.instance,
            InstanceFolder(
                runtime=runtime,
                type=desired.function.type,
                version=desired.function.version,
                form=desired.form,
                certificate_pem=certificate.certificate_pem,
                ca_pem=certificate.ca_pem,
            ),
        )
        await afailpoint("launcher.folder_published")
        return None

    async def _remove(self, instance: str, context: Context) -> None:
        self.shares.withdraw(instance)
        await afailpoint("launcher.folder_withdrawn")
        await self.compute.remove_instance(instance)
        await afailpoint("launcher.port_removed")
        self.shares.forget(instance)
        await context.writer.delete(RUNTIME.key(host=self.host, instance=instance))
        await afailpoint("launcher.runtime_deleted")
        await context.writer.delete(SIGNING_REQUESTS.key(host=self.host, instance=instance))

    async def _sweep(self, context: Context) -> None:
        """What the kernel has and nobody ordered goes; what was ordered and has gone is looked at."""
        there = {s.instance_id for s in await self.compute.list_instances() if s.node == self.host}
        there |= self.shares.published()
        ordered = {k.variables["instance"] for k in context.state.items(DESIRED, host=self.host)}
        for instance in sorted(there - ordered):
            await self._remove(instance, context)
        for instance in sorted(ordered):
            runtime = context.state.get(RUNTIME, host=self.host, instance=instance)
            desired = context.state.get(DESIRED, host=self.host, instance=instance)
            if desired is None:
                continue  # withdrawn while the kernel was asked
            if runtime is not None and runtime.incarnation >= desired.incarnation:
                await self._keep(desired, runtime, context)

    async def _observed(self, instance: str) -> InstanceState | None:
        for state in await self.compute.list_instances():
            if state.instance_id == instance and state.node == self.host:
                return state
        return None

    async def _write(self, context: Context, runtime: InstanceRuntime) -> None:
        await context.writer.put(RUNTIME.key(host=self.host, instance=runtime.instance), runtime)

    def _spec(self, desired: InstanceDesired) -> InstanceSpec:
        needs = desired.function.resources
        form: Form = "process" if desired.form == "process" else "kernel"
        return InstanceSpec(
            instance_id=desired.instance,
            incarnation=desired.incarnation,
            node=self.host,
            form=form,
            resources=Resources(needs.cpu_milli, needs.memory_mib),
            share_dir=self.shares.path(desired.instance),
            mtu=self.mtu,
        )


def _runtime(state: InstanceState) -> InstanceRuntime:
    return InstanceRuntime(
        instance=state.instance_id,
        incarnation=state.incarnation,
        phase=state.phase,
        netns=state.netns,
        legs=dict(state.legs),
        error=state.reason,
    )
