"""A customer's server and client on loopback: what they say is what the demo's statements are made of."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator, Iterator

import pytest

from isthmus.chaos import customer

MODULE = (sys.executable, "-m", "isthmus.chaos.customer")


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port nobody listens on: bound without listening, so nobody else takes it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextlib.asynccontextmanager
async def served(text: str) -> AsyncIterator[int]:
    """The server as a process; its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    options = ("--bind", "127.0.0.1", "--text", text, "--ports", str(port))
    process = await asyncio.create_subprocess_exec(
        *MODULE, "serve", *options, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            assert await process.stdout.readline() == b"serving\n"
        yield port
    finally:
        process.terminate()
        async with asyncio.timeout(10):
            assert await process.wait() == 0, "SIGTERM is a clean end"


async def test_a_client_gets_the_servers_text_and_its_own_address() -> None:
    """Why: "the NAT hides the customer" is judged by the address the server saw."""
    async with served("premises b") as port:
        answer = await customer.get("127.0.0.1", port)
    assert answer["ok"] is True
    assert (answer["text"], answer["from"]) == ("premises b", "127.0.0.1")
    assert isinstance(answer["ms"], float)


async def test_open_refused_and_silent_are_three_answers(
    free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why: "a port is refused" must not be true because the network is down."""
    async with served("x") as port:
        assert (await customer.connect("127.0.0.1", port))["outcome"] == "open"
    assert (await customer.connect("127.0.0.1", free_port))["outcome"] == "refused"

    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(customer, "TIMEOUT_S", 0.05)
    monkeypatch.setattr(asyncio, "open_connection", never)
    assert (await customer.connect("127.0.0.1", free_port))["outcome"] == "silent"


async def test_a_server_that_says_nonsense_is_no_answer(free_port: int) -> None:
    """Why: something else on that port must not look like the customer's server."""
    assert await customer.get("127.0.0.1", free_port) == {"ok": False, "error": "refused"}

    async def nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail\r\n\r\nhello")
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert (await customer.get("127.0.0.1", port))["ok"] is False
    server.close()
    await server.wait_closed()


async def test_a_client_that_never_asks_does_not_stop_the_server() -> None:
    """Why: a port scan in the middle of a demo must not turn a promise."""
    async with served("x") as port:
        mute = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        assert (await customer.get("127.0.0.1", port))["ok"] is True
        for _, writer in mute:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def test_the_command_answers_with_one_line_of_json(free_port: int) -> None:
    """Why: the demo reads exactly that from a namespace."""
    for verb in ("get", "connect"):
        process = await asyncio.create_subprocess_exec(
            *MODULE, verb, "127.0.0.1", str(free_port), stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(30):
            output, _ = await process.communicate()
        assert process.returncode == 0
        (line,) = output.decode().splitlines()
        assert "refused" in json.loads(line).values()
