"""``isthmus mirror`` between two etcds that know nothing of us, in place of make-mirror; faults included."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.federation_support import until
from tests.integration.federation.lab import Toxiproxy
from tests.integration.kv.server import EtcdServer, serves

from isthmus.federation.mirror_main import main, parser, settings
from isthmus.kv.port import Put, Txn
from isthmus.kv.raw_range import RawRange

pytestmark = pytest.mark.etcd


class Pair:
    """Source and destination, a fault proxy before each, and the mirror as a process."""

    def __init__(self, folder: Path) -> None:
        self.source, self.target = EtcdServer(folder / "source"), EtcdServer(folder / "target")
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        await asyncio.gather(self.source.start(), self.target.start())
        self.a, self.b = self.source.store(), self.target.store()
        await asyncio.gather(serves(self.a), serves(self.b))
        self.before_source, self.before_target = (
            Toxiproxy(self.source.port),
            Toxiproxy(self.target.port),
        )
        await self.before_source.start()
        await self.before_target.start()

    async def mirror(self, *options: str) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "isthmus.federation.mirror_main",
            "--from",
            f"127.0.0.1:{self.before_source.port}",
            "--to",
            f"127.0.0.1:{self.before_target.port}",
            *options,
            stdout=asyncio.subprocess.PIPE,
        )

    async def synced(self) -> str:
        """The line that says so."""
        assert self.process is not None
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            return (await self.process.stdout.readline()).decode().strip()

    async def fill(self, prefix: str, numbers: range, value: bytes) -> None:
        for start in range(numbers.start, numbers.stop, 100):
            some = range(start, min(start + 100, numbers.stop))
            puts = tuple(Put(f"{prefix}{number:06d}", value) for number in some)
            await self.a.txn(Txn((), puts))

    async def same(self, prefix: str, dest_prefix: str) -> bool:
        """Equal sets below both prefixes."""
        return await _all(self.a, prefix) == await _all(self.b, dest_prefix)

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        for store in (self.a, self.b):
            await store.aclose()
        for proxy in (self.before_source, self.before_target):
            proxy.stop()
        self.source.kill()
        self.target.kill()


async def _all(store, prefix: str) -> dict[str, bytes]:  # type: ignore[no-untyped-def]
    raw = RawRange(store, prefix)
    held: dict[str, bytes] = {}
    async for entries in raw.snapshot(await raw.revision()):
        held.update({entry.key[len(prefix) :]: entry.value for entry in entries})
    return held


@contextlib.asynccontextmanager
async def pair(folder: Path) -> AsyncIterator[Pair]:
    made = Pair(folder)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def test_first_copy_then_every_change_and_a_clean_end(tmp_path: Path) -> None:
    """Prefixes without a slash, an excluded part, leftovers, deletions; nothing of ours in either."""
    async with pair(tmp_path) as two:
        await two.fill("Src", range(1000), b"v")
        await two.a.put("Src/hidden/1", b"not for you")
        await two.b.put("dst-leftover", b"of an older copy")
        await two.b.put("dst/hidden/2", b"stays")
        await two.b.put("elsewhere", b"stays")
        await two.mirror("--prefix", "Src", "--dest-prefix", "dst", "--exclude", "Src/hidden/")
        line = await two.synced()
        assert line.startswith("synced revision=")
        assert line.endswith(" keys=1000")
        assert len(await _all(two.b, "dst")) == 1001
        await two.a.put("Src000001", b"changed")
        await two.a.delete("Src000002")
        await two.a.put("Src000003/deep/KEY with space", b"x" * 200_000)
        await until(lambda: _gone(two, "dst000002"), "deletion")
        await until(lambda: two.b.get("dst000003/deep/KEY with space"), "new key")
        held = await _all(two.b, "dst")
        assert held["000001"] == b"changed"
        assert "/hidden/1" not in held
        assert held["/hidden/2"] == b"stays"
        assert await two.b.get("elsewhere") is not None
        assert len(await _all(two.b, "")) == 1002, "nothing of ours is left at the destination"
        assert len(await _all(two.a, "")) == 1001, "nor at the source"
        assert two.process is not None
        two.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await two.process.wait() == 0


@pytest.mark.parametrize("side", ["source", "target"])
async def test_cut_on_either_side_with_churn_and_compaction(side: str, tmp_path: Path) -> None:
    """Longer than any patience inside, history gone meanwhile: equal again, by itself."""
    async with pair(tmp_path) as two:
        await two.fill("/k/", range(500), b"old")
        await two.mirror("--prefix", "/k/", "--dest-prefix", "/copy/")
        await two.synced()
        proxy = two.before_source if side == "source" else two.before_target
        await proxy.enabled(False)
        await two.fill("/k/", range(100, 200), b"new")
        for number in range(50):
            await two.a.delete(f"/k/{number:06d}")
        await two.a.compact((await two.a.status()).revision)
        await proxy.enabled(True)
        await until(lambda: two.same("/k/", "/copy/"), "equal again", timeout_s=40)


@pytest.mark.parametrize("side", ["source", "target"])
async def test_either_store_killed_and_started_again(side: str, tmp_path: Path) -> None:
    """kill -9 under traffic."""
    async with pair(tmp_path) as two:
        await two.fill("/k/", range(300), b"old")
        await two.mirror("--prefix", "/k/")
        await two.synced()
        server = two.source if side == "source" else two.target
        server.kill()
        await server.start()
        await two.fill("/k/", range(200, 400), b"new")
        await two.a.delete("/k/000001")
        await until(lambda: two.same("/k/", "/k/"), "equal again", timeout_s=40)


async def test_silent_source_heals_without_loss(tmp_path: Path) -> None:
    """Bandwidth 0: nothing fails, nothing moves; then everything that happened meanwhile arrives."""
    async with pair(tmp_path) as two:
        await two.mirror("--prefix", "/k/")
        await two.synced()
        toxics = await two.before_source.silent()
        await two.fill("/k/", range(300), b"in the dark")
        await two.before_source.heal(*toxics)
        await until(lambda: two.same("/k/", "/k/"), "equal", timeout_s=40)


async def _gone(two: Pair, key: str) -> bool:
    return await two.b.get(key) is None


@pytest.mark.parametrize(
    "options",
    [
        ["--from", "x", "--to", "127.0.0.1:1"],
        [
            "--from",
            "127.0.0.1:1",
            "--to",
            "127.0.0.1:1",
            "--prefix",
            "/a/",
            "--dest-prefix",
            "/a/b/",
        ],
        ["--from", "127.0.0.1:1", "--to", "127.0.0.1:2", "--from-cert", "/nowhere"],
        ["--from", "https://127.0.0.1:1", "--to", "127.0.0.1:2"],
        ["--from", "127.0.0.1:1,no-such-host.invalid:2", "--to", "127.0.0.1:2"],
    ],
)
def test_wrong_options_are_one_line(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """An endpoint that is none, a mirror into itself, a certificate without its key, TLS without an authority, a name
    that nobody knows."""
    assert main(options) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1


def test_several_endpoints_may_be_names() -> None:
    """As ``etcdctl`` takes them; the certificate is still asked for by the name that was given."""
    given = parser().parse_args(
        [
            *("--from", "localhost:1,http://127.0.0.1:2", "--to", "localhost:3,localhost:4/"),
            *("--to-cacert", "/ca.pem"),
        ]
    )
    wanted = settings(given)
    assert wanted.source.endpoints == ("127.0.0.1:1", "127.0.0.1:2")
    assert wanted.destination.endpoints == ("127.0.0.1:3", "127.0.0.1:4")
    assert wanted.destination.expected_server_name == "localhost"
