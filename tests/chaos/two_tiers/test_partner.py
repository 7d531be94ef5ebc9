"""The partner: sees its own segment, decides by its own policy, and shows nothing of its own (G8, R61)."""

from __future__ import annotations

import json
from typing import Any

from tests.chaos.two_tiers.kit import MILAN, PARIS, ROOT, SWISS, TENANT, WEB, ZURICH, World
from tests.support import eventually

from isthmus.deploy.lab.spec import GLOBAL

SENTINEL = "sentinel-7c41d09e"
VALUE = json.dumps({"schema": "Sentinel/1", "body": {"text": SENTINEL}}).encode()


def everything_of(two: World, site: str) -> dict[str, str]:
    """All that a site's operator could read of the link: its tap and every log of its processes."""
    found = {"wire": two.lab.files.path(site, "tap.jsonl").read_text()}
    for path in (two.lab.base / "logs").glob(f"{site}.*.log"):
        found[path.name] = path.read_text(errors="replace")
    return found


async def api_of(two: World, tier: str) -> str:
    """All that a tier's API tells."""
    text = ""
    for path in ("/v1/chains", "/v1/sites", "/v1/events"):
        answer = await two.stage.api(tier).get(path)
        assert answer.status_code == 200, (path, answer.text)
        text += answer.text
    for row in (await two.stage.api(tier).get("/v1/chains")).json()["chains"]:
        chain = f"/v1/chains/{row['tenant']}/{row['chain']}"
        text += (await two.stage.api(tier).get(chain)).text
        text += (await two.stage.api(tier).get(f"{chain}/explain")).text
    return text


async def test_no_sentinel_of_a_foreign_scope_reaches_the_partner(two: World) -> None:
    """Why: a filter that is right for today's keys proves little; so every family and every neighbour of the partner's
    own prefix carries a word that must not arrive, and a later change that must arrive ends the wait.
    """
    foreign = [
        "requests/local/acme/sentinel", "intents/acme/sentinel", "placements/acme/sentinel",
        "explain/placer/acme/sentinel", "status/acme/sentinel", "wires/w-sentinel", "vnis/999",
        "regions/sentinel", "links/zurich/sentinel", "sites/sentinel", "events/placer/sentinel",
        f"outbox/{MILAN}/intents/acme/sentinel", f"outbox/{PARIS}/wires/w-sentinel",
        f"outbox/{ZURICH}x/intents/acme/sentinel", f"outbox/{ZURICH}0/wires/sentinel",
        f"outbox/{ZURICH}", f"outbox/{ZURICH}-/wires/x", f"outbox/{ZURICH}/status/acme/sentinel",
        f"outbox/{ZURICH}/summary/site", f"outbox/{ZURICH}/intentsx/acme/sentinel",
        f"remote/{MILAN}/summary/chains/acme/sentinel", f"remote/{PARIS}/summary/wires/w-s",
    ]  # fmt: skip
    for key in foreign:
        await two.stores[GLOBAL].put(ROOT + key, VALUE)
    for site in (MILAN, PARIS):
        for key in ("summary/peers/zurich/chains/acme/sentinel", "specs/acme/sentinel",
                    "inventory/sentinel", "summary/peers/global/wires/w-sentinel"):  # fmt: skip
            await two.stores[site].put(ROOT + key, VALUE)
    try:
        marker = f"{ROOT}outbox/{ZURICH}/wires/w-marker"
        await two.stores[GLOBAL].put(marker, b'{"marker": 1}')
        arrived = f"{ROOT}remote/{GLOBAL}/wires/w-marker"

        async def there() -> bool:
            return arrived in await two.keys(ZURICH)

        await eventually(there, "the later change has arrived")
        seen = {"store": await two.text(ZURICH), "API": await api_of(two, ZURICH)}
        seen |= everything_of(two, ZURICH)
        assert "w-marker" in seen["wire"], "the tap hears the wire, or this proves nothing"
        assert [where for where, text in seen.items() if SENTINEL in text] == []
        told = seen["store"] + seen["API"]
        assert MILAN not in told, "the partner hears of no site beyond its neighbour in a chain"
        assert SWISS in seen["store"]
        assert f"/{WEB}" not in seen["store"] + seen["wire"]
    finally:
        for tier in (GLOBAL, MILAN, PARIS):
            for key, value in (await two.keys(tier)).items():
                if value == VALUE or key.endswith("w-marker"):
                    await two.stores[tier].delete(key)


async def test_the_partner_refuses_a_tenant_its_policy_does_not_list(two: World) -> None:
    """Why: the site decides what it carries; the tier above only asks (DESIGN section 6, attack 19)."""
    wanted = two.chain("rivals", "paris-c", "zurich-c", tenant="rival")
    await two.stage.apply(wanted)
    path = "/v1/chains/rival/rivals"

    async def refused() -> dict[str, Any] | None:
        row: dict[str, Any] = (await two.stage.api().get(path)).json().get("row", {})
        return row if row.get("phase") in ("refused", "failed", "degraded") else None

    row = await eventually(refused, "the tier reports the refusal")
    assert row is not None
    print(f"reason: {row['phase']}: {row['reason']}")
    assert "rival" in row["reason"]
    assert ZURICH in row["reason"]
    specs = await two.keys(ZURICH, f"{ROOT}specs/")
    assert not [key for key in specs if "/rival/" in key]
    await two.stage.phase(SWISS, "running")


async def test_the_partners_own_chains_never_appear_above(two: World) -> None:
    """Why: what a partner does for its own customers is none of the carrier's business, not even as a name (R61)."""
    private = two.chain("helvetia-private", "zurich-d", "zurich-e") | {"tenant": TENANT}
    await two.run(private, tier=ZURICH)
    await two.passes("zurich-d", "zurich-e")
    await two.run(
        two.chain("after", "paris-d", "zurich-f")
    )  # has crossed, so the other would have, too
    seen = {
        "store": await two.text(GLOBAL),
        "API": await api_of(two, GLOBAL),
        "wire": two.lab.files.path(ZURICH, "tap.jsonl").read_text(),
        "milan": await two.text(MILAN),
        "paris": await two.text(PARIS),
    }
    for path in (two.lab.base / "logs").glob("global.*.log"):
        seen[path.name] = path.read_text(errors="replace")
    assert "after" in seen["store"]
    assert "after" in seen["wire"]
    assert [where for where, text in seen.items() if "helvetia-private" in text] == []
