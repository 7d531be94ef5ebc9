"""What a tenant does not learn: names of hosts and instances, in whatever text they stand (attack 21).

Reasons are written for operators, by components that know no tenants. They are shown to tenants with those names taken
out: the number that decided stays, and so does what would help.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from isthmus.api.auth import Principal
from isthmus.api.desk import Desk
from isthmus.contract import Tier, families
from isthmus.contract.chain import Explanation

_INSTANCE = re.compile(r"\bi-[0-9a-f]{12}\b")


@dataclass(frozen=True, slots=True)
class Veil:
    """``hosts`` are the names of this site's hosts; none above the sites."""

    hosts: frozenset[str] = frozenset()

    def text(self, text: str) -> str:
        """``text`` without the names."""
        text = _INSTANCE.sub("an instance", text)
        if not self.hosts:
            return text
        longest_first = sorted(self.hosts, key=len, reverse=True)
        names = "|".join(re.escape(host) for host in longest_first)
        return re.sub(rf"(?<![\w.-])(?:{names})(?![\w-])", "a host", text)

    def explanation(self, explanation: Explanation) -> Explanation:
        """The same decision; what it says of other chains (how many a brake holds) and of hosts is left out."""
        told: dict[str, Any] = {
            "reason": self.text(explanation.reason),
            "nearest_relaxation": self.text(explanation.nearest_relaxation),
        }
        if self.hosts:
            told["candidates"] = ()
        if explanation.decision == "held":
            told["figures"] = {}
        return explanation.model_copy(update=told)

    def status(self, view: dict[str, Any]) -> dict[str, Any]:
        """A report as JSON, in place."""
        for function in view["functions"]:
            function.pop("host", None)
            function.pop("instance", None)
            function["phase"] = self.text(function["phase"])
        view["path"] = [without_host(step) for step in view["path"]]
        view["reason"] = self.text(view["reason"])
        return view


def without_host(step: str) -> str:
    """``site/host/function`` as a tenant sees it."""
    parts = step.split("/")
    return f"{parts[0]}/{parts[-1]}" if len(parts) == 3 else step


async def veil_for(desk: Desk, principal: Principal) -> Veil | None:
    """None for the operator, who sees everything."""
    if principal.is_operator:
        return None
    if desk.tier is not Tier.SITE:
        return Veil()
    found = await desk.snapshot(families.INVENTORY.prefix())
    parsed = (families.INVENTORY.parse(entry.key) for entry in found.entries)
    return Veil(frozenset(values["host"] for values in parsed if values is not None))
