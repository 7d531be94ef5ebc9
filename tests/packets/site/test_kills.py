"""Control planes die, packets do not notice (G1, G14): each microcontroller is a process, killed -9 under a probe."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.packets.site import kit
from tests.packets.site.kit import (
    OPEN_PORT,
    SHUT_PORT,
    SITE,
    Site,
    chain,
    deny,
    firewall,
    limiter,
    nat,
)
from tests.support import eventually

from isthmus.site.assembly import component_names
from isthmus.site.settings import SiteSettings

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def milan() -> AsyncIterator[Site]:
    """One host, and one process per microcontroller."""
    async with kit.one_site(hosts=1) as site:
        await site.lab.supervisor.stop(f"{SITE}.controllers")
        file = str(site.lab.base / SITE / "site.json")
        for component in components(site):
            site.lab.start(SITE, component, "isthmus.site.main", "--settings", file, component)
        await site.ready(len(components(site)))
        yield site


def components(site: Site) -> tuple[str, ...]:
    """Every microcontroller of the site."""
    return component_names(SiteSettings.model_validate(site.settings()))


def pid(site: Site, process: str) -> int | None:
    """The process id of a supervised process of the site."""
    return site.lab.supervisor.status_of(f"{SITE}.{process}").pid


async def killed(site: Site, process: str) -> None:
    """Kill -9 and wait for the next life."""
    before = pid(site, process)
    assert site.lab.supervisor.kill(f"{SITE}.{process}")

    async def another() -> bool:
        now = pid(site, process)
        return now is not None and now != before

    await eventually(another, f"{process} is started again", timeout_s=40)


async def test_every_microcontroller_dies_and_no_packet_does(site: Site) -> None:
    """Why: packets must not depend on any control plane, and no death may cost the chain its shape."""
    spec = chain("stay", [firewall(deny("tcp", SHUT_PORT)), nat(), limiter()])
    await site.run_chain(spec)
    await site.customer("a2").echo()
    await site.greet("a2", SHUT_PORT)
    lives = {name: await site.runtime(name, spec, "h1") for name in ("fw", "nat", "lim")}
    probe = await site.customer("a1").probe(site.address("a2"))
    for component in components(site):
        await killed(site, component)
    await site.ready(len(components(site)))
    assert await site.connect("a1", "a2", SHUT_PORT) == "ConnectionRefusedError"
    await site.run_chain(chain("new", [firewall(), limiter()], ends="b1 b2"))
    await site.ping("b1", "b2")
    await site.api.until("acme", "stay", "running")
    report = await probe.finish()
    assert report["lost"] == 0, f"{report['lost']} of {report['sent']} lost"
    assert lives == {name: await site.runtime(name, spec, "h1") for name in lives}


async def test_all_at_once_die_in_the_middle_of_an_apply(site: Site) -> None:
    """Why: a half-made chain is finished by whoever comes back; nobody has to ask again."""
    spec = chain("half", [firewall(), nat(), limiter()])
    answer = await site.api.apply(spec)
    assert answer.status_code == 201, answer.text
    for component in components(site):
        site.lab.supervisor.kill(f"{SITE}.{component}")
    await site.api.until("acme", "half", "running", 90.0)
    await site.ping("a1", "a2")


async def test_the_store_dies_and_no_packet_does(site: Site) -> None:
    """Why: etcd is the manager's memory, not the network's; when it is back, everybody finds his place by himself."""
    await site.run_chain(chain("store", [firewall(), limiter()]))
    await site.customer("a2").echo()
    probe = await site.customer("a1").probe(site.address("a2"))
    for _ in range(2):
        await killed(site, "etcd")
        await site.lab.supervisor.wait_ready(f"{SITE}.etcd", 60)
    await site.run_chain(chain("afterwards", [firewall(), nat()], ends="b1 b2"))
    await site.ping("b1", "b2")
    await site.api.until("acme", "store", "running")
    report = await probe.finish()
    assert report["lost"] == 0, f"{report['lost']} of {report['sent']} lost"


async def test_the_agent_dies_and_the_rules_stay(site: Site) -> None:
    """Why: rules are in the kernel; without the agent they stand still, with it they can change again."""
    spec = chain("agent", [firewall(deny("tcp", SHUT_PORT))])
    await site.run_chain(spec)
    await site.customer("a2").echo()
    await site.greet("a2", OPEN_PORT, SHUT_PORT)
    probe = await site.customer("a1").probe(site.address("a2"))
    await killed(site, "agent.h1")
    assert await site.connect("a1", "a2", SHUT_PORT) == "ConnectionRefusedError"
    assert await site.connect("a1", "a2", OPEN_PORT) == site.address("a1")
    await site.update(chain("agent", [firewall(deny("tcp", OPEN_PORT))]), "fw")
    assert await site.connect("a1", "a2", SHUT_PORT) == site.address("a1")
    assert await site.connect("a1", "a2", OPEN_PORT) == "ConnectionRefusedError"
    report = await probe.finish()
    assert report["lost"] == 0, f"{report['lost']} of {report['sent']} lost"


async def test_a_sandbox_lost_while_the_launcher_is_dead_is_found_and_healed(site: Site) -> None:
    """Why: what happened while nobody looked must be seen by whoever comes back."""
    spec = chain("blind", [firewall(), limiter()])
    await site.run_chain(spec)
    before = await site.runtime("fw", spec)
    await site.lab.supervisor.stop(f"{SITE}.launcher.h1")
    await site.lose(before.netns)
    file = str(site.lab.base / SITE / "site.json")
    site.lab.start(SITE, "launcher.h1", "isthmus.site.main", "--settings", file, "launcher.h1")

    async def next_life() -> bool:
        now = await site.runtime("fw", spec)
        return now.incarnation == before.incarnation + 1 and now.phase == "running"

    await eventually(next_life, "the sandbox lives again", timeout_s=40)
    await site.api.until("acme", "blind", "running", 60.0)
    await site.ping("a1", "a2")
