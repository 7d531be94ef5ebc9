"""Breaking a promise on purpose: the demo must notice, or it proves nothing (issue 3, point 14)."""

from __future__ import annotations

import json
from typing import Any

from isthmus.chaos.demo.stage import Stage
from isthmus.contract import Stamp, seal, utc_seconds
from isthmus.contract.families import CONFIG
from isthmus.contract.ids import instance_id
from isthmus.contract.instance import InstanceConfig

KINDS = {
    "swap-order": "the first two functions of a chain change places",
    "no-firewall": "a firewall lets through what it should refuse",
    "leak": "a key of another site's scope is put where the partner gets it",
    "no-heal": "the site's microcontrollers are stopped before a function is lost",
    "fake-cut": "the control link is not cut at all",
}
SENTINEL_LEAK = "leaked-to-the-partner"


def swapped(spec: dict[str, Any]) -> dict[str, Any]:
    """The same chain with its first two functions in the wrong order."""
    functions = list(spec["functions"])
    functions[0], functions[1] = functions[1], functions[0]
    return {**spec, "functions": functions}


async def open_firewall(stage: Stage, tenant: str, chain: str, site: str) -> None:
    """Overwrite the firewall's configuration in the store: everything may pass."""
    instance = instance_id(tenant, chain, "fw")
    stamp = Stamp(origin="sabotage", incarnation="sabotage")
    body = InstanceConfig(type="firewall", version="1", parameters={"default_policy": "accept"})
    value = seal(body, stamp, as_of=utc_seconds(), generation=1_000_000)
    # The configurator would put it right again at once: it has to be away.
    await stage.lab.supervisor.stop(f"{site}.controllers")
    key = CONFIG.key(owner="configurator", instance=instance)
    await stage.peek(site, "put", key, value.decode())


async def leak(stage: Stage, partner: str, sentinel: str) -> None:
    """What a wrong policy at our end would do: somebody else's fact in the partner's outbox."""
    value = json.dumps({"schema": "WirePeer/1", "body": {"note": sentinel}})
    key = f"/isthmus/v1/outbox/{partner}/wires/{SENTINEL_LEAK}"
    await stage.peek("global", "put", key, value)
