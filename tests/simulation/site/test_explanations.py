"""An explanation is about the decision that stands: whoever asked, whatever a function is called, whoever died."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.simulation.site.wishes import explained, record
from tests.simulation.site.world import HollowSite
from tests.support import eventually

from isthmus.contract.chain import ChainRecord, Explanation, Segment
from isthmus.contract.families import EXPLAIN, SPECS
from isthmus.kv.memory import MemoryStore
from isthmus.site import placer

WEB = {"tenant": "acme", "chain": "web"}


@pytest.fixture
async def site() -> AsyncIterator[HollowSite]:
    """One host, so that every decision names the same one; its intake is ours to play."""
    running = HollowSite(MemoryStore(), hosts=("h1",))
    running.start()
    await running.until_ready()
    await running.kill("intake")
    yield running
    await running.stop()


def carried(source: str = "local", function: str = "fw", chain: str = "web") -> ChainRecord:
    """What intake would have admitted."""
    segment = Segment.model_validate(
        {
            "tenant": "acme",
            "chain": chain,
            "left": {"kind": "attachment", "name": "milan-a"},
            "right": {"kind": "attachment", "name": "milan-b"},
            "functions": [
                {
                    "name": function,
                    "type": "firewall",
                    "resources": {"cpu_milli": 1, "memory_mib": 1},
                }
            ],
        }
    )
    return ChainRecord(segment=segment, source=source)


async def told(site: HollowSite, source: str, reason: str) -> Explanation:
    """Wait until the placer says so."""

    async def said() -> Explanation | None:
        one = await explained(site, "web", "placer")
        return one if one is not None and (one.source, one.reason) == (source, reason) else None

    found = await eventually(said, f"the placer tells {reason!r} for {source}", timeout_s=10)
    assert found is not None
    return found


async def test_another_source_is_told_although_the_hosts_are_the_same(site: HollowSite) -> None:
    """Why: "for whom does this run here?" was answered with whoever had asked first."""
    await site.put(SPECS.key(**WEB), carried("local"))
    await told(site, "local", "fw on h1")
    await site.put(SPECS.key(**WEB), carried("global"))
    await told(site, "global", "fw on h1")
    assert (await record(site, "web") or carried()).source == "global"


async def test_another_function_is_told_although_the_hosts_are_the_same(site: HollowSite) -> None:
    """Why: an explanation that names a function the chain no longer has explains nothing."""
    await site.put(SPECS.key(**WEB), carried("local"))
    await told(site, "local", "fw on h1")
    await site.put(SPECS.key(**WEB), carried("local", "guard"))
    await told(site, "local", "guard on h1")


async def test_a_placer_that_died_between_plan_and_explanation_is_made_up_for(
    site: HollowSite,
) -> None:
    """Why: the plan stood, so its next life took the explanation of the decision before for its own (G3)."""
    await site.put(SPECS.key(**WEB), carried("local"))
    stands = await told(site, "local", "fw on h1")
    await site.kill("placer")
    stale = stands.model_copy(update={"reason": "fw on h7"})
    await site.put(EXPLAIN.key(component="placer", **WEB), stale)
    site.start_component("placer")
    await told(site, "local", "fw on h1")


async def test_what_stands_is_not_told_again(site: HollowSite) -> None:
    """Why: the second best is searched for each time, and every write wakes whoever watches."""
    await site.put(SPECS.key(**WEB), carried())
    await told(site, "local", "fw on h1")
    key = EXPLAIN.key(component="placer", **WEB)
    before = await site.store.get(key)
    await site.kill("placer")
    site.start_component("placer")
    # By name: when a chain that comes later is explained, the ones before it were looked at.
    await site.put(SPECS.key(tenant="acme", chain="zzz"), carried(chain="zzz"))

    async def both() -> bool:
        return await explained(site, "zzz", "placer") is not None

    await eventually(both, "the next life has placed the neighbour")
    after = await site.store.get(key)
    assert before is not None
    assert after is not None
    assert after.mod_revision == before.mod_revision


def test_a_reason_that_was_cut_reads_back_as_the_same() -> None:
    """Why: were it another one once it lay in the store, the placer would write it anew for ever."""
    reason = ", ".join(f"a-function-with-a-long-name-{number:04} on h1" for number in range(400))
    fresh = Explanation(decision="accepted", reason=reason)
    stored = Explanation.model_validate_json(fresh.model_dump_json())
    assert len(fresh.reason) < len(reason)
    assert placer.gist(stored) == placer.gist(fresh)
