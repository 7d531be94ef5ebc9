"""Gateways behind one name with several addresses, as sites find them (issue 7, point 7): a real resolver, real TLS.

The names are in a hosts file of this world's own, mounted over the machine's: what a site's resolver reads.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.attacks.federation.kit import (
    Fort,
    fort,
    greeting,
    operators,
    rogue_gateway,
    site_link,
)
from tests.federation_support import until
from tests.integration.federation.connect_proxy import connect_proxy

from isthmus.deploy import kernel
from isthmus.deploy.world import in_world
from isthmus.federation.dialer import SiteLink
from isthmus.federation.gateway import Gateway
from isthmus.federation.run import real_clocks
from isthmus.kv.memory import MemoryStore

pytestmark = pytest.mark.world

NAME = "gateways.carrier.test"
ONE, OTHER, THIRD = "127.0.0.2", "127.0.0.3", "127.0.0.4"
Names = Callable[..., None]


@pytest.fixture
def names(tmp_path: Path) -> Iterator[Names]:
    """Say where NAME leads, from now on."""
    assert in_world(), "never over the machine's own names"
    file = tmp_path / "hosts"

    def lead(*addresses: str) -> None:
        file.write_text("127.0.0.1 localhost\n" + "".join(f"{one} {NAME}\n" for one in addresses))

    lead()
    kernel.mount(str(file), "/etc/hosts", flags=kernel.MS_BIND)
    try:
        yield lead
    finally:
        subprocess.run(["umount", "/etc/hosts"], check=True, timeout=10)


class Dials:
    """Servers that count who calls them and hang up at once, so that the site dials again and again."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.link: SiteLink | None = None
        self.errors: Counter[str] = Counter()

    async def sleep(self, pause_s: float) -> None:
        """No pause; how the dial ended is noted."""
        if self.link is not None:
            self.errors[self.link.status().last_error] += 1

    @contextlib.asynccontextmanager
    async def server(self, us: Any, address: str, port: int = 0) -> AsyncIterator[int]:
        async def script(context: Any) -> None:
            await context.read()
            self.calls[address] += 1
            await context.write(greeting("global").SerializeToString())

        async with rogue_gateway(us, script, f"{address}:{port}") as port:
            yield port


async def test_dials_spread_over_the_addresses_of_a_name(names: Names, tmp_path: Path) -> None:
    """Why: gRPC takes the address that sorts first, so all sites would crowd one gateway and the others idle. Of 64
    dials none at one of two is a chance of 1 in 10^19. (Mutant: no service config: 64 to 0.)"""
    us, _ = operators()
    names(ONE, OTHER)
    dials = Dials()
    async with (
        dials.server(us, ONE) as port,
        dials.server(us, OTHER, port),
        site_link(tmp_path, us, port, MemoryStore(), sleep=dials.sleep, dial=(f"{NAME}:{port}",)),
    ):
        await until(lambda: dials.calls.total() >= 64, "64 dials")
    assert dials.calls[ONE]
    assert dials.calls[OTHER]
    print(f"64 dials and some: {dict(dials.calls)}")


@contextlib.contextmanager
def refusing(port: int) -> Iterator[str]:
    """Nobody listens."""
    yield ONE


@contextlib.contextmanager
def frozen(port: int) -> Iterator[str]:
    """A process that was stopped: its kernel takes calls, nobody answers."""
    with socket.socket() as listener:
        listener.bind((ONE, port))
        listener.listen(64)
        yield ONE


@contextlib.contextmanager
def swallowing(port: int) -> Iterator[str]:
    """A firewall, or a machine that is gone: packets vanish."""
    table = "isthmus-test-black-hole"
    rules = (
        f"table inet {table} {{ chain input {{ type filter hook input priority 0; "
        f"ip daddr {ONE} tcp dport {port} drop; }}; }}\n"
    )
    subprocess.run(["nft", "-f", "-"], input=rules.encode(), check=True, timeout=10)
    try:
        yield ONE
    finally:
        subprocess.run(["nft", "delete", "table", "inet", table], check=True, timeout=10)


@pytest.mark.parametrize("bad", [refusing, frozen, swallowing])
async def test_no_dial_fails_while_one_address_of_the_name_answers(
    bad: Callable[[int], contextlib.AbstractContextManager[str]], names: Names, tmp_path: Path
) -> None:
    """Why: half of the sites hit the bad address first; that must cost them a moment within the connect time-out, not
    the dial. (Mutant: one address a dial.) What it cost on the way is 250 ms: 8 dials are enough to see both orders."""
    us, _ = operators()
    dials = Dials()
    async with dials.server(us, OTHER) as port:
        with bad(port) as address:
            names(address, OTHER)
            async with site_link(
                tmp_path, us, port, MemoryStore(), sleep=dials.sleep, dial=(f"{NAME}:{port}",)
            ) as dials.link:
                await until(lambda: dials.errors.total() >= 8, "8 dials")
    assert not [error for error in dials.errors if "no connection" in error], "each one arrived"


@contextlib.asynccontextmanager
async def at(world: Fort, address: str) -> AsyncIterator[Gateway]:
    """Another gateway of the same tier, at the same port of another address."""
    settings = world.settings.model_copy(update={"listen": f"{address}:{world.gateway.port}"})
    gateway = Gateway(settings, world.store, real_clocks())
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop(0.1)


async def test_the_next_dial_goes_where_the_name_leads_by_then(
    names: Names, tmp_path: Path
) -> None:
    """Why: an operator moves a tier by its name; a site that keeps addresses would call a house that is torn down.
    From no address at all, to one, to a dead and a living one, to a third. (Mutant: dial on one channel for ever.)"""
    async with fort(tmp_path, listen=f"{ONE}:0") as world:
        port = world.gateway.port
        async with (
            at(world, OTHER) as other,
            at(world, THIRD) as third,
            site_link(tmp_path, world.us, port, MemoryStore(), dial=(f"{NAME}:{port}",)) as link,
        ):

            def linked(gateway: Gateway) -> bool:
                return any(one.connected for one in gateway.status()) and link.status().synced

            await until(lambda: "no connection" in link.status().last_error, "no such name")
            names(ONE)
            await until(lambda: linked(world.gateway), "at the first")
            names(ONE, OTHER)
            before = link.status().reconnects
            await world.gateway.stop(0.1)
            await until(lambda: linked(other), "at the one of two that lives")
            assert link.status().reconnects == before + 1, "by one dial"
            names(THIRD)
            await other.stop(0.1)
            await until(lambda: linked(third), "where the name leads now")
            assert link.status().reconnects == before + 2


async def test_behind_a_proxy_the_name_is_the_proxys_to_resolve(
    names: Names, tmp_path: Path
) -> None:
    """Why: a site in a closed network has no resolver for the world outside, and need not have."""
    us, _ = operators()
    async with (
        connect_proxy(refuse=True) as proxy,
        site_link(
            tmp_path, us, 1, MemoryStore(), dial=(f"{NAME}:7443",), proxy=f"127.0.0.1:{proxy.port}"
        ),
    ):
        await until(lambda: len(proxy.asked) >= 2, "it was asked, and again")
    assert set(proxy.asked) == {f"CONNECT {NAME}:7443"}
