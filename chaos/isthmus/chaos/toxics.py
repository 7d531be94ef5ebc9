"""Faults of the control links, by toxiproxy: cut silently, lose, reset, heal; what is really in force is read back.

The client library is the named one (``toxiproxy-python``); it is synchronous, has no time-outs and swallows server
errors (measured), so it lives behind this port, in a thread with a deadline, and every change is read back.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from toxiproxy import Toxiproxy

TIMEOUT_S = 60.0
"""Taking a toxic off waits for receivers that do not read (17 s measured); 10 s were once too short after a cut of
50 s on a busy machine, for a reason not found."""

Stream = Literal["upstream", "downstream"]
BOTH: tuple[Stream, ...] = ("upstream", "downstream")
T = TypeVar("T")


class FaultNotInForce(Exception):
    """The proxy does not have the fault (or the absence of it) that it was told; an experiment on it proves nothing."""


@dataclass(slots=True)
class Toxics:
    """The proxies of one toxiproxy server at ``address`` (``host:port``). One server per process (library)."""

    address: str
    _server: Any = field(default=None)

    async def cut(self, link: str, *, streams: tuple[Stream, ...] = BOTH) -> None:
        """Nothing passes, nothing is lost: ``bandwidth`` 0 on the given directions. New connections hang, too."""
        await self.add(link, "cut", "bandwidth", {"rate": 0}, streams)

    async def lose(self, link: str, *, streams: tuple[Stream, ...] = BOTH) -> None:
        """Everything is taken and thrown away, while both ends believe in their connection: ``timeout`` without end."""
        await self.add(link, "lose", "timeout", {"timeout": 0}, streams)

    async def reset(self, link: str) -> None:
        """Each connection ends with a TCP reset at once, and each new one, until healed."""
        await self.add(link, "reset", "reset_peer", {"timeout": 0}, ("downstream",))

    async def add(
        self,
        link: str,
        name: str,
        kind: str,
        attributes: dict[str, int],
        streams: tuple[Stream, ...],
    ) -> None:
        """Any toxic of the server, by its ``kind`` and ``attributes``; FaultNotInForce when it did not take it."""
        wanted = {f"{name}-{stream}": stream for stream in streams}

        def do(server: Any) -> None:
            proxy = self._proxy(server, link)
            for full, stream in wanted.items():
                proxy.add_toxic(name=full, type=kind, stream=stream, attributes=attributes)

        await self._do(do)
        missing = wanted.keys() - await self.in_force(link)
        if missing:
            raise FaultNotInForce(
                f"{link}: {', '.join(sorted(missing))} was not taken by the proxy"
            )

    async def heal(self, link: str) -> None:
        """Take every toxic off a link."""

        def do(server: Any) -> None:
            proxy = self._proxy(server, link)
            for name in list(proxy.toxics()):
                proxy.destroy_toxic(name)

        await self._do(do)
        there = await self.in_force(link)
        if there:
            raise FaultNotInForce(f"{link}: {', '.join(sorted(there))} could not be taken off")

    async def in_force(self, link: str) -> set[str]:
        """Names of the toxics on a link, asked of the server."""
        return await self._do(lambda server: set(self._proxy(server, link).toxics()))

    @staticmethod
    def _proxy(server: Any, link: str) -> Any:
        proxy = server.get_proxy(link)
        if proxy is None:
            raise FaultNotInForce(f"the server has no proxy {link!r}")
        return proxy

    async def _do(self, work: Callable[[Any], T]) -> T:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await asyncio.to_thread(lambda: work(self._connected()))
        except TimeoutError:
            raise FaultNotInForce(f"the proxy did not answer within {TIMEOUT_S:.0f} s") from None

    def _connected(self) -> Any:
        if self._server is None:
            # The library obeys proxy variables even for a namespace's own address.
            os.environ["NO_PROXY"] = "*"
            host, _, port = self.address.rpartition(":")
            server = Toxiproxy()
            server.update_api_consumer(host, int(port))
            self._server = server
        return self._server
