"""What the white paper promises of a site, on real packets: the manager is in nobody's way (R15, R16, R24)."""

from __future__ import annotations

import json

import pytest
from tests.packets.site import kit
from tests.packets.site.kit import OPEN_PORT, SHUT_PORT, SITE, Site, chain, deny, firewall
from tests.support import eventually

from isthmus.contract.ids import instance_id

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_without_any_microcontroller_a_put_changes_what_passes(site: Site) -> None:
    """Why: the VNF applies its configuration by itself (R24); if it needs the manager for it, the paper is not kept."""
    spec = chain("paper", [firewall(deny("tcp", OPEN_PORT))])
    await site.run_chain(spec)
    await site.greet("a2", OPEN_PORT, SHUT_PORT)
    assert await site.connect("a1", "a2", OPEN_PORT) == "ConnectionRefusedError"
    assert await site.connect("a1", "a2", SHUT_PORT) == site.address("a1")

    await site.lab.supervisor.stop(f"{SITE}.controllers")
    assert site.lab.supervisor.status_of(f"{SITE}.controllers").pid is None
    instance = instance_id("acme", "paper", "fw")
    other = {"default_policy": "accept", "rules": [deny("tcp", SHUT_PORT)]}
    await site.put_config(instance, "firewall", other, generation=7)

    async def open_now() -> bool:
        return await site.connect("a1", "a2", OPEN_PORT) == site.address("a1")

    await eventually(open_now, "the port that was blocked lets connections through")
    assert await site.connect("a1", "a2", SHUT_PORT) == "ConnectionRefusedError"
    applied = await site.applied(instance)
    assert applied is not None
    assert applied.config_generation == 7

    spec_of_controllers = site.lab.start(
        SITE, "controllers", "isthmus.site.main", "--settings",
        str(site.lab.base / SITE / "site.json"), "--all",
    )  # fmt: skip
    assert spec_of_controllers == f"{SITE}.controllers"
    await site.ready()

    async def declared_again() -> bool:
        return await site.connect("a1", "a2", OPEN_PORT) == "ConnectionRefusedError"

    await eventually(declared_again, "the manager that is back puts in force what was declared")


async def test_the_infrastructure_never_hears_of_chains_or_functions(site: Site) -> None:
    """Why: a narrow infrastructure can be replaced; one that knows firewalls cannot (R16, R17)."""
    spec = chain(
        "secretchain",
        [
            firewall(deny("tcp", 4711), name="guardian"),
            kit.nat("masquerader"),
            kit.limiter("throttle", rate_kbps=77_777),
        ],
        tenant="sampletenant",
    )
    answer = await site.api.apply(spec)
    assert answer.status_code == 201, answer.text
    await site.api.until("sampletenant", "secretchain", "running")
    lost = await site.runtime("guardian", spec)
    await site.lose(lost.netns)

    async def healed() -> bool:
        return (await site.runtime("guardian", spec)).incarnation == 2

    await eventually(healed, "a second life was ordered from the infrastructure")
    await site.api.until("sampletenant", "secretchain", "running")

    lines = (site.lab.base / SITE / "infrastructure-calls.jsonl").read_text().splitlines()
    calls = [json.loads(line) for line in lines]
    made = {(call["port"], call["call"]) for call in calls}
    assert {("compute", "ensure_instance"), ("fabric", "ensure_attachment")} <= made
    assert any(c.get("spec", {}).get("instance_id") == lost.instance for c in calls)
    text = "\n".join(lines).lower()
    for word in (
        "sampletenant", "secretchain", "guardian", "masquerader", "throttle", "firewall", "nat\"",
        "limiter", "4711", "77777", kit.NAT_ADDRESS, "default_policy", "acme",
    ):  # fmt: skip
        assert word not in text, f"{word!r} reached the infrastructure"
