"""What is seen of the stores, by the admin's key: each mirror's source and the mirror itself, digests, what links owe.

A mirror is watched at both ends, change by change; both are written down as they come. A watch that stands again after
its store came back goes on where it stopped; one whose history is gone begins from nothing, and says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from isthmus.chaos.demo.stage import Late, eventually
from isthmus.chaos.history import Recorder
from isthmus.chaos.proving.schedule import GLOBAL, SITES
from isthmus.contract.scopes import ExportRoot, import_root, site_exports, tier_exports
from isthmus.deploy.lab.engine import Lab
from isthmus.federation.digest import META
from isthmus.federation.limits import LinkLimits
from isthmus.federation.status import read_status
from isthmus.kv.errors import StoreError
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.port import KeyValueStore

EVERY_S = 0.25
MOMENT_S = 0.02
MEMORY_EVERY = 4


class Blind(Exception):
    """A watch lost a part of the history: what follows cannot be judged; says which."""


@dataclass(slots=True)
class Mirror:
    """One direction of one link, as two readers with the admin's key see its ends."""

    link: str
    source: KeyValueStore
    roots: Sequence[ExportRoot]
    target: KeyValueStore
    into: str
    recorder: Recorder
    held: dict[str, str] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
    incarnation: int = 1
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _readers: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self) -> None:
        """Both ends."""
        for root in self.roots:
            self._tasks.append(await self._hold(root))
        self._readers.append(await self._read())

    def source_restored(self, revision: int) -> None:
        """The source goes back to a snapshot; its watches begin behind it."""
        self.incarnation += 1
        self.recorder.held(
            f"store.{self.link}", store=self.link, verb="restore", rev=revision, inc=self._inc
        )
        for task in self._tasks:
            task.cancel()
        self._tasks = [
            asyncio.create_task(self._follow_source(root, revision, again=True))
            for root in self.roots
        ]

    def target_restored(self) -> None:
        """The reader's own store goes back: he begins from nothing."""
        for task in self._readers:
            task.cancel()
        self._readers = [asyncio.create_task(self._begin_again())]

    def shut(self) -> list[asyncio.Task[None]]:
        """No more is seen from this moment on; the tasks that have yet to end."""
        tasks = [*self._tasks, *self._readers]
        for task in tasks:
            task.cancel()
        return tasks

    def check(self) -> None:
        """Raises Blind when a watch has ended."""
        for task in (*self._tasks, *self._readers):
            if task.done() and not task.cancelled() and task.exception() is not None:
                raise Blind(f"{self.link}: {task.exception()!r}")

    def digest(self) -> None:
        """Both ends, as they are known now."""
        self.recorder.digest(
            "eyes", link=self.link, source=_sum(self.held), target=_sum(self.shown),
            keys=len(self.held),
        )  # fmt: skip

    @property
    def watching(self) -> bool:
        """Until both ends are shut."""
        return not all(task.done() for task in (*self._tasks, *self._readers))

    @property
    def equal(self) -> bool:
        """As far as is known now."""
        return self.held == self.shown

    @property
    def backlog(self) -> int:
        """Keys that differ."""
        return len(set(self.held.items()) ^ set(self.shown.items()))

    @property
    def _inc(self) -> str:
        return f"{self.link}#{self.incarnation}"

    # -- the source

    async def _hold(self, root: ExportRoot) -> asyncio.Task[None]:
        prefix = root.source
        if prefix.endswith("/"):
            snapshot = await self.source.snapshot(prefix, timeout_s=30)
            entries, revision = snapshot.entries, snapshot.revision
        else:
            revision = (await self.source.status(timeout_s=10)).revision
            one = await self.source.get(prefix, timeout_s=10)
            entries = () if one is None else (one,)
        for entry in entries:
            self._holds(root, entry.key, entry.value, entry.mod_revision)
        return asyncio.create_task(self._follow_source(root, revision, again=False))

    async def _follow_source(self, root: ExportRoot, revision: int, *, again: bool) -> None:
        if again:
            # Exactly what the judge takes the source back to: from there on no change may be left out.
            self.held = {k: v for k, v in self.held.items() if not k.startswith(root.relative)}
            self.held.update(await self._patiently(self._at, root, revision))
        async for batch in self.source.watch(root.source, start_revision=revision + 1):
            for event in batch.events:
                value = event.entry.value if event.entry is not None else None
                self._holds(root, event.key, value, event.revision)

    async def _at(self, root: ExportRoot, revision: int) -> dict[str, str]:
        if not root.source.endswith("/"):
            entry = await self.source.get(root.source, revision=revision, timeout_s=5)
            return {} if entry is None else {root.relative: _hash(entry.value)}
        snapshot = await self.source.snapshot(root.source, revision=revision, timeout_s=10)
        cut = len(root.source)
        return {root.relative + one.key[cut:]: _hash(one.value) for one in snapshot.entries}

    @staticmethod
    async def _patiently(
        work: Callable[[ExportRoot, int], Awaitable[dict[str, str]]],
        root: ExportRoot,
        revision: int,
    ) -> dict[str, str]:
        """While the store is coming back."""
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(StoreError):
                    return await work(root, revision)
                await asyncio.sleep(0.2)

    def _holds(self, root: ExportRoot, key: str, value: bytes | None, revision: int) -> None:
        relative = root.relative + key[len(root.source) :]
        who = f"store.{self.link}"
        if value is None:
            if self.held.pop(relative, None) is None:
                return
            self.recorder.held(
                who, store=self.link, verb="delete", key=relative, rev=revision, inc=self._inc
            )
            return
        self.held[relative] = _hash(value)
        self.recorder.held(
            who, store=self.link, verb="put", key=relative, value=_hash(value), rev=revision,
            inc=self._inc,
        )  # fmt: skip

    # -- the reader

    async def _read(self) -> asyncio.Task[None]:
        snapshot = await self.target.snapshot(self.into, timeout_s=30)
        self.recorder.note(
            f"reader.{self.link}", "reader", {"store": self.link, "peer": f"reader.{self.link}"}
        )
        self.shown.clear()
        for entry in snapshot.entries:
            self._shows(entry.key, entry.value)
        return asyncio.create_task(self._follow_target(snapshot.revision))

    async def _begin_again(self) -> None:
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(StoreError):
                    following = await self._read()
                    break
                await asyncio.sleep(0.2)
        try:
            await following
        finally:
            following.cancel()

    async def _follow_target(self, revision: int) -> None:
        async for batch in self.target.watch(self.into, start_revision=revision + 1):
            for event in batch.events:
                self._shows(event.key, event.entry.value if event.entry is not None else None)

    def _shows(self, key: str, value: bytes | None) -> None:
        relative = key[len(self.into) :]
        if relative.startswith(META):
            return
        who = f"reader.{self.link}"
        if value is None:
            self.shown.pop(relative, None)
            self.recorder.shown(who, store=self.link, peer=who, verb="delete", key=relative)
            return
        self.shown[relative] = _hash(value)
        self.recorder.shown(
            who, store=self.link, peer=who, verb="put", key=relative, value=_hash(value)
        )


def _hash(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()[:12]


def _sum(known: dict[str, str]) -> str:
    return hashlib.sha256(repr(sorted(known.items())).encode()).hexdigest()[:16]


@dataclass(slots=True)
class Eyes:
    """All mirrors of a lab, and what its links say of themselves."""

    lab: Lab
    stores: dict[str, EtcdStore]
    recorder: Recorder
    slow: Callable[[str], bool] = lambda _: False
    mirrors: dict[str, Mirror] = field(default_factory=dict)
    _round: int = 0
    _frames: dict[str, int] = field(default_factory=dict)

    async def open(self) -> None:
        """Begin to watch."""
        for site in SITES:
            up, down = f"{site}>{GLOBAL}", f"{GLOBAL}>{site}"
            here, above = self.stores[site], self.stores[GLOBAL]
            self.mirrors[up] = Mirror(
                up, here, site_exports(GLOBAL), above, import_root(site), self.recorder
            )
            self.mirrors[down] = Mirror(
                down, above, tier_exports(site), here, import_root(GLOBAL), self.recorder
            )
        for mirror in self.mirrors.values():
            await mirror.start()

    async def close(self, patience_s: float = 0.0) -> None:
        """End every watch, all at one moment: the first at which nothing is under way, ``patience_s`` from now at last.

        The sites go on writing while one looks: a history that ended between a change and its arrival would be judged
        as one that lost it (G6). What does not arrive within ``patience_s`` is judged.
        """

        async def nothing_under_way() -> bool:
            return all(mirror.equal for mirror in self.mirrors.values())

        if patience_s:
            with contextlib.suppress(Late):
                await eventually(
                    nothing_under_way,
                    "all mirrors are equal",
                    timeout_s=patience_s,
                    every_s=MOMENT_S,
                )
        ending = [task for mirror in self.mirrors.values() for task in mirror.shut()]
        await asyncio.gather(*ending, return_exceptions=True)

    def restored(self, tier: str, revision: int) -> None:
        """A site's store goes back."""
        self.mirrors[f"{tier}>{GLOBAL}"].source_restored(revision)
        self.mirrors[f"{GLOBAL}>{tier}"].target_restored()

    def backlog(self, link: str) -> int:
        """Keys that have to cross."""
        return self.mirrors[link].backlog

    async def look(self) -> None:
        """Digests four times a second, memory once, until cancelled; raises Blind."""
        while True:
            self.once()
            await asyncio.sleep(EVERY_S)

    def once(self) -> None:
        """One look."""
        for mirror in self.mirrors.values():
            mirror.check()
            mirror.digest()
        self._frames_of_peers()
        self._round += 1
        if self._round % MEMORY_EVERY == 0:
            self._memory()

    def _frames_of_peers(self) -> None:
        """That frames crossed since the last look, by the gateway's own count: at most a second late (G9)."""
        with contextlib.suppress(OSError, ValueError):
            for status in read_status(self.lab.files.path(GLOBAL, "links.json")):
                count = status.frames_sent + status.frames_received
                if count > self._frames.get(status.peer, 0):
                    self.recorder.frame(
                        "link.global", peer=status.peer, direction="in", code="counted"
                    )
                self._frames[status.peer] = count

    def _memory(self) -> None:
        limits = LinkLimits()
        for tier in (GLOBAL, *SITES):
            path = self.lab.files.path(tier, "links.json")
            with contextlib.suppress(OSError, ValueError):
                for status in read_status(path):
                    site = status.peer if tier == GLOBAL else tier
                    self.recorder.memory(
                        f"link.{tier}", peer=status.peer, pending_keys=status.pending_keys,
                        pending_bytes=status.in_flight_bytes,
                        bound_bytes=limits.window_bytes + limits.frame_bytes,
                        slow=self.slow(site),
                    )  # fmt: skip
