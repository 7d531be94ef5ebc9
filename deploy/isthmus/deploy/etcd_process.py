"""One etcd member as a process: its arguments, its data folder, and how we know it serves.

Safe by construction: clients need a certificate of the trusted CA; the gRPC gateway is off (it
refuses users known by their certificate, and nobody needs it); the peer and the metrics listener
of a single member are Unix sockets inside the data folder, mode 0700, so that the only port that
is open is the clients' (measured: etcd 3.7 takes ``unix://`` for both). Readiness is asked through
the metrics socket: no certificate, no port. Who may do what is not decided here: the contract's
roles are laid over the running store by ``isthmus.kv`` and ``isthmus.contract``.

A member of several speaks to its peers by TCP; see :mod:`isthmus.deploy.etcd_cluster`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from isthmus.deploy.binaries import find
from isthmus.deploy.process_spec import ProcessSpec, RestartPolicy
from isthmus.deploy.supervisor import Supervisor

READY_TIMEOUT_S = 30.0
_PEER_SOCKET = "peer.sock"
_METRICS_SOCKET = "metrics.sock"
_ASK_READY_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdTls:
    """Files of the member's own certificate and of the CA that signs its clients'."""

    ca_file: Path
    cert_file: Path
    key_file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdPeers:
    """Where a member of several hears its peers. ``cluster`` maps the names of all, itself included, to their URLs;
    ``joins``: they run already and have been told of it. Without ``tls`` plain http: for loopback only.
    """

    port: int
    cluster: Mapping[str, str]
    host: str = "127.0.0.1"
    joins: bool = False
    token: str = "isthmus"
    tls: EtcdTls | None = None

    @property
    def url(self) -> str:
        """Where peers dial."""
        return f"{'http' if self.tls is None else 'https'}://{self.host}:{self.port}"


_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdMember:
    """One etcd: alone, or one of several (``peers``). Without ``tls`` it serves plain http: for loopback only."""

    data_dir: Path
    client_port: int
    client_host: str = "127.0.0.1"
    name: str = "member"
    tls: EtcdTls | None = None
    netns: str | None = None
    log_file: Path | None = None
    quota_bytes: int = 512 * 1024 * 1024  # a site of 1,000 chains needs tens of MB; full = alarm
    compaction_mode: str = "revision"  # by revisions: a quiet site keeps its history for resumes
    compaction_retention: str = (
        "100000"  # the outer bound; the maintainer keeps the declared window
    )
    snapshot_count: int = 10_000  # entries kept in memory between snapshots
    peers: EtcdPeers | None = None
    unsafe_no_fsync: bool = False  # tests only: a crash of the machine would lose writes
    extra: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse to serve in the clear on anything but loopback."""
        if self.tls is None and self.client_host not in _LOOPBACK:
            raise ValueError(
                f"etcd {self.name!r}: plain http on {self.client_host}; give tls, or use 127.0.0.1"
            )
        peers = self.peers
        if peers is None:
            return
        if peers.tls is None and peers.host not in _LOOPBACK:
            raise ValueError(
                f"etcd {self.name!r}: plain http to peers on {peers.host}; give peers.tls, or use 127.0.0.1"
            )
        if peers.cluster.get(self.name) != peers.url:
            raise ValueError(
                f"etcd {self.name!r}: its own entry in peers.cluster is "
                f"{peers.cluster.get(self.name)!r}; it must be {peers.url!r}"
            )

    @property
    def client_url(self) -> str:
        """Where clients dial."""
        return f"{'http' if self.tls is None else 'https'}://{self.client_host}:{self.client_port}"

    @property
    def endpoint(self) -> str:
        """``host:port``, as gRPC clients want it."""
        return f"{self.client_host}:{self.client_port}"


def etcd_argv(member: EtcdMember, etcd: Path) -> tuple[str, ...]:
    """The command line; it expects the data folder as working directory (for the sockets)."""
    base = (
        str(etcd),
        f"--name={member.name}",
        f"--data-dir={member.data_dir}",
        f"--listen-client-urls={member.client_url}",
        f"--advertise-client-urls={member.client_url}",
        *_peers_argv(member),
        f"--listen-metrics-urls=unix://{_METRICS_SOCKET}",
        "--enable-grpc-gateway=false",
        f"--quota-backend-bytes={member.quota_bytes}",
        f"--auto-compaction-mode={member.compaction_mode}",
        f"--auto-compaction-retention={member.compaction_retention}",
        f"--snapshot-count={member.snapshot_count}",
        "--log-level=warn",
    )
    fsync = ("--unsafe-no-fsync",) if member.unsafe_no_fsync else ()
    return (*base, *_tls_argv(member.tls), *fsync, *member.extra)


def _peers_argv(member: EtcdMember) -> tuple[str, ...]:
    peers = member.peers
    alone = f"unix://{_PEER_SOCKET}"
    url = alone if peers is None else peers.url
    cluster = {member.name: alone} if peers is None else peers.cluster
    argv: tuple[str, ...] = (
        f"--listen-peer-urls={url}",
        f"--initial-advertise-peer-urls={url}",
        f"--initial-cluster={','.join(f'{name}={where}' for name, where in cluster.items())}",
    )
    if peers is None:
        return argv
    state = "existing" if peers.joins else "new"
    argv += (f"--initial-cluster-state={state}", f"--initial-cluster-token={peers.token}")
    if peers.tls is None:
        return argv
    return (
        *argv,
        "--peer-client-cert-auth",
        f"--peer-trusted-ca-file={peers.tls.ca_file}",
        f"--peer-cert-file={peers.tls.cert_file}",
        f"--peer-key-file={peers.tls.key_file}",
    )


def _tls_argv(tls: EtcdTls | None) -> tuple[str, ...]:
    if tls is None:
        return ()
    return (
        "--client-cert-auth",
        f"--trusted-ca-file={tls.ca_file}",
        f"--cert-file={tls.cert_file}",
        f"--key-file={tls.key_file}",
        "--tls-min-version=TLS1.3",
    )


def etcd_spec(member: EtcdMember, etcd: Path, *, name: str | None = None) -> ProcessSpec:
    """The member as a process to supervise; makes its data folder, mode 0700."""
    member.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    member.data_dir.chmod(0o700)

    async def ready() -> bool:
        return await is_ready(member)

    return ProcessSpec(
        name=name or f"etcd.{member.name}",
        argv=etcd_argv(member, etcd),
        netns=member.netns,
        cwd=member.data_dir,
        restart=RestartPolicy(when="always", first_delay_s=0.05),
        log_file=member.log_file or member.data_dir.with_name(f"{member.data_dir.name}.log"),
        ready=ready,
    )


async def is_ready(member: EtcdMember) -> bool:
    """Does the member say of itself, on its metrics socket, that it serves?"""
    try:
        async with asyncio.timeout(_ASK_READY_S):
            status = await _ask(member.data_dir)
    except OSError:  # not there yet (TimeoutError is an OSError, too)
        return False
    return status.split(b" ")[1:2] == [b"200"]


async def _ask(data_dir: Path) -> bytes:
    """The status line of GET /readyz. The folder's handle keeps the socket's path short (108)."""
    folder = os.open(data_dir, os.O_PATH | os.O_DIRECTORY)
    try:
        path = f"/proc/self/fd/{folder}/{_METRICS_SOCKET}"
        reader, writer = await asyncio.open_unix_connection(path)
    finally:
        os.close(folder)
    try:
        writer.write(b"GET /readyz HTTP/1.0\r\nHost: member\r\n\r\n")
        await writer.drain()
        return await reader.readline()
    finally:
        writer.close()


@asynccontextmanager
async def run_etcd(
    member: EtcdMember,
    *,
    supervisor: Supervisor | None = None,
    ready_timeout_s: float = READY_TIMEOUT_S,
) -> AsyncIterator[Supervisor]:
    """Run ``member`` while the block runs; yields the supervisor that owns it (``etcd.<name>``).

    Through it a test kills (``kill``), freezes (``pause``) or restarts (``restart``) the member.
    """
    binary = await find("etcd")
    spec = etcd_spec(member, binary.path)
    owner = supervisor or Supervisor()
    owner.start(spec)
    try:
        await owner.wait_ready(spec.name, ready_timeout_s)
        yield owner
    finally:
        await owner.stop(spec.name)


def free_port(host: str = "127.0.0.1") -> int:
    """A port nobody listens on now. For tests: another process may take it meanwhile."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
