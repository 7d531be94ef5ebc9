"""The hands: each kind of fault on real processes, begun and ended, and told to the history.

Whatever is begun is ended by :meth:`Hands.end` or by :meth:`Hands.put_right`, which may be called twice.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from isthmus.chaos.history import Recorder
from isthmus.chaos.proving.schedule import CALM, GLOBAL, REVOKED, SITES, Fault
from isthmus.chaos.toxics import BOTH, Stream, Toxics
from isthmus.contract import unseal
from isthmus.contract.families import RUNTIME
from isthmus.contract.ids import instance_id
from isthmus.contract.instance import InstanceRuntime
from isthmus.deploy.binaries import find
from isthmus.deploy.lab.engine import Lab
from isthmus.deploy.lab.trust import ADMIN
from isthmus.deploy.lab.wan import link_name
from isthmus.identity import Identity
from isthmus.kv.etcd import EtcdStore
from isthmus.trust import revocation
from isthmus.vswitch import Node

READY_S = 60.0
CHAOS = "chaos"
UP: tuple[Stream, ...] = ("upstream",)
DOWN: tuple[Stream, ...] = ("downstream",)
TOXICS: dict[str, tuple[str, dict[str, int], tuple[Stream, ...]]] = {
    "silent": ("bandwidth", {"rate": 0}, BOTH),
    "silent-up": ("bandwidth", {"rate": 0}, UP),
    "silent-down": ("bandwidth", {"rate": 0}, DOWN),
    "lossy": ("timeout", {"timeout": 0}, BOTH),
    "reset": ("reset_peer", {"timeout": 0}, DOWN),
    "late": ("latency", {"latency": 300, "jitter": 0}, BOTH),
    "jittery": ("latency", {"latency": 300, "jitter": 290}, BOTH),
    "throttled": ("bandwidth", {"rate": 20}, BOTH),
    "sliced": ("slicer", {"average_size": 64, "size_variation": 32, "delay": 10}, BOTH),
    "slow-close": ("slow_close", {"delay": 1500}, BOTH),
    "stalls": ("timeout", {"timeout": 1500}, BOTH),
    "forgotten": ("bandwidth", {"rate": 0}, BOTH),
}
CUTS = frozenset(
    {"silent", "silent-up", "silent-down", "lossy", "reset", "stalls", "forgotten", REVOKED}
)
"""Kinds after which a link has something to make up for."""


@dataclass(slots=True)
class Hands:
    """``restoring`` is told which store went back and to which revision."""

    lab: Lab
    toxics: Toxics
    recorder: Recorder
    stores: dict[str, EtcdStore]
    restoring: Callable[[str, int], None]
    backlog: Callable[[str], int]
    active: list[Fault] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    _backups: dict[str, int] = field(default_factory=dict)
    _burst: set[str] = field(default_factory=set)
    _calm: bool = False
    _told: dict[str, int] = field(default_factory=dict)

    async def begin(self, fault: Fault) -> None:
        """Do it."""
        self.active.append(fault)
        self.counts[fault.kind] = self.counts.get(fault.kind, 0) + 1
        self._tell(fault, "begin")
        if fault.kind in TOXICS:
            kind, attributes, streams = TOXICS[fault.kind]
            if fault.detail:
                attributes = {**attributes, next(iter(attributes)): int(fault.detail)}
            await self.toxics.add(link_name(fault.target), fault.kind, kind, attributes, streams)
        elif fault.kind == "frozen":
            self.lab.supervisor.pause(fault.target)
        elif fault.kind == "killed":
            self._kill(fault)
        elif fault.kind == "failpoint":
            self.lab.failpoints(fault.target).write_text(f"{fault.detail}=1*kill\n")
        elif fault.kind == "compacted":
            tier = fault.target.partition(".")[0]
            store = self.stores[tier]
            revision = (await store.status(timeout_s=10)).revision
            await store.compact(revision, timeout_s=10)
        elif fault.kind == "restored":
            await self._save(fault.target)
        elif fault.kind == "lost":
            await self._lose("web", "fw")
        elif fault.kind == REVOKED:
            self._revoke(fault.target)

    def _revoke(self, site: str) -> None:
        """As an operator's tool leaves the list; from here on it is locally known."""
        path = self.lab.files.revocations(GLOBAL)
        listed = revocation.load(path) if path.exists() else revocation.NONE_REVOKED
        identity = Identity.parse(str(self.lab.trust.identity(site, "federation")))
        revocation.save(path, revocation.revoke(listed, time.time(), identities=[identity]))
        self.recorder.note(CHAOS, "policy", {"peer": site, "phase": "revoked"})

    async def _forgive(self, site: str) -> None:
        """The list names nobody any more. Who was refused dials seldom: its operator starts its link anew."""
        path = self.lab.files.revocations(GLOBAL)
        version = revocation.load(path).version + 1
        revocation.save(path, revocation.RevocationList(version, time.time()))
        self.recorder.note(CHAOS, "policy", {"peer": site, "phase": "admitted"})
        link = f"{site}.link"
        self._told[link] = self._last_word(link)
        self.lab.supervisor.kill(link, signal.SIGKILL)
        await self.lab.supervisor.wait_ready(link, READY_S)
        await self._speaks(link)

    def _kill(self, fault: Fault) -> None:
        self._told[fault.target] = self._last_word(fault.target)
        self._burst.update(fault.links)
        self._calm = fault.detail == CALM
        if not self.lab.supervisor.kill(fault.target, signal.SIGKILL):
            self.counts["killed"] -= 1
            self.counts["killed while dead"] = self.counts.get("killed while dead", 0) + 1

    async def end(self, fault: Fault) -> None:
        """Take it off again, and say from when on a link could work."""
        if fault not in self.active:
            return
        if fault.kind in TOXICS:
            await self.toxics.heal(link_name(fault.target))
        elif fault.kind == "frozen":
            self.lab.supervisor.resume(fault.target)
        elif fault.kind == "failpoint":
            self.lab.failpoints(fault.target).unlink(missing_ok=True)
        elif fault.kind == "restored":
            await self._restore(fault.target)
        elif fault.kind == REVOKED:
            await self._forgive(fault.target)
        if fault.kind not in TOXICS and "." in fault.target and fault.kind != "lost":
            await self.lab.supervisor.wait_ready(fault.target, READY_S)
            await self._speaks(fault.target)
        self.active.remove(fault)
        self._tell(fault, "end")
        self._healed(fault)

    async def _speaks(self, process: str) -> None:
        """An end of a link runs when it tells of its links: a program that is still being loaded could not work."""
        dead = self._told.pop(process, None)
        if process.rpartition(".")[2] not in ("link", "gateway") or dead is None:
            return
        async with asyncio.timeout(READY_S):
            while self._last_word(process) == dead:  # noqa: ASYNC110 (a file of another process)
                await asyncio.sleep(0.05)

    def _last_word(self, process: str) -> int:
        """When an end of a link told of it last; the file's own clock, only compared with itself."""
        path = self.lab.files.path(process.partition(".")[0], "links.json")
        return path.stat().st_mtime_ns if path.exists() else 0

    async def put_right(self) -> None:
        """End everything that is under way."""
        for fault in list(self.active):
            await self.end(fault)
        for site in SITES:
            await self.toxics.heal(link_name(site))
        for status in self.lab.supervisor.status():
            if status.state == "paused":
                self.lab.supervisor.resume(status.name)
            elif status.state in ("stopped", "ended"):
                await self.lab.supervisor.restart(status.name)
            await self.lab.supervisor.wait_ready(status.name, READY_S)

    def cut(self, site: str) -> bool:
        """Is a site's link cut just now?"""
        return any(one.kind in CUTS and one.target == site for one in self.active)

    def hit(self, site: str) -> bool:
        """Is one of its processes or its store disturbed just now?"""
        return any(one.target.startswith(f"{site}.") for one in self.active)

    def _tell(self, fault: Fault, phase: str) -> None:
        self.recorder.fault(
            CHAOS,
            kind=fault.kind,
            target=fault.target,
            phase="begin" if phase == "begin" else "end",
            detail=fault.detail or None,
        )

    def _healed(self, fault: Fault) -> None:
        """Only cut links and frozen ends have a moment from which on they could work; who was killed comes back by
        itself, and its link with it. Of a burst of deaths it is when the last one is back."""
        if fault.kind == "killed":
            if self.active or not self._calm:
                return
            sites: tuple[str, ...] = tuple(sorted(self._burst))
            self._burst.clear()
        elif fault.kind in CUTS:
            sites = (fault.target,)
        elif fault.kind == "frozen" and fault.target.endswith(".link"):
            sites = (fault.target.partition(".")[0],)
        elif fault.kind == "frozen" and fault.target == "global.gateway":
            sites = SITES
        else:
            return
        for site in sites:
            for link in (f"{site}>{GLOBAL}", f"{GLOBAL}>{site}"):
                self.recorder.heal(CHAOS, link=link, backlog=self.backlog(link))

    # -- snapshots

    async def _save(self, process: str) -> None:
        tier = process.partition(".")[0]
        self._backups[tier] = (await self.stores[tier].status(timeout_s=10)).revision
        folder = self.lab.trust.folder(tier, ADMIN)
        backup = self.lab.base / tier / "backup.db"
        backup.unlink(missing_ok=True)
        await Node(tier).run(
            str((await find("etcdctl")).path), "--endpoints=https://localhost:2379",
            f"--cacert={folder / 'ca.pem'}", f"--cert={folder / 'cert.pem'}",
            f"--key={folder / 'key.pem'}", "snapshot", "save", str(backup), timeout_s=60.0,
        )  # fmt: skip

    async def _restore(self, process: str) -> None:
        """By hand, as an operator in a hurry does it: nothing bumped, nothing marked."""
        tier = process.partition(".")[0]
        data = self.lab.base / tier / "etcd"
        await self.lab.supervisor.stop(process, 0)
        shutil.rmtree(data)
        url = "unix://peer.sock"
        await Node(tier).run(
            str((await find("etcdutl")).path), "snapshot", "restore",
            str(self.lab.base / tier / "backup.db"), f"--data-dir={data}", f"--name={tier}",
            f"--initial-cluster={tier}={url}", f"--initial-advertise-peer-urls={url}",
            timeout_s=60.0,
        )  # fmt: skip
        data.chmod(0o700)
        self.restoring(tier, self._backups[tier])
        await self.lab.supervisor.restart(process)

    async def _lose(self, chain: str, function: str) -> None:
        """What a hand does to a sandbox: its namespace is deleted, wherever it is."""
        instance = instance_id("acme", chain, function)
        for site in SITES:
            snapshot = await self.stores[site].snapshot(RUNTIME.prefix(), timeout_s=10)
            for entry in snapshot.entries:
                if entry.key.endswith(f"/{instance}"):
                    netns = unseal(entry.value, InstanceRuntime).body.netns
                    await Node(None).run("ip", "netns", "del", netns, timeout_s=20.0)
                    return
        raise RuntimeError(f"no instance {instance} runs anywhere: it cannot be lost")
