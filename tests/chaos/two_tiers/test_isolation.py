"""A cut is a cut because there is no other way: nothing of a site answers to anybody outside it (DESIGN section 8)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import stat
import sys
from collections.abc import Sequence

import pytest
from tests.chaos.two_tiers.kit import MILAN, PARIS, SITES, ZURICH, World
from tests.support import eventually

from isthmus.deploy.lab.addresses import CONTROL_PORT, WAN
from isthmus.deploy.lab.spec import GLOBAL
from isthmus.vswitch import Node

KNOWN_PORTS = (22, 80, 443, 2379, 2380, 4789, CONTROL_PORT, 8474, 8080)

DIAL = """
import asyncio, json, sys
async def one(host, port):
    try:
        async with asyncio.timeout(1.0):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()
        return [host, port, "open"]
    except TimeoutError:
        return [host, port, "silent"]
    except OSError as error:
        return [host, port, "refused" if isinstance(error, ConnectionRefusedError) else "no way"]
async def main():
    wanted = json.loads(sys.argv[1])
    print(json.dumps(await asyncio.gather(*(one(*each) for each in wanted))))
asyncio.run(main())
"""

Target = tuple[str, int]


async def dial(netns: str | None, targets: Sequence[Target]) -> dict[Target, str]:
    """What a TCP connect from a namespace (None: the world's own) to each target comes to."""
    argv = (sys.executable, "-I", "-c", DIAL, json.dumps(targets))
    output = await Node(netns).run(*argv, timeout_s=30)
    return {(host, port): outcome for host, port, outcome in json.loads(output)}


async def listening(netns: str) -> set[int]:
    """Every TCP port somebody listens on in a namespace."""
    lines = (await Node(netns).run("ss", "-Hltn")).splitlines()
    return {int(line.split()[3].rpartition(":")[2]) for line in lines}


def namespaces(two: World) -> list[str | None]:
    """Everywhere somebody could dial from."""
    addresses = two.lab.addresses
    hosts = [addresses.host_netns(site, "h1") for site in SITES]
    customers = [addresses.customer_netns(f"{site}-a") for site in SITES]
    return [None, WAN, GLOBAL, *SITES, *hosts, *customers]


def addresses_of(two: World, site: str) -> list[str]:
    """Every address of a site that anybody could know."""
    addresses = two.lab.addresses
    return [
        addresses.tier(site),
        addresses.host_gateway(site, "h1"),
        addresses.host(site, "h1"),
        addresses.customer(f"{site}-a"),
    ]


async def test_nothing_of_a_site_answers_anybody_outside(two: World) -> None:
    """Why: a store that can be reached from outside makes certificates, roles and scopes the only line (R13, R61)."""
    targets: dict[str, list[Target]] = {}
    for site in SITES:
        heard = await listening(site)
        assert 2379 in heard, "etcd listens in here, or this test proves nothing"
        ports = {*KNOWN_PORTS, *heard}
        targets[site] = [(host, port) for host in addresses_of(two, site) for port in ports]
    open_ = []
    for netns in namespaces(two):
        foreign = [target for site in SITES if site != netns for target in targets[site]]
        found = await dial(netns, [*foreign, ("127.0.0.1", 2379)])
        within = found.pop(("127.0.0.1", 2379))
        assert within == ("open" if netns in (GLOBAL, *SITES) else "refused"), (netns, within)
        open_ += [(netns, target) for target, outcome in found.items() if outcome == "open"]
    assert open_ == []


@pytest.mark.parametrize("tier", [GLOBAL, *SITES])
async def test_the_api_is_a_file_that_only_its_owner_may_open(two: World, tier: str) -> None:
    """Why: whoever runs on the same machine must not be able to ask for chains, nor to read the secrets beside it."""
    socket = two.lab.files.api_socket(tier)
    assert stat.S_IMODE(two.lab.base.stat().st_mode) == 0o700
    assert socket.is_socket()
    text = await Node(tier).run("ss", "-Hlxn")
    abstract = [line for line in text.splitlines() if "@" in line.split()[4]]
    assert abstract == [], "a socket without a file has no owner to check"


@pytest.mark.parametrize("site", SITES)
async def test_a_site_reaches_its_proxy_and_nothing_else(two: World, site: str) -> None:
    """Why: a site that could go round its own proxy would not be cut off when the proxy is cut."""
    addresses = two.lab.addresses
    others = [tier for tier in (GLOBAL, *SITES) if tier != site]
    targets: list[Target] = [(addresses.wan(tier), CONTROL_PORT) for tier in others]
    targets += [(addresses.tier(tier), CONTROL_PORT) for tier in others]
    targets += [("10.99.0.2", 8474), (addresses.wan(site), 8474), ("10.99.0.1", 8474)]
    own = (addresses.wan(site), CONTROL_PORT)
    found = await dial(site, [*targets, own])
    assert found.pop(own) == "open"
    assert {target for target, outcome in found.items() if outcome == "open"} == set()


@pytest.mark.parametrize("source", ["milan-h1", "c-milan-a", "zurich-h1", None])
async def test_a_host_or_customer_does_not_reach_the_gateway(
    two: World, source: str | None
) -> None:
    """Why: the gateway's handshake is for sites; who carries packets has no business with it."""
    addresses = two.lab.addresses
    targets = [(addresses.wan(tier), CONTROL_PORT) for tier in (GLOBAL, *SITES)]
    targets.append((addresses.tier(GLOBAL), CONTROL_PORT))
    found = await dial(source, targets)
    assert {target for target, outcome in found.items() if outcome == "open"} == set()


@pytest.mark.parametrize(("source", "target"), [(MILAN, PARIS), (MILAN, GLOBAL), (ZURICH, GLOBAL)])
async def test_the_wan_forwards_no_tcp_between_tiers(two: World, source: str, target: str) -> None:
    """Why: seen on the wire at the far end, since a connect that fails may still have been forwarded."""
    address = two.lab.addresses.tier(target)
    capture = await asyncio.create_subprocess_exec(
        *Node(target).command(
            "tcpdump", "-n", "-l", "-c", "1", "-i", "wan", "tcp dst port 9999 and tcp[13] & 2 != 0"
        ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert capture.stdout is not None
    assert capture.stderr is not None
    try:
        async with asyncio.timeout(20):
            while b"listening on" not in await capture.stderr.readline():
                assert capture.returncode is None
            await dial(source, [(address, 9999)])
            await dial(WAN, [(address, 9999)])  # this one is seen: the capture works
            first = (await capture.stdout.readline()).decode()
    finally:
        with contextlib.suppress(ProcessLookupError):
            capture.kill()
        await capture.wait()
    assert f"{two.lab.addresses.wan(target)}." in first, first


async def test_data_wires_pass_where_tcp_does_not(two: World) -> None:
    """Why: the rules must not be right because everything is shut."""
    await two.passes("milan-a", "paris-a")

    async def counted() -> bool:
        text = await Node(WAN).run("ip", "-j", "-s", "link", "show", "dev", "t1")
        return int(json.loads(text)[0]["stats64"]["rx"]["packets"]) > 0

    await eventually(counted, "packets came from milan")
