"""Attacks 6, 8, 9, 11, 12, 13, 18 at the gateway: frames that must not be, from a peer with a good certificate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from tests.attacks.federation.kit import (
    QUICK,
    Fort,
    batch,
    end,
    fort,
    greeting,
    keys_below,
)
from tests.federation_support import until

from isthmus.contract.scopes import import_root
from isthmus.federation import LinkStatus, PeerSettings
from isthmus.federation import link_pb2 as pb
from isthmus.federation.settings import QuotaSettings

Status = grpc.StatusCode
OUTSIDE: tuple[bytes, ...] = (
    b"intents/t/c",
    b"summary",
    b"summary/",
    b"summary/sites",
    b"summary/site/x",
    b"summary/secret",
    b"summary/chains",
    b"remote/a/summary/site",
    b"meta.synced",
    b"meta.session",
    b"/isthmus/v1/specs/t/c",
    b"summary/chains/../../specs",
    b"summary/chains/./c",
    b"summary//chains/t/c",
    b"summary/chains/%2e%2e/c",
    b"summary/chains/t\x00/c",
    b"summary/chains/t\r\n/c",
    b"summary\\chains\\c",
    "summary/chains/т/c".encode(),
    "summary/chains/caf\u00e9/c".encode(),
    "summary/chains/cafe\u0301/c".encode(),
    "summary/chains/\u202egpj/c".encode(),
    b"summary/chains/\xc0\xae/c",
    b"summary/chains/\xff\xff/c",
    b"summary/chains/T/c",
    b"summary/chains/" + b"x" * 600,
    b"",
)


def hub_status(world: Fort, peer: str = "a") -> LinkStatus:
    """What the gateway says about one peer."""
    return next(link for link in world.gateway.status() if link.peer == peer)


@pytest.mark.parametrize("verb", ["put", "delete"])
async def test_keys_outside_scope_or_grammar_never_reach_the_store(
    verb: str, tmp_path: Path
) -> None:
    """G8 at the receiving end alone: the sender has no filter at all here. Each denial is counted and told."""
    limits = QUICK.model_copy(update={"max_denials": 1000})
    async with fort(tmp_path, limits=limits) as world:
        before = await world.store.snapshot("/")
        rogue = await world.honest("a")
        await rogue.begin()
        value = b"SENTINEL" if verb == "put" else None
        for seq, key in enumerate(OUTSIDE, start=2):
            await rogue.send(batch((key, value), seq=seq))
        await rogue.send(batch((b"summary/site", b"good"), seq=len(OUTSIDE) + 2))
        await until(lambda: keys_below(world.store, import_root("a")), "the good key arrives")
        after = await world.store.snapshot("/")
        new = {entry.key for entry in after.entries} - {entry.key for entry in before.entries}
        assert not [key for key in new if not key.startswith(import_root("a"))]
        assert await keys_below(world.store, import_root("a")) == ["summary/site"]
        assert b"SENTINEL" not in b"".join(entry.value for entry in after.entries)
        status = hub_status(world)
        assert sum(status.denied.values()) == len(OUTSIDE)
        assert {"import:key-refused", "import:scope-denied", "import:meta-denied"} <= set(
            status.denied
        )
        assert all(denial.key.isascii() for denial in status.newest_denials)
        await rogue.close()


async def test_peer_that_goes_on_outside_its_scope_is_cut(tmp_path: Path) -> None:
    """An honest peer's own filter sends nothing of the kind: many of them are no mistake."""
    async with fort(tmp_path) as world:
        rogue = await world.honest("a")
        await rogue.begin()
        for seq in range(2, 2 + QUICK.max_denials + 1):
            await rogue.send(batch((b"specs/t/c", b"x"), seq=seq))
        assert await rogue.ended() == (Status.PERMISSION_DENIED, "denials")
        await rogue.close()


Frames = Callable[[], list[pb.Frame | bytes]]


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (lambda: [batch(seq=3)], "gap"),
        (lambda: [b"\xff\xff\xff not a frame"], "malformed"),
        (lambda: [pb.Frame()], "kind"),
        (lambda: [greeting("a")], "kind"),
        (lambda: [batch(*[(b"summary/site", b"")] * 5000)], "batch-items"),
        (lambda: [end(2), end(3)], "end-unasked"),
        (lambda: [pb.Frame(ack=pb.Ack(stream=0, seq=99))], "ack-ahead"),
        (
            lambda: [
                batch(seq=2, through=9),
                end(3),
                batch(seq=4, through=8),
            ],
            "through-back",
        ),
        (lambda: [pb.Frame(begin=pb.Begin(stream=9, seq=1, mode=pb.MODE_FOLLOW))], "begin-unasked"),
        (lambda: [pb.Frame(begin=pb.Begin(stream=9, seq=1))], "begin-mode"),
        (
            lambda: [pb.Frame(begin=pb.Begin(stream=7, seq=2, mode=pb.MODE_REPAIR, buckets=[999]))],
            "begin-buckets",
        ),
        (lambda: [pb.Frame(beat=pb.Beat(stream=7, seq=50))], "gap"),
    ],
)
async def test_frame_that_the_state_does_not_allow_ends_the_link_by_name(
    frames: Frames, code: str, tmp_path: Path
) -> None:
    """Attacks 9 and 13: typed refusal; the gateway lives and takes the next link."""
    async with fort(tmp_path) as world:
        rogue = await world.honest("a")
        await rogue.begin()
        for frame in frames():
            await rogue.send(frame)
        assert await rogue.ended() == (Status.INVALID_ARGUMENT, code)
        await rogue.close()
        again = await world.honest("a")
        await again.begin()
        await again.send(batch((b"summary/site", b"good")))
        await again.expect("ack")
        await again.close()


async def test_verb_that_does_not_exist_is_denied(tmp_path: Path) -> None:
    """Attack 8: only put and delete of one key; a number in the field's place is neither."""
    async with fort(tmp_path) as world:
        rogue = await world.honest("a")
        await rogue.begin()
        frame = batch((b"summary/site", b"x"))
        frame.batch.items[0].verb = 7  # type: ignore[assignment]
        await rogue.send(frame)
        await rogue.expect("ack")
        assert not await keys_below(world.store, import_root("a"))
        assert hub_status(world).denied == {"import:verb-unknown": 1}
        await rogue.close()


async def test_doubled_and_foreign_frames_are_dropped(tmp_path: Path) -> None:
    """Attack 13: a replayed frame and a frame of another stream change nothing."""
    async with fort(tmp_path) as world:
        rogue = await world.honest("a")
        await rogue.begin()
        await rogue.send(batch((b"summary/site", b"new"), seq=2))
        await rogue.send(batch((b"summary/site", b"newer"), seq=3))
        await rogue.send(batch((b"summary/site", b"replayed"), seq=2))
        await rogue.send(batch((b"summary/site", b"of another stream"), seq=4, stream=8))
        await rogue.send(batch((b"summary/chains/t/last", b"x"), seq=4))
        await until(lambda: _has(world, "summary/chains/t/last"), "the last frame is stored")
        entry = await world.store.get(import_root("a") + "summary/site")
        assert entry is not None
        assert entry.value == b"newer"
        await rogue.close()


async def test_huge_message_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """Attack 9: 5 MiB in one frame, and a value over 64 KiB in a small one."""
    async with fort(tmp_path) as world:
        rogue = await world.honest("a")
        await rogue.begin()
        await rogue.send(batch((b"summary/site", b"x" * 5 * 1024 * 1024)))
        assert (await rogue.ended())[0] in (Status.RESOURCE_EXHAUSTED, Status.UNAVAILABLE)
        await rogue.close()
        again = await world.honest("a")
        await again.begin()
        await again.send(batch((b"summary/site", b"x" * 65 * 1024)))
        await again.expect("ack")
        assert not await keys_below(world.store, import_root("a"))
        assert hub_status(world).denied["import:quota-exceeded"] == 1
        await again.close()


async def test_peer_over_its_quota_keeps_what_it_had_and_hurts_nobody(tmp_path: Path) -> None:
    """G11, attack 18: further keys are refused and counted; replacing and deleting still work."""
    peer = PeerSettings(
        name="a",
        identity="spiffe://carrier.example/site/a/federation",
        quota=QuotaSettings(max_keys=10),
    )
    async with fort(tmp_path, peers=(peer,)) as world:
        rogue = await world.honest("a")
        await rogue.begin()
        keys = [b"summary/chains/t/c%d" % number for number in range(100)]
        await rogue.send(batch(*[(key, b"x") for key in keys]))
        await rogue.send(end(3))
        await rogue.send(batch((keys[0], b"y"), (keys[1], None), (b"summary/site", b"z"), seq=4))
        await until(lambda: _has(world, "summary/site"), "room again")
        held = await keys_below(world.store, import_root("a"))
        assert len(held) == 10
        assert hub_status(world).denied["import:quota-exceeded"] == 90
        await rogue.close()


async def test_peer_that_never_reads_and_never_acknowledges_is_bounded_then_cut(
    tmp_path: Path,
) -> None:
    """Attack 12: the window stops the sender, changes coalesce, and silence of acknowledgements ends it."""
    limits = QUICK.model_copy(
        update={"stalled_after_s": 1.5, "window_bytes": 64 * 1024, "batch_bytes": 16 * 1024}
    )
    async with fort(tmp_path, limits=limits) as world:
        for number in range(400):
            key = f"/isthmus/v1/outbox/a/intents/t/c{number}"
            await world.store.put(key, b"x" * 1000)
        rogue = await world.honest("a")
        await rogue.send(pb.Frame(resume=pb.Resume(window_bytes=2**31)))
        beating = asyncio.create_task(_beat(rogue.send))
        await until(lambda: hub_status(world).in_flight_bytes >= 64 * 1024, "window is full")
        for change in range(50):
            for number in range(20):
                key = f"/isthmus/v1/outbox/a/intents/t/c{number}"
                await world.store.put(key, b"%d" % change)
        status = hub_status(world)
        assert status.pending_keys <= 20, "one key changed fifty times waits once"
        assert status.in_flight_bytes <= 64 * 1024 + 16 * 1024 + 1024
        code, _ = await rogue.ended()
        beating.cancel()
        assert code is Status.UNAVAILABLE
        assert "acknowledged" in hub_status(world).last_error
        await rogue.close()


async def test_silent_connections_are_closed_and_honest_peers_unharmed(tmp_path: Path) -> None:
    """Attack 11: two hundred open sockets that never finish a handshake."""
    async with fort(tmp_path, handshake_timeout_ms=500) as world:
        address = ("127.0.0.1", world.gateway.port)
        held = [await asyncio.open_connection(*address) for _ in range(200)]
        began_s = time.monotonic()
        rogue = await world.honest("a")
        assert time.monotonic() - began_s < 5
        async with asyncio.timeout(10):
            for reader, _ in held:
                while await reader.read(4096):
                    pass
        for _, writer in held:
            writer.close()
        await rogue.close()


async def test_newer_link_of_a_peer_replaces_the_older(tmp_path: Path) -> None:
    """The old one may be half dead behind a cut: it must not keep the new one out."""
    async with fort(tmp_path) as world:
        first = await world.honest("a")
        second = await world.honest("a")
        assert await first.ended() == (Status.UNAVAILABLE, "superseded")
        await second.begin()
        await second.send(batch((b"summary/site", b"x")))
        await second.expect("ack")
        await first.close()
        await second.close()


async def _has(world: Fort, relative: str) -> bool:
    return await world.store.get(import_root("a") + relative) is not None


async def _beat(send) -> None:  # type: ignore[no-untyped-def]
    while True:
        await send(pb.Frame(beat=pb.Beat()))
        await asyncio.sleep(0.2)
