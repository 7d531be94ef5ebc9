"""Two real etcds and ``isthmus mirror`` as a program between them; contents are read by ``etcdctl``, not by our client.

So a key that our own reader and writer both get wrong in the same way is found, too.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from tests.integration.kv.server import EtcdServer, serves
from tests.support import eventually

from isthmus.deploy.binaries import Name, find
from isthmus.kv.port import Delete, Put, Txn

Held = dict[bytes, bytes]


class Duo:
    """Source ``a``, destination ``b``, and the mirror from one to the other."""

    def __init__(self, folder: Path, **server: object) -> None:
        self.folder = folder
        self.a = EtcdServer(folder / "a", token="a", **server)  # type: ignore[arg-type]
        self.b = EtcdServer(folder / "b", token="b", **server)  # type: ignore[arg-type]
        self.client: tuple[Path, Path, Path] | None = None
        """CA, certificate and key of whoever asks, where the servers want them."""
        self.process: asyncio.subprocess.Process | None = None
        self.lines: list[str] = []

    async def start(self) -> None:
        await asyncio.gather(self.a.start(), self.b.start())
        more = {}
        if self.client is not None:
            more = dict(zip(("ca_file", "cert_file", "key_file"), self.client, strict=True))
        self.at, self.to = self.a.store(**more), self.b.store(**more)
        await asyncio.gather(serves(self.at), serves(self.to))

    async def stop(self) -> None:
        await self.kill_mirror()
        for server, store in ((self.a, self.at), (self.b, self.to)):
            if server.process is not None:
                server.thaw()
            server.kill()
            await store.aclose()

    # -- the mirror

    async def mirror(
        self, *options: str, source: str = "", target: str = ""
    ) -> asyncio.subprocess.Process:
        """Start it, by the command that a user types."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "isthmus.cli.main", "mirror",
            "--from", source or self.a.endpoint, "--to", target or self.b.endpoint, *options,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        return self.process

    async def synced(self, timeout_s: float = 60) -> tuple[int, int]:
        """Revision and number of keys of the line that says so; the first thing on standard output."""
        assert self.process is not None
        assert self.process.stdout is not None
        async with asyncio.timeout(timeout_s):
            line = (await self.process.stdout.readline()).decode()
        word, revision, keys = line.split()
        assert word == "synced", line
        return int(revision.removeprefix("revision=")), int(keys.removeprefix("keys="))

    async def kill_mirror(self) -> None:
        """kill -9."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def ends_cleanly(self) -> None:
        """SIGTERM, and nothing but the exit code 0."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            _, error = await self.process.communicate()
            assert await self.process.wait() == 0, error.decode()
        assert b"Traceback" not in error, error.decode()

    # -- what the stores hold

    async def held(self, server: EtcdServer) -> Held:
        """Everything, as ``etcdctl`` reads it."""
        told = await self.etcdctl(server, "get", "", "--from-key", "-w", "json")
        kvs = json.loads(told).get("kvs", [])
        decode = base64.b64decode
        return {decode(kv["key"]): decode(kv.get("value", "")) for kv in kvs}

    async def equal(self, prefix: bytes = b"", dest_prefix: bytes | None = None) -> bool:
        """Below both prefixes exactly the same."""
        try:
            here, there = await asyncio.gather(self.held(self.a), self.held(self.b))
        except AssertionError:
            return False  # a store that does not answer yet
        return below(here, prefix) == below(there, prefix if dest_prefix is None else dest_prefix)

    async def gets_equal(self, *prefixes: bytes, timeout_s: float = 60) -> None:
        """Poll until :meth:`equal`."""
        await eventually(lambda: self.equal(*prefixes), "both are equal", timeout_s=timeout_s)

    async def etcdctl(self, server: EtcdServer, *arguments: str) -> bytes:
        """Its standard output."""
        tls: list[str] = []
        if self.client is not None:
            names = ("--cacert", "--cert", "--key")
            tls = [f"{name}={path}" for name, path in zip(names, self.client, strict=True)]
        return await run("etcdctl", f"--endpoints={server.client_url}", *tls, *arguments)

    # -- changes

    async def fill(self, prefix: str, numbers: range, value: bytes) -> None:
        """100 keys a transaction."""
        for start in range(numbers.start, numbers.stop, 100):
            some = range(start, min(start + 100, numbers.stop))
            await self.at.txn(Txn((), tuple(Put(f"{prefix}{n:06d}", value) for n in some)))

    async def drop(self, prefix: str, numbers: range) -> None:
        """Delete them."""
        for start in range(numbers.start, numbers.stop, 100):
            some = range(start, min(start + 100, numbers.stop))
            await self.at.txn(Txn((), tuple(Delete(f"{prefix}{n:06d}") for n in some)))

    async def backup(self) -> Path:
        """Of the source."""
        file = self.folder / "backup.db"
        await self.etcdctl(self.a, "snapshot", "save", str(file))
        return file

    async def restore(self, backup: Path) -> None:
        """The source, by hand, as an operator in a hurry does it: nothing bumped, nothing marked."""
        self.a.kill()
        shutil.rmtree(self.a.data)
        await run(
            "etcdutl", "snapshot", "restore", str(backup), f"--data-dir={self.a.data}",
            f"--name={self.a.name}", f"--initial-cluster={self.a.name}={self.a.peer_url}",
            f"--initial-cluster-token={self.a.token}",
            f"--initial-advertise-peer-urls={self.a.peer_url}",
        )  # fmt: skip
        await self.a.start()
        await serves(self.at)


def below(held: Held, prefix: bytes) -> Held:
    """What lies below ``prefix``, under its relative name."""
    return {key[len(prefix) :]: value for key, value in held.items() if key.startswith(prefix)}


async def run(program: Name, *arguments: str) -> bytes:
    """One of etcd's tools; AssertionError with what it says."""
    process = await asyncio.create_subprocess_exec(
        str((await find(program)).path), *arguments,
        env={**os.environ, "ETCDCTL_API": "3"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    return out


@contextlib.asynccontextmanager
async def duo(folder: Path, **server: object) -> AsyncIterator[Duo]:
    """Started, and stopped whatever happens."""
    made = Duo(folder, **server)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
