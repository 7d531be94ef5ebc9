"""Mirrors of servers that die, forget and come back older: never blank, never a ghost (G5, G6; attack 16)."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest
from tests.integration.kv.faults import SERVES_AGAIN_S, following, lost, restarted
from tests.integration.kv.server import EtcdServer, serves
from tests.support import eventually

from isthmus.deploy.binaries import find
from isthmus.kv import Delete, Put
from isthmus.kv.errors import (
    FutureRevision,
)
from isthmus.kv.writes import write_batches


async def test_mirror_never_blanks_over_kills(own_etcd: EtcdServer) -> None:
    """Consumers must not see keys vanish because a server did (G6: no transient delete-all)."""
    async with own_etcd.store() as store:
        await write_batches(store, [Put(f"a/{number}", b"1") for number in range(300)])
        async with following(store, "a/") as mirror:
            least = len(mirror.entries)
            changed: list[str] = []

            def note(keys: object) -> None:
                nonlocal least
                changed.extend(keys)  # type: ignore[arg-type]
                least = min(least, len(mirror.entries))

            mirror.subscribe(note)
            for number in range(3):
                await restarted(own_etcd)
                await store.put(f"a/{number}", b"2", timeout_s=SERVES_AGAIN_S)
                await store.put("a/extra", b"%d" % number)

                def arrived(value: bytes = b"%d" % number) -> bool:
                    entry = mirror.entries.get("a/extra")
                    return entry is not None and entry.value == value

                await eventually(arrived, "the write after the kill is mirrored")
            assert least == 300
            assert set(changed) == {"a/0", "a/1", "a/2", "a/extra"}
            assert mirror.counters.snapshots == 1


async def test_mirror_survives_compaction_while_cut(own_etcd: EtcdServer) -> None:
    """History went while it was away: it takes a snapshot, and reports what differs, deletions too."""
    async with own_etcd.store() as store, own_etcd.store() as writer:
        await write_batches(writer, [Put(f"a/{number}", b"1") for number in range(50)])
        async with following(store, "a/") as mirror:
            changed: list[str] = []
            mirror.subscribe(changed.extend)
            await own_etcd.freeze()
            await eventually(lambda: lost(store), "the stop is noticed")
            own_etcd.kill()
            elsewhere = EtcdServer(own_etcd.data)  # the same data under another port
            await elsewhere.start()
            async with elsewhere.store() as other:
                await serves(other)
                await write_batches(other, [Put("a/1", b"2"), Delete("a/2"), Put("a/new", b"")])
                await other.compact((await other.status()).revision)
            elsewhere.kill()
            await own_etcd.start()
            await eventually(lambda: "a/new" in mirror.entries, "the mirror is right again")
            await eventually(lambda: "a/2" not in mirror.entries, "the deleted key is swept")
            assert set(changed) == {"a/1", "a/2", "a/new"}
            expected = (await store.snapshot("a/")).entries
            assert dict(mirror.entries) == {entry.key: entry for entry in expected}


async def backup_of(server: EtcdServer, path: Path) -> Path:
    """``etcdctl snapshot save``."""
    program = (await find("etcdctl")).path
    process = await asyncio.create_subprocess_exec(
        str(program),
        f"--endpoints={server.endpoint}",
        "snapshot",
        "save",
        str(path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert await process.wait() == 0
    return path


async def restored(server: EtcdServer, backup: Path, data: Path, *more: str) -> None:
    """The same member from a backup: same name, token and URLs, so that the ids are the same."""
    server.kill()
    program = (await find("etcdutl")).path
    process = await asyncio.create_subprocess_exec(
        str(program),
        "snapshot",
        "restore",
        str(backup),
        f"--name={server.name}",
        f"--initial-cluster={server.name}={server.peer_url}",
        f"--initial-cluster-token={server.token}",
        f"--initial-advertise-peer-urls={server.peer_url}",
        f"--data-dir={data}",
        *more,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert await process.wait() == 0
    server.data = data
    await server.start()


async def test_watch_says_when_the_store_went_back(own_etcd: EtcdServer, tmp_path: Path) -> None:
    """Attack 15: restored from a backup, the store is behind us; etcd would be silent until it has
    caught up with our revision by other writes."""
    async with own_etcd.store() as store:
        await store.put("a/1", b"")
        backup = await backup_of(own_etcd, tmp_path / "backup")
        watch = store.watch("a/")
        await anext(watch)
        for number in range(20):
            await store.put(f"a/{number}", b"")
        seen = 0
        while seen < 20:
            seen += len((await anext(watch)).events)
        waiting = asyncio.ensure_future(anext(watch))
        await restored(own_etcd, backup, tmp_path / "restored")
        with pytest.raises(FutureRevision, match="backup"):
            await asyncio.wait_for(waiting, SERVES_AGAIN_S)


@pytest.mark.parametrize("writes_after", [0, 3, 60], ids=["behind", "just behind", "ahead"])
async def test_mirror_follows_a_restored_store(
    own_etcd: EtcdServer, tmp_path: Path, writes_after: int
) -> None:
    """By hand, without a bump of revisions: same ids, other history. The mirror ends with exactly the
    store's set (0 missing, 0 ghosts), also when the new history has run past its revision."""
    async with own_etcd.store() as store, own_etcd.store() as writer:
        await write_batches(writer, [Put(f"a/{number}", b"1") for number in range(5)])
        backup = await backup_of(own_etcd, tmp_path / "backup")
        async with following(store, "a/") as mirror:
            for number in range(20):
                revision = await writer.put(f"a/lost{number}", b"")
            await mirror.wait_revision(revision, 5)
            await own_etcd.freeze()
            await eventually(lambda: lost(store), "the stop is noticed")
            own_etcd.kill()
            elsewhere = EtcdServer(
                tmp_path / "elsewhere", peer_port=own_etcd.peer_port, token=own_etcd.token
            )
            await restored(elsewhere, backup, tmp_path / "restored")
            async with elsewhere.store() as other:
                await serves(other)
                for number in range(writes_after):
                    await other.put(f"a/new{number}", b"")
            elsewhere.kill()
            own_etcd.data = elsewhere.data
            await own_etcd.start()

            def right() -> bool:
                return set(mirror.entries) == {f"a/{number}" for number in range(5)} | {
                    f"a/new{number}" for number in range(writes_after)
                }

            await eventually(right, "the mirror holds exactly the restored set")


async def test_restore_with_bump_reads_as_compacted(own_etcd: EtcdServer, tmp_path: Path) -> None:
    """What ``isthmus backup restore`` does: no client can resume by accident."""
    async with own_etcd.store() as store:
        await store.put("a/1", b"1")
        backup = await backup_of(own_etcd, tmp_path / "backup")
        async with following(store, "a/") as mirror:
            await mirror.wait_revision(await store.put("a/lost", b""), 5)
            await restored(
                own_etcd,
                backup,
                tmp_path / "restored",
                "--bump-revision=1000000",
                "--mark-compacted",
            )
            await eventually(lambda: set(mirror.entries) == {"a/1"}, "the mirror is right")
            assert mirror.revision > 1_000_000
