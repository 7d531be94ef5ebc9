"""Several etcd members as one store: started together, and one of them replaced (DESIGN section 5).

Three members survive the loss of one. A member that is gone for good is first removed by those that live, then another
is added with an empty disk: never the other way round, for four members of which two are missing have no majority
(etcd refuses it, too).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from isthmus.deploy.binaries import find
from isthmus.deploy.etcd_process import (
    READY_TIMEOUT_S,
    EtcdMember,
    EtcdPeers,
    EtcdTls,
    etcd_spec,
    free_port,
)
from isthmus.deploy.supervisor import Supervisor
from isthmus.kv.admin import EtcdAdmin
from isthmus.kv.errors import StoreError
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.settings import EtcdSettings

REPLACE_TIMEOUT_S = 30.0
_ASK_S = 2.0
_PAUSE_S = 0.1
_Step = Callable[[EtcdAdmin], Awaitable[bool]]


def members_of(
    folder: Path,
    names: Sequence[str],
    *,
    token: str = "isthmus",
    tls: EtcdTls | None = None,
    peer_tls: EtcdTls | None = None,
    extra: tuple[str, ...] = (),
    unsafe_no_fsync: bool = False,
) -> tuple[EtcdMember, ...]:
    """Members of one cluster on this machine's loopback, each on ports that are free now."""
    scheme = "http" if peer_tls is None else "https"
    ports = {name: (free_port(), free_port()) for name in names}
    cluster = {name: f"{scheme}://127.0.0.1:{peer}" for name, (_, peer) in ports.items()}
    return tuple(
        EtcdMember(
            data_dir=folder / name,
            client_port=client,
            name=name,
            tls=tls,
            peers=EtcdPeers(port=peer, cluster=cluster, token=token, tls=peer_tls),
            extra=extra,
            unsafe_no_fsync=unsafe_no_fsync,
        )
        for name, (client, peer) in ports.items()
    )


@dataclass(slots=True)
class EtcdCluster:
    """Members that run. ``settings``: how an administrator reaches them (its endpoints are replaced here)."""

    members: list[EtcdMember]
    supervisor: Supervisor
    binary: Path
    admin_settings: EtcdSettings | None = None
    _replaced: int = field(default=0)

    @property
    def settings(self) -> EtcdSettings:
        """For clients: all members."""
        endpoints = tuple(member.endpoint for member in self.members)
        if self.admin_settings is None:
            return EtcdSettings(endpoints=endpoints)
        return self.admin_settings.model_copy(update={"endpoints": endpoints})

    async def start(self) -> None:
        """Start all, then wait: none is ready before a majority is."""
        for member in self.members:
            self.supervisor.start(etcd_spec(member, self.binary))
        for member in self.members:
            await self.supervisor.wait_ready(process(member), READY_TIMEOUT_S)

    async def stop(self) -> None:
        """End all."""
        await asyncio.gather(*(self.supervisor.stop(process(member)) for member in self.members))

    async def leader(self) -> EtcdMember:
        """Who leads, by asking each member alone; waits while there is none."""
        async with asyncio.timeout(REPLACE_TIMEOUT_S):
            while True:
                for member in self.members:
                    if await self._leads(member):
                        return member
                await asyncio.sleep(_PAUSE_S)

    async def _leads(self, member: EtcdMember) -> bool:
        with suppress(StoreError):
            async with EtcdStore.connect(self.settings.only(member.endpoint)) as store:
                return (await EtcdAdmin(store, timeout_s=_ASK_S).member_status()).is_leader
        return False

    async def replace(self, lost: EtcdMember, data_dir: Path) -> EtcdMember:
        """Take ``lost`` out for good and let an empty member join in its place; the new one, when it serves.

        Raises TimeoutError when the rest cannot agree on it: it has no majority.
        """
        await self.supervisor.stop(process(lost))
        self.members.remove(lost)
        assert lost.peers is not None, "a member without peers cannot be replaced"
        self._replaced += 1
        name, port = f"{lost.name}-{self._replaced}", free_port()
        url = replace(lost.peers, port=port).url
        cluster = {member.name: member.peers.url for member in self.members if member.peers}
        peers = replace(lost.peers, port=port, cluster={**cluster, name: url}, joins=True)
        fresh = replace(
            lost, name=name, data_dir=data_dir, client_port=free_port(), peers=peers, log_file=None
        )
        async with asyncio.timeout(REPLACE_TIMEOUT_S):
            await self._until(lambda admin: _removed(admin, lost.name))
            await self._until(lambda admin: _added(admin, url))
        self.members.append(fresh)
        self.supervisor.start(etcd_spec(fresh, self.binary))
        await self.supervisor.wait_ready(process(fresh), READY_TIMEOUT_S)
        return fresh

    async def _until(self, step: _Step) -> None:
        """Each step may be repeated; etcd refuses a change of members for some seconds after the last one."""
        async with EtcdStore.connect(self.settings) as store:
            admin = EtcdAdmin(store, timeout_s=_ASK_S)
            while True:
                with suppress(StoreError):
                    if await step(admin):
                        return
                await asyncio.sleep(_PAUSE_S)


async def _removed(admin: EtcdAdmin, name: str) -> bool:
    for member in await admin.members():
        if member.name == name:
            await admin.remove_member(member.member_id)
            return False
    return True


async def _added(admin: EtcdAdmin, url: str) -> bool:
    if any(url in member.peer_urls for member in await admin.members()):
        return True
    await admin.add_member([url])
    return False


def process(member: EtcdMember) -> str:
    """The member's name with the supervisor."""
    return f"etcd.{member.name}"


@asynccontextmanager
async def run_cluster(
    members: Sequence[EtcdMember],
    *,
    supervisor: Supervisor | None = None,
    settings: EtcdSettings | None = None,
) -> AsyncIterator[EtcdCluster]:
    """Run ``members`` while the block runs. Through ``supervisor`` a test kills, freezes or restarts one."""
    binary = await find("etcd")
    cluster = EtcdCluster(list(members), supervisor or Supervisor(), binary.path, settings)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.stop()
