"""Who may touch what, on a real etcd with users by certificate (R6, R8; attacks 7 and 8; G8).

A component is its certificate; its role holds exact half-open ranges. etcd refuses what is wider, it
never filters. A server that is too old to refuse the two known bypasses (a watch of one granted key
stretched to the keys behind it, a nested transaction) fails here instead of being trusted.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path

import grpc
import grpc.aio
import pytest
from tests.integration.kv.authority import Authority
from tests.integration.kv.guarded import GRANTS, Guarded

from isthmus.kv import Compare, Delete, Get, Put, Target, Txn
from isthmus.kv import wire_pb2 as wire
from isthmus.kv.channel import open_channel
from isthmus.kv.errors import InvalidRequest, PermissionDenied, Unauthenticated, Unavailable
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.memory import MemoryStore
from isthmus.kv.mirror import Mirror
from isthmus.kv.port import KeyValueStore
from isthmus.kv.ranges import KeyRange
from isthmus.kv.settings import EtcdSettings


async def denied(store: KeyValueStore, txn: Txn) -> bool:
    """Was the transaction refused for lack of rights?"""
    try:
        await store.txn(txn)
    except PermissionDenied:
        return True
    return False


async def check_rights(store: KeyValueStore) -> None:
    """The same expectations for etcd and for the twin."""
    assert await store.get("hosts/h1/a") is not None
    await store.put("hosts/h1/new", b"")
    assert len((await store.snapshot("chains/")).entries) == 1
    await store.put("summary/site", b"")
    refused = [
        store.get("hosts/h2/a"),
        store.get("hosts/h10/a"),
        store.get("summary/site"),
        store.get("one/"),
        store.get("zz"),
        store.put("chains/t/c", b""),
        store.put("hosts/h1", b""),
        store.put("hosts/h10/a", b""),
        store.put("one", b""),
        store.delete("chains/t/c"),
        store.snapshot("hosts/"),
        store.snapshot("hosts/h10/"),
        store.snapshot("summary/"),
        anext(store.watch("hosts/")),
        anext(store.watch("hosts/h10/")),
        anext(store.watch("summary/site")),
    ]
    for number, call in enumerate(refused):
        with pytest.raises(PermissionDenied) as refusal:
            await asyncio.wait_for(call, 5)
        assert refusal.value.range_, f"call {number} does not name its range"
    own = Put("hosts/h1/x", b"")
    assert await denied(store, Txn((Compare("zz", Target.VERSION, 0),), (own,)))
    assert await denied(store, Txn(then=(own, Put("zz", b""))))
    assert await denied(store, Txn(then=(own, Get("zz"))))
    assert await denied(store, Txn(then=(own, Delete("chains/t/c"))))
    assert await denied(store, Txn(then=(own,), otherwise=(Get("zz"),)))
    assert not await denied(store, Txn((Compare("one", Target.VERSION, 0, ">"),), (own,)))


async def test_etcd_grants_exactly_what_was_granted(guarded: Guarded) -> None:
    """Neighbours of a prefix, wider ranges and every way to touch a key in passing are refused."""
    await check_rights(await guarded.store("launcher.h1"))


async def test_twin_grants_exactly_what_was_granted() -> None:
    """A simulation in which rights are wider than in production proves nothing."""
    root = MemoryStore()
    for key in ("hosts/h1/a", "hosts/h10/a", "hosts/h2/a", "chains/t/c", "one", "zz"):
        await root.put(key, b"secret")
    await check_rights(root.as_user("launcher.h1", GRANTS))


async def test_a_user_nobody_made_may_do_nothing(guarded: Guarded) -> None:
    """A certificate of our authority alone opens no key."""
    stranger = await guarded.store("stranger")
    with pytest.raises((PermissionDenied, Unauthenticated)):
        await stranger.get("hosts/h1/a")
    with pytest.raises((PermissionDenied, Unauthenticated)):
        await asyncio.wait_for(anext(stranger.watch("hosts/h1/")), 5)


async def test_without_a_certificate_there_is_no_connection(guarded: Guarded) -> None:
    """And the error is typed, not a raw TLS message, and comes within its deadline."""
    async with guarded.server.store(ca_file=guarded.authority.file) as nobody:
        with pytest.raises(Unavailable):
            await nobody.get("hosts/h1/a", timeout_s=2)


async def test_a_server_of_another_authority_is_not_believed(
    guarded: Guarded, tmp_path: Path
) -> None:
    """We authenticate the store as it authenticates us."""
    other = Authority(tmp_path / "other")
    async with guarded.server.store(**other.client_files("root")) as store:
        with pytest.raises(Unavailable):
            await store.get("hosts/h1/a", timeout_s=2)


async def test_a_server_of_another_name_is_not_believed(guarded: Guarded) -> None:
    """A certificate of our authority for another host is not this host."""
    files = guarded.authority.client_files("root")
    async with guarded.server.store(server_name="elsewhere.example", **files) as store:
        with pytest.raises(Unavailable):
            await store.get("hosts/h1/a", timeout_s=2)
    async with guarded.server.store(server_name="localhost", **files) as store:
        assert await store.get("hosts/h1/a") is not None


async def test_watch_of_one_key_cannot_be_stretched(guarded: Guarded) -> None:
    """Attack 8: etcd before 3.7.1 / 3.6.14 / 3.5.33 delivered every key behind the granted one.

    Our client cannot even write such a request, so it is written by hand here."""
    with pytest.raises(InvalidRequest):
        KeyRange(b"one", b"\0")
    settings = guarded.server.settings(**guarded.authority.client_files("launcher.h1"))
    async with open_channel(settings) as channel:
        call = channel.stream_stream(
            "/etcdserverpb.Watch/Watch",
            request_serializer=wire.WatchRequest.SerializeToString,
            response_deserializer=wire.WatchResponse.FromString,
        )()
        create = wire.WatchCreateRequest(key=b"one", range_end=b"\0", start_revision=1)
        await call.write(wire.WatchRequest(create_request=create))
        answer = await asyncio.wait_for(call.read(), 5)
        call.cancel()
    assert answer.canceled
    assert "permission denied" in answer.cancel_reason
    assert not answer.events


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited field of a message, by hand."""
    return bytes([number << 3 | 2, len(payload)]) + payload


async def test_nested_transaction_is_refused(guarded: Guarded) -> None:
    """Attack 8 (CVE-2026-33343): old servers checked the outer transaction only.

    Neither our port nor our messages know nesting, so this is bytes."""
    assert "request_txn" not in wire.RequestOp.DESCRIPTOR.fields_by_name
    get = wire.RequestOp(request_range=wire.RangeRequest(key=b"zz")).SerializeToString()
    inner = _field(2, get)
    nested = _field(2, _field(4, inner))
    settings = guarded.server.settings(**guarded.authority.client_files("launcher.h1"))
    async with open_channel(settings) as channel:
        call = channel.unary_unary("/etcdserverpb.KV/Txn")
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await call(nested, timeout=5)
    assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_mirror_without_rights_says_so(guarded: Guarded) -> None:
    """Not an endless silence: whoever waits for it gets the refusal, too."""
    mirror = Mirror(await guarded.store("launcher.h1"), "hosts/")
    task = asyncio.create_task(mirror.run())
    with pytest.raises(PermissionDenied):
        await mirror.wait_synced(5)
    with pytest.raises(PermissionDenied):
        await task


async def test_a_relay_socket_carries_the_store(guarded: Guarded, tmp_path: Path) -> None:
    """A VNF has no management leg: it speaks plain gRPC into a Unix socket, and a relay that splices
    bytes adds TLS and the instance's certificate (DESIGN section 5)."""
    files = guarded.authority.client_files("launcher.h1")
    context = ssl.create_default_context(cafile=str(files["ca_file"]))
    context.load_cert_chain(files["cert_file"], files["key_file"])
    context.set_alpn_protocols(["h2"])
    splices: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, ssl.SSLError):
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
        finally:
            writer.transport.abort()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(
            "127.0.0.1", guarded.server.port, ssl=context, server_hostname="localhost"
        )
        for one in (pump(reader, up_writer), pump(up_reader, writer)):
            splices.add(asyncio.create_task(one))

    path = tmp_path / "kv.sock"
    async with await asyncio.start_unix_server(relay, path=path):
        settings = EtcdSettings.model_validate({"endpoints": f"unix:{path}"})
        async with EtcdStore.connect(settings) as store:
            await check_rights(store)
            mirror = Mirror(store, "hosts/h1/")
            running = asyncio.create_task(mirror.run())
            await mirror.wait_synced(10)
            await mirror.wait_revision(await store.put("hosts/h1/via-relay", b""), 10)
            assert "hosts/h1/via-relay" in mirror.entries
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
        for splice in splices:
            splice.cancel()
        await asyncio.gather(*splices, return_exceptions=True)
