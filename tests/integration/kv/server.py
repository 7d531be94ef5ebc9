"""A real etcd for the tests of this room: started, frozen, killed and restored by its process id.

Not the deploy room's supervisor: these tests want a server that stays dead, that stands still, that
comes back with an older disk, or that is one of three.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from tests.support import eventually

from isthmus.deploy.binaries import find
from isthmus.kv.errors import StoreError
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.settings import EtcdSettings


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class EtcdServer:
    """One member. ``data`` may exist already (a restart, a restore)."""

    data: Path
    name: str = "member"
    tls: tuple[Path, Path, Path] | None = None
    """CA, certificate and key of the server; clients then need a certificate, too."""

    extra: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    peer_port: int = field(default_factory=free_port)
    cluster: str = ""
    token: str = "isthmus-test"
    process: subprocess.Popen[bytes] | None = None
    program: str = ""

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def peer_url(self) -> str:
        return f"http://127.0.0.1:{self.peer_port}"

    @property
    def client_url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.endpoint}"

    def argv(self) -> list[str]:
        arguments = [
            self.program,
            f"--name={self.name}",
            f"--data-dir={self.data}",
            f"--listen-client-urls={self.client_url}",
            f"--advertise-client-urls={self.client_url}",
            f"--listen-peer-urls={self.peer_url}",
            f"--initial-advertise-peer-urls={self.peer_url}",
            f"--initial-cluster={self.cluster or f'{self.name}={self.peer_url}'}",
            f"--initial-cluster-token={self.token}",
            "--enable-grpc-gateway=false",
            "--unsafe-no-fsync",
            "--log-level=error",
            *self.extra,
        ]
        if self.tls:
            authority, certificate, key = self.tls
            arguments += [
                "--client-cert-auth",
                f"--trusted-ca-file={authority}",
                f"--cert-file={certificate}",
                f"--key-file={key}",
            ]
        return arguments

    async def spawn(self) -> None:
        """Start it; see :meth:`start` for one that also listens."""
        self.program = self.program or str((await find("etcd")).path)
        self.data.parent.mkdir(parents=True, exist_ok=True)
        log = (self.data.parent / f"{self.data.name}.log").open("ab")
        self._launch(log)
        log.close()

    def _launch(self, log: BinaryIO) -> None:
        self.process = subprocess.Popen(self.argv(), stdout=log, stderr=log)

    async def start(self) -> EtcdServer:
        """Start it and wait until its port answers."""
        await self.spawn()
        await self.listening()
        return self

    async def listening(self) -> None:
        """Until the client port takes connections."""
        _: bool = await eventually(self._takes_connections, f"etcd on port {self.port} listens")

    async def _takes_connections(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"etcd ended: see {self.data}.log"
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    async def vanished(self) -> None:
        """Until nobody listens any more."""

        async def refused() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                return True
            writer.close()
            return False

        _: bool = await eventually(refused, f"port {self.port} is closed")

    async def freeze(self) -> None:
        """SIGSTOP, and wait until every thread stands still."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        tasks = Path(f"/proc/{self.process.pid}/task")

        def stopped() -> bool:
            states = [(task / "stat").read_text().rsplit(")", 1)[1] for task in tasks.iterdir()]
            return all(state.split()[0] == "T" for state in states)

        await eventually(stopped, "etcd stands still")

    def thaw(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    def settings(self, **more: object) -> EtcdSettings:
        return EtcdSettings.model_validate({"endpoints": (self.endpoint,), **more})

    def store(self, **more: object) -> EtcdStore:
        return EtcdStore.connect(self.settings(**more))


async def serves(store: EtcdStore) -> None:
    """Until the store answers (a leader is elected)."""

    async def answers() -> bool:
        try:
            await store.status(timeout_s=2.0)
            await store.get("is-there-a-leader", timeout_s=2.0)
        except StoreError:
            return False
        return True

    _: bool = await eventually(answers, "the store serves")
