"""The relay: bytes both ways with the instance's own identity, and nothing more (DESIGN section 5; G9)."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.vnf.secure_etcd import SERVER_NAME, STAMP, Authority, SecureEtcd
from tests.support import eventually

from isthmus.contract.families import APPLIED, CONFIG
from isthmus.contract.instance import Applied
from isthmus.kv.errors import PermissionDenied, StoreError
from isthmus.kv.etcd import EtcdStore
from isthmus.vnf.client import Configuration, VnfClient, connect
from isthmus.vnf.errors import FolderRefused
from isthmus.vnf.relay import Relay, RelayLimits, Upstream

ONE, OTHER = "i-000000000001", "i-000000000002"
LIMITS = RelayLimits()
MIB = 1 << 20


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short name: a socket's path has 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="rl") as name:
        yield Path(name)


@contextlib.asynccontextmanager
async def site(folder: Path) -> AsyncIterator[tuple[SecureEtcd, Relay, Path]]:
    """A store that knows two instances, and the relay of the first."""
    etcd = await SecureEtcd(folder / "etcd").start()
    try:
        for instance in (ONE, OTHER):
            await etcd.admit(instance)
        place = etcd.make_folder(folder, ONE)
        relay = Relay(
            place / "kv.sock", etcd.upstream, place / "cert.pem", place / "key.pem", LIMITS
        )
        await relay.start()
        try:
            yield etcd, relay, place
        finally:
            await relay.aclose()
    finally:
        await etcd.stop()


@pytest.mark.etcd
async def test_the_store_sees_the_instance_and_its_rights_hold(folder: Path) -> None:
    """A function that was taken over can lie about itself, and about nobody else (R24, R25)."""
    async with (
        site(folder) as (etcd, _, place),
        connect(place / "kv.sock", chance=_chance()) as store,
    ):
        await store.put(APPLIED.key(instance=ONE), b"{}")
        await etcd.configure(ONE, {})
        assert await store.get(CONFIG.key(owner="configurator", instance=ONE)) is not None
        for forbidden in (
            store.put(APPLIED.key(instance=OTHER), b"{}"),
            store.put(CONFIG.key(owner="configurator", instance=ONE), b"{}"),
            store.get(CONFIG.key(owner="configurator", instance=OTHER)),
            store.get(CONFIG.key(owner="ems-acme", instance=ONE)),
            store.snapshot("/isthmus/v1/"),
        ):
            with pytest.raises(PermissionDenied):
                await forbidden


@pytest.mark.etcd
async def test_a_configuration_arrives_and_what_is_applied_goes_back(folder: Path) -> None:
    """The whole way of an author's code: socket, relay, mutual TLS, watch, publish."""
    async with (
        site(folder) as (etcd, _, place),
        connect(place / "kv.sock", chance=_chance()) as store,
    ):
        client = _client(store=store)
        async with contextlib.aclosing(client.configurations()) as configurations:
            first = await etcd.configure(ONE, {"a": 1})
            assert (await _next(configurations)).revision == first
            second = await etcd.configure(ONE, {"a": 2}, generation=2)
            configuration = await _next(configurations)
            assert (configuration.revision, configuration.generation) == (second, 2)
            await client.publish_applied(Applied(incarnation=1, config_revision=second))
        applied = await etcd.applied(ONE)
        assert applied is not None
        assert applied.config_revision == second


@pytest.mark.etcd
async def test_cut_ends_the_watch_and_admit_lets_it_in_again(folder: Path) -> None:
    """A stream outlives its certificate unless somebody cuts it (measured); revocation must bite now."""
    async with (
        site(folder) as (etcd, relay, place),
        connect(place / "kv.sock", chance=_chance()) as store,
    ):
        client = _client(store=store)
        async with contextlib.aclosing(client.configurations()) as configurations:
            await etcd.configure(ONE, {"a": 1})
            await _next(configurations)
            relay.cut()
            await eventually(lambda: relay.connections == 0, "every connection is ended")
            with pytest.raises(StoreError):
                await store.get(CONFIG.key(owner="configurator", instance=ONE), timeout_s=1.0)
            later = await etcd.configure(ONE, {"a": 2}, generation=2)
            assert relay.connections == 0
            assert relay.refused > 0
            relay.admit()
            assert (await _next(configurations)).revision == later


async def test_a_store_under_another_name_gets_no_byte(folder: Path) -> None:
    """Whoever took over the address of the store must not be able to play it."""
    authority = Authority(folder / "trust")
    async with _tls_server(authority, "placer", folder) as (port, seen):
        relay, socket = _relay(authority, folder, port, server_name=SERVER_NAME)
        await _expect_closed(relay, socket)
        assert not seen


async def test_a_store_another_authority_gets_no_byte(folder: Path) -> None:
    """The same for one with the right name and the wrong signature."""
    ours, theirs = Authority(folder / "ours"), Authority(folder / "theirs")
    async with _tls_server(theirs, "etcd", folder) as (port, seen):
        relay, socket = _relay(ours, folder, port, server_name=SERVER_NAME)
        await _expect_closed(relay, socket)
        assert not seen


async def test_a_store_that_is_not_there_is_not_the_functions_death(folder: Path) -> None:
    """The connection ends, the socket stays."""
    authority = Authority(folder / "trust")
    async with _tls_server(authority, "etcd", folder) as (port, _):
        pass
    relay, socket = _relay(authority, folder, port, server_name=SERVER_NAME)
    await relay.start()
    try:
        for _ in range(2):
            reader, writer = await asyncio.open_unix_connection(socket)
            writer.write(b"PRI")
            async with asyncio.timeout(5):
                assert await reader.read() == b""
            writer.close()
    finally:
        await relay.aclose()


async def test_the_number_of_connections_is_bounded(folder: Path) -> None:
    """A function gone mad costs its host eight connections and no more."""
    authority = Authority(folder / "trust")
    async with _tls_server(authority, "etcd", folder) as (port, _):
        relay, socket = _relay(authority, folder, port, server_name=SERVER_NAME)
        await relay.start()
        writers = []
        try:
            for _ in range(LIMITS.connections):
                writers.append((await asyncio.open_unix_connection(socket))[1])
            await eventually(lambda: relay.connections == LIMITS.connections, "all are in")
            reader, writer = await asyncio.open_unix_connection(socket)
            writers.append(writer)
            async with asyncio.timeout(5):
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
            assert relay.refused == 1
            assert relay.connections == LIMITS.connections
        finally:
            for writer in writers:
                writer.close()
            await relay.aclose()


async def test_a_slow_store_holds_its_function_back_and_no_byte_is_lost(folder: Path) -> None:
    """Without back-pressure the relay of one busy function would eat the memory of all."""
    authority, size = Authority(folder / "trust"), 64 * MIB
    gate = asyncio.Event()
    async with _tls_server(authority, "etcd", folder, gate=gate) as (port, seen):
        relay, socket = _relay(authority, folder, port, server_name=SERVER_NAME)
        await relay.start()
        reader, writer = await asyncio.open_unix_connection(socket)
        sent = 0

        async def send() -> None:
            nonlocal sent
            while sent < size:
                writer.write(bytes(MIB))
                await writer.drain()
                sent += MIB

        try:
            sending = asyncio.create_task(send())
            await eventually(_standing_still(lambda: sent), "the sender is held back")
            assert 0 < sent < size // 2, sent
            gate.set()
            async with asyncio.timeout(30):
                await sending
                writer.write_eof()
                assert await reader.read() == b""
            assert sum(seen) == size
        finally:
            sending.cancel()
            writer.close()
            await relay.aclose()


async def test_a_socket_path_that_is_too_long_is_refused_in_words(folder: Path) -> None:
    """The kernel would only say "invalid argument"."""
    authority = Authority(folder / "trust")
    deep = folder / ("x" * 100)
    deep.mkdir()
    relay, _ = _relay(authority, deep, 1, server_name=SERVER_NAME)
    with pytest.raises(FolderRefused, match="shorter folder"):
        await relay.start()


async def test_unusable_credentials_are_refused_in_words(folder: Path) -> None:
    """A half-written certificate must name its instance, not raise from deep inside TLS."""
    authority = Authority(folder / "trust")
    relay, _ = _relay(authority, folder, 1, server_name=SERVER_NAME)
    (folder / ONE / "cert.pem").write_text("half a certi")
    with pytest.raises(FolderRefused, match=f"{ONE}: credentials unusable"):
        await relay.start()


# ---- a store that is none: it counts bytes


@contextlib.asynccontextmanager
async def _tls_server(
    authority: Authority, component: str, folder: Path, *, gate: asyncio.Event | None = None
) -> AsyncIterator[tuple[int, list[int]]]:
    """Its port, and the sizes of what it read; with ``gate`` it reads nothing before that is set."""
    cert, key = authority.leaf(component, folder / f"server-{component}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.load_verify_locations(authority.ca_file)
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    seen: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        selected = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        assert selected == "h2"
        if gate is not None:
            await gate.wait()
        with contextlib.suppress(OSError):
            while data := await reader.read(MIB):
                seen.append(len(data))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], seen
    finally:
        server.close()


def _relay(
    authority: Authority, folder: Path, port: int, *, server_name: str
) -> tuple[Relay, Path]:
    place = folder / ONE
    cert, key = authority.leaf(f"instance.{ONE}", place)
    upstream = Upstream("127.0.0.1", port, server_name, authority.ca_file)
    limits = replace(LIMITS, connect_timeout_s=2.0)
    return Relay(place / "kv.sock", upstream, cert, key, limits), place / "kv.sock"


async def _expect_closed(relay: Relay, socket: Path) -> None:
    await relay.start()
    try:
        reader, writer = await asyncio.open_unix_connection(socket)
        writer.write(b"secret")
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()
    finally:
        await relay.aclose()


def _standing_still(value: Callable[[], int], polls: int = 25) -> Callable[[], bool]:
    """True once ``value`` is above zero and was the same at so many looks in a row."""
    last, same = -1, 0

    def look() -> bool:
        nonlocal last, same
        now = value()
        last, same = now, same + 1 if now == last else 0
        return now > 0 and same >= polls

    return look


def _client(store: EtcdStore) -> VnfClient:
    return VnfClient(store, ONE, stamp=STAMP, clock=time.time, chance=_chance())


async def _next(configurations: AsyncGenerator[Configuration, None]) -> Configuration:
    async with asyncio.timeout(20):
        return await anext(configurations)


def _chance() -> random.Random:
    return random.Random(7)
