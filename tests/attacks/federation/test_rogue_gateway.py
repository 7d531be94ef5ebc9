"""Attack 19 and G8 at the site's end: the tier above is the attacker, with a good certificate."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from tests.attacks.federation.kit import (
    batch,
    end,
    fort,
    greeting,
    keys_below,
    operators,
    rogue_gateway,
    site_link,
)
from tests.federation_support import until

from isthmus.contract.scopes import import_root
from isthmus.federation import link_pb2 as pb
from isthmus.kv.memory import MemoryStore

ROOT = import_root("global")
WANTED = (
    b"specs/t/c",
    b"summary/site",
    b"certificates/h1/i-1",
    b"meta.synced",
    b"intents/../specs/t/c",
    b"/isthmus/v1/specs/t/c",
    b"intents",
    b"intents//c",
    b"config/configurator/i-1",
    b"wires/\xd0\xb0",
)


async def test_site_takes_only_what_its_own_scope_lists(tmp_path: Path) -> None:
    """A hostile tier cannot write outside ``remote/global/intents/`` and ``wires/``, nor delete there."""
    us, _ = operators()
    site = MemoryStore()
    await site.put("/isthmus/v1/specs/t/c", b"the site's own")

    async def script(context: Any) -> None:
        await context.write(greeting("global").SerializeToString())
        at = pb.Token(incarnation="x", revision=1, nonce_revision=1, nonce="n")
        begin = pb.Begin(stream=7, seq=1, mode=pb.MODE_SNAPSHOT, at=at, buckets=range(256))
        while True:
            frame = pb.Frame.FromString(await context.read())
            if frame.WhichOneof("kind") == "resume":
                break
        await context.write(pb.Frame(begin=begin).SerializeToString())
        evil = [(key, b"EVIL") for key in WANTED] + [(b"specs/t/c", None)]
        await context.write(batch(*evil).SerializeToString())
        await context.write(batch((b"intents/t/c", b"good"), seq=3).SerializeToString())
        await context.write(end(4).SerializeToString())
        while isinstance(await context.read(), bytes):
            pass

    async with rogue_gateway(us, script) as port, site_link(tmp_path, us, port, site) as link:
        await until(lambda: keys_below(site, ROOT), "the good key arrives")
        assert await keys_below(site, ROOT) == ["intents/t/c"]
        everything = await site.snapshot("/")
        assert b"EVIL" not in b"".join(entry.value for entry in everything.entries)
        own = await site.get("/isthmus/v1/specs/t/c")
        assert own is not None
        assert own.value == b"the site's own"
        assert sum(link.status().denied.values()) == len(WANTED) + 1


async def test_site_sends_nothing_outside_its_scope_whatever_is_asked(tmp_path: Path) -> None:
    """G8 at the sending end alone: the receiver is hostile and asks again and again."""
    us, _ = operators()
    site = MemoryStore()
    secrets = (
        "specs/t/c",
        "certificates/h1/i-1",
        "summary/peers/other/chains/t/c",
        "requests/local/t/c",
        "summary/peers/global/secret/t/c",
        "remote/global/intents/t/c",
        "summary/sites",
    )
    for key in secrets:
        await site.put(f"/isthmus/v1/{key}", b"SENTINEL")
    await site.put("/isthmus/v1/summary/site", b"totals")
    await site.put("/isthmus/v1/summary/peers/global/chains/t/c", b"status")
    heard: list[str] = []
    asked = asyncio.Event()

    async def script(context: Any) -> None:
        await context.write(greeting("global").SerializeToString())
        for mode in (pb.Token(), pb.Token(incarnation="forged", revision=1)):
            resume = pb.Resume(window_bytes=2**20, token=mode)
            await context.write(pb.Frame(resume=resume).SerializeToString())
        compare = pb.Compare(stream=7, seq=1, buckets=[0] * 256)
        await context.write(pb.Frame(compare=compare).SerializeToString())
        while isinstance(data := await context.read(), bytes):
            heard.append(repr(data))
            if "status" in heard[-1]:
                await site.put("/isthmus/v1/specs/t/c", b"SENTINEL again")
                asked.set()

    async with rogue_gateway(us, script) as port, site_link(tmp_path, us, port, site) as link:
        async with asyncio.timeout(20):
            await asked.wait()
        await until(lambda: link.status().denied.get("export:scope-denied", 0) >= 1, "counted")
        assert any("totals" in frame for frame in heard)
        assert not [frame for frame in heard if "SENTINEL" in frame]
        assert not [frame for frame in heard if "secret" in frame or "specs" in frame]


@pytest.mark.parametrize("component", ["federation", "placer"])
async def test_site_does_not_talk_to_a_server_that_is_not_the_gateway(
    component: str, tmp_path: Path
) -> None:
    """Another process of our own operator under the gateway's address: its server name is another."""
    us, _ = operators()
    realm = "site/b" if component == "federation" else "global"
    site = MemoryStore()
    reached = asyncio.Event()
    server = grpc.aio.server()

    async def handle(_: Any, context: Any) -> None:
        reached.set()

    handler = grpc.stream_stream_rpc_method_handler(handle)
    handlers = grpc.method_handlers_generic_handler("isthmus.federation.v1.Link", {"Open": handler})
    server.add_generic_rpc_handlers((handlers,))
    credentials = grpc.ssl_server_credentials(
        [us.issue(component, realm)], root_certificates=us.bundle_pem, require_client_auth=True
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    async with site_link(tmp_path, us, port, site, connect_timeout_s=1.0) as link:
        await until(lambda: "no connection" in link.status().last_error, "the dial fails")
        assert not reached.is_set()
    await server.stop(0.1)


async def test_gateway_that_greets_with_another_name_is_left(tmp_path: Path) -> None:
    """The greeting must agree with what the site was told, as at the other end."""
    us, _ = operators()

    async def script(context: Any) -> None:
        await context.write(greeting("elsewhere").SerializeToString())
        while isinstance(await context.read(), bytes):
            pass

    site = MemoryStore()
    async with rogue_gateway(us, script) as port, site_link(tmp_path, us, port, site) as link:
        await until(lambda: "claim-refused" in link.status().last_error, "refused by the site")
        assert not await keys_below(site, ROOT)


async def test_sentinels_of_every_foreign_scope_are_never_on_the_wire(tmp_path: Path) -> None:
    """G8, both ends honest: planted in every family that must not cross, searched in every frame of both ends."""
    async with fort(tmp_path) as world:
        hub, site = world.store, MemoryStore()
        for key in (
            "requests/local/t/c",
            "intents/t/c",
            "placements/t/c",
            "outbox/b/intents/t/c",
            "outbox/ab/intents/t/c",
            "outbox/a0",
            "remote/b/summary/site",
            "vnis/1",
            "sites/b",
            "outbox/a/secret/t",
        ):
            await hub.put(f"/isthmus/v1/{key}", b"SENTINEL-HUB")
        for key in ("specs/t/c", "summary/peers/globalx/chains/t/c", "summary/site0", "csr/h1/i-1"):
            await site.put(f"/isthmus/v1/{key}", b"SENTINEL-SITE")
        await hub.put("/isthmus/v1/outbox/a/intents/t/c", b"good")
        await site.put("/isthmus/v1/summary/site", b"good")
        port = world.gateway.port
        async with site_link(tmp_path, world.us, port, site) as link:
            await until(lambda: link.status().synced, "down")
            await until(lambda: keys_below(hub, import_root("a")), "up")
            await hub.put("/isthmus/v1/outbox/b/intents/t/c", b"SENTINEL-HUB again")
            await hub.put("/isthmus/v1/outbox/a/intents/t/d", b"good")
            await until(lambda: _two(site), "changes flow")
        assert any("good" in frame for frame in world.taps), "the tap itself must work"
        assert not [frame for frame in world.taps if "SENTINEL" in frame]


async def _two(site: MemoryStore) -> bool:
    return len(await keys_below(site, ROOT)) == 2
