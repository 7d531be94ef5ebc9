"""What ``isthmus mirror`` copies: every key and value that an etcd takes, every prefix, and whom it may ask for it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.chaos.mirror.kit import Duo, below, duo
from tests.integration.kv.authority import Authority
from tests.support import eventually

from isthmus.kv import methods
from isthmus.kv import wire_pb2 as wire
from isthmus.kv.etcd import EtcdStore

pytestmark = [pytest.mark.etcd, pytest.mark.slow]

STRANGE = [
    b"\x00", b"\x00\x01", b"\xff", b"\xff\xff\x00", b"/bin/\x80\x81\xfe", b"/cut/\xc3",
    "/utf8/Zürich/東京/🙂".encode(), b"/nul/a\x00b", b"/space and\ttab\n", b"no-slash", b"/", b"//",
]  # fmt: skip


async def _put(store: EtcdStore, key: bytes, value: bytes, lease: int = 0) -> None:
    """Past our own key rules."""
    await store.calls.unary(
        methods.PUT, wire.PutRequest(key=key, value=value, lease=lease),
        what="put", writes=True, timeout_s=10.0,
    )  # fmt: skip


async def _delete(store: EtcdStore, key: bytes) -> None:
    await store.calls.unary(
        methods.DELETE, wire.DeleteRangeRequest(key=key),
        what="delete", writes=True, timeout_s=10.0,
    )  # fmt: skip


async def test_everything_with_any_bytes_in_keys(tmp_path: Path) -> None:
    """An empty prefix is the whole store, from the lowest key to the highest; keys are bytes; values may be empty."""
    async with duo(tmp_path) as two:
        for key in STRANGE[::2]:
            await _put(two.at, key, b"" if key == b"\xff" else b"first:" + key)
        await _put(two.to, b"\xfe left over", b"must go")
        await two.mirror("--prefix", "")
        assert (await two.synced())[1] == len(STRANGE[::2])
        assert await two.equal()
        for key in STRANGE[1::2]:
            await _put(two.at, key, b"followed:" + key)
        await _delete(two.at, STRANGE[0])
        await _delete(two.at, STRANGE[4])
        await two.gets_equal(timeout_s=20)
        assert len(await two.held(two.b)) == len(STRANGE) - 2


@pytest.mark.parametrize(
    ("prefix", "target"), [("/app", "/copy"), ("/app/", ""), ("", "/all/"), ("/app", "/app")]
)
async def test_prefixes_with_and_without_a_slash(prefix: str, target: str, tmp_path: Path) -> None:
    """A prefix is a prefix of bytes, as ``etcdctl`` has it; what is beside the destination's is left alone."""
    async with duo(tmp_path) as two:
        for key in ("/app/1", "/app", "/apple", "/ap", "/b"):
            await two.at.put(key, key.encode())
        if target:
            await two.to.put("/beside", b"left alone")
        await two.mirror("--prefix", prefix, "--dest-prefix", target)
        await two.synced()
        assert await two.equal(prefix.encode(), target.encode())
        assert not target or b"/beside" in await two.held(two.b)
        await two.at.delete("/app/1")
        await two.at.put("/app/2", b"new")
        await two.gets_equal(prefix.encode(), target.encode(), timeout_s=20)


async def test_several_excluded(tmp_path: Path) -> None:
    """Neither copied nor removed nor followed, by their names at the source."""
    async with duo(tmp_path) as two:
        for part in ("keep", "no1", "no2"):
            await two.fill(f"/k/{part}/", range(10), b"v")
        await two.to.put("/c/no1/mine", b"stays")
        await two.mirror(
            "--prefix", "/k/", "--dest-prefix", "/c/", "--exclude", "/k/no1/", "--exclude", "/k/no2"
        )
        assert (await two.synced())[1] == 10
        await two.at.put("/k/no2/000001", b"changed")
        await two.at.put("/k/keep/last", b"changed")
        await eventually(lambda: two.to.get("/c/keep/last"), "a change arrives")
        held = below(await two.held(two.b), b"/c/")
        assert {key.partition(b"/")[0] for key in held} == {b"keep", b"no1"}
        assert held[b"no1/mine"] == b"stays"


async def test_large_values(tmp_path: Path) -> None:
    """1 MiB each, many at once, and more of them waiting than the mirror keeps in memory: those are read again."""
    async with duo(tmp_path) as two:
        for number in range(20):
            await two.at.put(f"Big{number}", b"%02d" % number + b"x" * (1 << 20))
        await two.mirror("--prefix", "Big", "--dest-prefix", "Copy")
        await two.synced()
        await two.b.freeze()
        for number in range(40):
            await two.at.put(f"Big{number}", b"%02d" % number + b"y" * (1 << 20))
        await two.at.delete("Big7")
        two.b.thaw()
        await two.gets_equal(b"Big", b"Copy", timeout_s=90)


async def test_values_as_large_as_a_store_takes_them(tmp_path: Path) -> None:
    """etcd takes requests of 1.5 MiB: what fitted into one put must fit through the mirror."""
    async with duo(tmp_path) as two:
        await two.mirror("--prefix", "/k/", "--dest-prefix", "/copy-of-k/")
        await two.synced()
        await _put(two.at, b"/k/largest", b"z" * (1536 * 1024 - 400))
        await _put(two.at, b"/k/small", b"behind it")
        await two.gets_equal(b"/k/", b"/copy-of-k/", timeout_s=30)


async def test_keys_of_leases(tmp_path: Path) -> None:
    """They are copied without their lease, and go when the source's lease ends."""
    async with duo(tmp_path) as two:
        lease = await two.at.grant_lease(60)
        for number in range(20):
            await two.at.put(f"/k/{number}", b"leased", lease_id=lease.lease_id)
        await two.mirror("--prefix", "/k/")
        assert (await two.synced())[1] == 20
        held = await two.to.get("/k/1")
        assert held is not None
        assert held.lease_id == 0
        await lease.revoke()
        await two.gets_equal(b"/k/", timeout_s=20)
        assert not await two.held(two.b)


async def test_a_hundred_thousand_keys(tmp_path: Path) -> None:
    """With changes all the while: equal, and the line tells the number."""
    async with duo(tmp_path) as two:
        await two.fill("/k/", range(100_000), b"v" * 100)
        await two.mirror("--prefix", "/k/")
        changing = asyncio.create_task(two.fill("/k/", range(90_000, 100_000), b"changed"))
        assert (await two.synced())[1] == 100_000
        await changing
        await two.drop("/k/", range(1000))
        await two.gets_equal(b"/k/")


async def _secured(folder: Path) -> tuple[Duo, tuple[Path, Path, Path]]:
    authority = Authority(folder / "authority")
    certificate, key = authority.issue("server")
    two = Duo(folder, tls=(authority.file, certificate, key))
    two.client = (authority.file, *authority.issue("root"))
    await two.start()
    return two, (authority.file, *authority.issue("copier"))


def _tls(files: tuple[Path, Path, Path], side: str) -> list[str]:
    names = ("cacert", "cert", "key")
    return [word for n, f in zip(names, files, strict=True) for word in (f"--{side}-{n}", str(f))]


@pytest.mark.parametrize("auth", [False, True], ids=["tls", "tls-and-users"])
async def test_mutual_tls(auth: bool, tmp_path: Path) -> None:
    """Certificates on both sides, also where the common name is a user that may do only so much."""
    two, files = await _secured(tmp_path)
    try:
        if auth:
            for server, right in ((two.a, "read"), (two.b, "readwrite")):
                await two.etcdctl(server, "user", "add", "root", "--no-password")
                await two.etcdctl(server, "user", "grant-role", "root", "root")
                await two.etcdctl(server, "user", "add", "copier", "--no-password")
                await two.etcdctl(server, "role", "add", "copier")
                await two.etcdctl(
                    server, "role", "grant-permission", "copier", right, "/k/", "--prefix=true"
                )
                await two.etcdctl(server, "user", "grant-role", "copier", "copier")
                await two.etcdctl(server, "auth", "enable")
        await two.fill("/k/", range(300), b"v")
        options = [*_tls(files, "from"), *_tls(files, "to")]
        await two.mirror("--prefix", "/k/", *options)
        assert (await two.synced())[1] == 300
        await two.drop("/k/", range(10))
        await two.gets_equal(b"/k/", timeout_s=20)
        await two.ends_cleanly()
        if auth:
            process = await two.mirror("--prefix", "/", *options)
            async with asyncio.timeout(30):
                _, error = await process.communicate()
            assert process.returncode == 1
            assert error.decode().startswith("error: "), "one line says what is not allowed"
    finally:
        await two.stop()


async def test_one_of_two_endpoints_is_dead(tmp_path: Path) -> None:
    """On either side, first or last in the list."""
    async with duo(tmp_path) as two:
        await two.fill("/k/", range(300), b"v")
        await two.mirror(
            "--prefix",
            "/k/",
            source=f"127.0.0.1:1,{two.a.endpoint}",
            target=f"{two.b.endpoint},127.0.0.1:2",
        )
        assert (await two.synced())[1] == 300
        await two.drop("/k/", range(10))
        await two.gets_equal(b"/k/", timeout_s=20)


@pytest.mark.parametrize("side", ["source", "target"])
async def test_nobody_at_the_endpoint_yet(side: str, tmp_path: Path) -> None:
    """It says so, goes on trying, and copies once somebody is there."""
    async with duo(tmp_path) as two:
        await two.fill("/k/", range(100), b"v")
        server = two.a if side == "source" else two.b
        server.kill()
        process = await two.mirror("--prefix", "/k/")
        assert process.stderr is not None
        async with asyncio.timeout(60):
            assert (await process.stderr.readline()).startswith(b"retrying: ")
        await server.start()
        assert (await two.synced())[1] == 100
        await two.gets_equal(b"/k/")
