"""Faults on a real toxiproxy: each does to bytes what its name says, and what is not in force is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest
from tests.support import eventually

from isthmus.chaos.toxics import FaultNotInForce, Toxics
from isthmus.deploy.binaries import find
from isthmus.deploy.etcd_process import free_port

LINK = "milan.gateway"


@dataclass
class Proxied:
    """An echo server behind a proxy."""

    toxics: Toxics
    port: int
    heard: bytearray = field(default_factory=bytearray)

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Through the proxy."""
        async with asyncio.timeout(5):
            return await asyncio.open_connection("127.0.0.1", self.port)


@pytest.fixture
async def proxied() -> AsyncIterator[Proxied]:
    """A server of our own with one proxy, and an echo behind it."""
    heard = bytearray()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                heard.extend(data)
                writer.write(data)
                await writer.drain()
        writer.close()

    upstream = await asyncio.start_server(echo, "127.0.0.1", 0)
    console, port = free_port(), free_port()
    binary = await find("toxiproxy-server")
    process = await asyncio.create_subprocess_exec(
        str(binary.path), "-host", "127.0.0.1", "-port", str(console),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    body = {
        "name": LINK, "listen": f"127.0.0.1:{port}", "enabled": True,
        "upstream": f"127.0.0.1:{upstream.sockets[0].getsockname()[1]}",
    }  # fmt: skip
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{console}", trust_env=False
        ) as client:

            async def made() -> bool:
                with contextlib.suppress(httpx.HTTPError):
                    return (await client.post("/proxies", json=body)).status_code == 201
                return False

            await eventually(made, "the proxy is there")
        yield Proxied(Toxics(f"127.0.0.1:{console}"), port, heard)
    finally:
        process.kill()
        await process.wait()
        upstream.close()
        await upstream.wait_closed()


async def test_a_cut_lets_nothing_pass_and_loses_nothing(proxied: Proxied) -> None:
    """Why: the promise about a cut site is worth nothing if the cut lets something through, or the heal loses bytes."""
    reader, writer = await proxied.dial()
    writer.write(b"before")
    async with asyncio.timeout(5):
        assert await reader.readexactly(6) == b"before"
    await proxied.toxics.cut(LINK)
    assert await proxied.toxics.in_force(LINK) == {"cut-upstream", "cut-downstream"}
    writer.write(b"during")
    await writer.drain()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await reader.read(1)
    assert bytes(proxied.heard) == b"before"
    await proxied.toxics.heal(LINK)
    async with asyncio.timeout(5):
        assert await reader.readexactly(6) == b"during", (
            "nothing was lost, the connection is the same"
        )
    writer.close()
    await writer.wait_closed()


async def test_a_lossy_link_swallows_and_does_not_say(proxied: Proxied) -> None:
    """Why: unlike a cut, what was sent meanwhile never arrives."""
    reader, writer = await proxied.dial()
    writer.write(b"before")
    async with asyncio.timeout(5):
        await reader.readexactly(6)
    await proxied.toxics.lose(LINK)
    assert await proxied.toxics.in_force(LINK) == {"lose-upstream", "lose-downstream"}
    writer.write(b"swallowed")
    await writer.drain()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await reader.read(1)
    await proxied.toxics.heal(LINK)
    fresh, other = await proxied.dial()
    other.write(b"after")
    async with asyncio.timeout(5):
        assert await fresh.readexactly(5) == b"after"
    assert b"swallowed" not in proxied.heard
    for one in (writer, other):
        one.close()
        with contextlib.suppress(OSError):
            await one.wait_closed()


async def test_a_reset_ends_connections_that_are_and_that_come(proxied: Proxied) -> None:
    """Why: a middlebox that forgot its state does this; and after the heal the next dial must work."""
    reader, writer = await proxied.dial()
    await proxied.toxics.reset(LINK)
    with contextlib.suppress(OSError):
        writer.write(b"x")
        await writer.drain()
    ended = b"?"
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionError):
            ended = await reader.read(1)
    assert ended in (b"", b"?"), "closed or reset, but not answered"
    await proxied.toxics.heal(LINK)
    fresh, other = await proxied.dial()
    other.write(b"after")
    async with asyncio.timeout(5):
        assert await fresh.readexactly(5) == b"after"
    for one in (writer, other):
        one.close()
        with contextlib.suppress(OSError):
            await one.wait_closed()


async def test_healing_a_whole_link_is_no_error(proxied: Proxied) -> None:
    """Why: clean-up runs whether or not the fault came to be."""
    await proxied.toxics.heal(LINK)
    assert await proxied.toxics.in_force(LINK) == set()


async def test_one_direction_can_be_cut_alone(proxied: Proxied) -> None:
    """Why: half-open links are the nasty ones."""
    await proxied.toxics.cut(LINK, streams=("downstream",))
    reader, writer = await proxied.dial()
    writer.write(b"up")
    await eventually(lambda: bytes(proxied.heard) == b"up", "it arrives above")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await reader.read(1)
    await proxied.toxics.heal(LINK)
    async with asyncio.timeout(5):
        assert await reader.readexactly(2) == b"up"
    writer.close()
    await writer.wait_closed()


async def test_a_link_nobody_knows_is_told(proxied: Proxied) -> None:
    """Why: an experiment on a misspelt link would find that everything survives."""
    for fault in (
        proxied.toxics.cut,
        proxied.toxics.lose,
        proxied.toxics.reset,
        proxied.toxics.heal,
    ):
        with pytest.raises(FaultNotInForce, match=r"no proxy 'rome\.gateway'"):
            await fault("rome.gateway")


async def test_a_proxy_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why: the library waits for ever; an experiment must end, with a reason, and without a trace at the user."""
    never = asyncio.Event()

    async def hangs(*_: object) -> None:
        await never.wait()

    monkeypatch.setattr(asyncio, "to_thread", hangs)
    monkeypatch.setattr("isthmus.chaos.toxics.TIMEOUT_S", 0.05)
    with pytest.raises(FaultNotInForce, match="did not answer within"):
        await Toxics("127.0.0.1:1").heal(LINK)


async def test_a_fault_the_proxy_did_not_take_is_told(
    proxied: Proxied, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why: the client library swallows server errors (measured), so everything is read back."""

    async def nothing(self: Toxics, link: str) -> set[str]:
        return set()

    monkeypatch.setattr(Toxics, "in_force", nothing)
    with pytest.raises(FaultNotInForce, match="cut-downstream, cut-upstream was not taken"):
        await proxied.toxics.cut(LINK)
