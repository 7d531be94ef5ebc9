"""Attacks 9, 10 and 11 below the frames: bombs, fat metadata, many streams; the caps hold, nobody else notices."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from tests.attacks.federation.kit import (
    DIALLED,
    Fort,
    Rogue,
    fort,
    greeting,
    rogue_gateway,
    site_link,
)
from tests.federation_support import until

from isthmus.federation import link_pb2 as pb
from isthmus.federation.transport import METHOD
from isthmus.kv.memory import MemoryStore

BOMB_BYTES = 16 * 1024 * 1024
"""Packed it is some 16 KiB: below every limit of a frame."""
Status = grpc.StatusCode


def channel(world: Fort, **options: Any) -> Any:
    """Of site a, with more freedom than the kit's."""
    key, chain = world.us.issue("federation", "site/a")
    credentials = grpc.ssl_channel_credentials(world.us.bundle_pem, key, chain)
    free = [
        ("grpc.ssl_target_name_override", DIALLED),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
        ("grpc.max_metadata_size", 1 << 20),
    ]
    return grpc.aio.secure_channel(
        f"127.0.0.1:{world.gateway.port}", credentials, options=free, **options
    )


def bomb() -> bytes:
    """A frame that is well formed, and nothing but zeros."""
    return pb.Frame(bye=pb.Bye(code="x", detail="\0" * BOMB_BYTES)).SerializeToString()


async def test_a_decompression_bomb_at_the_gateway(tmp_path: Path) -> None:
    """Attack 10: refused by its size unpacked; the next honest link stands."""
    async with fort(tmp_path) as world:
        rogue = Rogue(channel(world, compression=grpc.Compression.Gzip))
        rogue.start()
        await rogue.send(bomb())
        code, _ = await rogue.ended()
        await rogue.close()
        assert code is Status.RESOURCE_EXHAUSTED
        await (await world.honest("b")).close()


async def test_a_decompression_bomb_at_a_site(tmp_path: Path) -> None:
    """The same from a gateway that was taken over: the site drops the call and dials again."""
    world = Fort(tmp_path)

    async def script(context: Any) -> None:
        context.set_compression(grpc.Compression.Gzip)
        await context.write(bomb())
        await asyncio.sleep(1)

    async with rogue_gateway(world.us, script) as port:
        store = MemoryStore()
        async with site_link(tmp_path, world.us, port, store) as link:
            await until(lambda: "RESOURCE_EXHAUSTED" in link.status().last_error, "it left")
            assert not link.status().connected
            assert store.revision <= 1, "nothing of it was stored"


async def test_fat_metadata_is_refused(tmp_path: Path) -> None:
    """Attack 9: 64 KiB of headers cost a call, not the gateway."""
    async with fort(tmp_path) as world:
        wild = channel(world)
        call = wild.stream_stream(METHOD)(metadata=(("x-fat", "a" * 65_536),))
        rogue = Rogue(wild)
        rogue.call = call
        code, _ = await rogue.ended()
        await rogue.close()
        assert code in (Status.RESOURCE_EXHAUSTED, Status.INTERNAL, Status.UNAVAILABLE)
        assert world.store.revision <= 1
        await (await world.honest("b")).close()


async def test_a_thousand_streams_on_one_connection_are_one_link(tmp_path: Path) -> None:
    """Attack 11: so many at most are heard at once, each newer one takes over from the older, the honest one stays."""
    async with fort(tmp_path) as world:
        honest = await world.honest("b")
        wild = channel(world)
        calls = [wild.stream_stream(METHOD)() for _ in range(1000)]
        for call in calls[:8]:
            asyncio.get_running_loop().create_task(_greet(call))
        await until(lambda: world.gateway._seats.get("a") is not None, "it was heard")
        assert sum(seat.link is not None for seat in world.gateway._seats.values()) <= 2
        assert next(one for one in world.gateway.status() if one.peer == "b").connected
        await honest.send(pb.Frame(beat=pb.Beat()))
        for call in calls:
            call.cancel()
        await wild.close()
        await (await world.honest("a")).close()
        await honest.close()


async def _greet(call: Any) -> None:
    try:
        await call.write(greeting("a").SerializeToString())
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError, asyncio.CancelledError):
        return
