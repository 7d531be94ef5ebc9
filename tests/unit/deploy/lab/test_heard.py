"""A lab is ready when its tier knows the room of every site: what that means, on an API made by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from isthmus.deploy.lab.heard import heard, silent
from isthmus.deploy.lab.spec import LabSite, LabSpec

SPEC = LabSpec(sites=(LabSite(site="milan"), LabSite(site="paris")))
ROOM = {"hosts_up": 1}


@dataclass
class Files:
    """Where a lab's files would be."""

    def api_socket(self, tier: str) -> Path:
        """Not dialled: the transport is given."""
        return Path(f"/nowhere/{tier}")

    def log(self, tier: str, process: str) -> Path:
        """What an error names."""
        return Path(f"/logs/{tier}/{process}.log")


@dataclass
class Tier:
    """Answers with one of ``states`` after the other, then with the last for ever."""

    states: list[httpx.Response | None]
    spec: LabSpec = SPEC
    files: Any = field(default_factory=Files)
    asked: int = 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        """One look."""
        assert request.url.path == "/v1/sites"
        state = self.states[min(self.asked, len(self.states) - 1)]
        self.asked += 1
        if state is None:
            raise httpx.ConnectError("not there yet", request=request)
        return state

    async def heard(self, timeout_s: float = 30.0) -> None:
        """Wait for it."""
        await heard(self, timeout_s=timeout_s, transport=httpx.MockTransport(self.answer))


def sites(**rows: tuple[str, dict[str, int] | None]) -> dict[str, Any]:
    """A list of sites as the API gives it."""
    return {
        "sites": [
            {"site": site, "state": state, "summary": summary}
            for site, (state, summary) in rows.items()
        ]
    }


@pytest.mark.parametrize(
    ("paris", "missing"),
    [
        (("alive", ROOM), ()),
        (("unknown", None), ("paris",)),
        (("alive", None), ("paris",)),
        (("alive", {"hosts_up": 0}), ("paris",)),
        (("cut-off", ROOM), ("paris",)),
    ],
)
def test_only_a_site_with_a_host_that_is_up_counts(
    paris: tuple[str, dict[str, int] | None], missing: tuple[str, ...]
) -> None:
    """Why: a site that is known but whose host did not register yet has no room; a chain would be refused."""
    assert silent(sites(milan=("alive", ROOM), paris=paris), SPEC) == missing


def test_a_registered_site_that_is_not_listed_is_missing() -> None:
    """Why: an empty list is no word of anybody."""
    assert silent({"sites": []}, SPEC) == ("milan", "paris")


async def test_it_waits_until_the_last_site_has_told() -> None:
    """Why: an API that is not up, one whose store is not, and half the world are no reason to give up or to go on."""
    half = httpx.Response(200, json=sites(milan=("alive", ROOM)))
    whole = httpx.Response(200, json=sites(milan=("alive", ROOM), paris=("alive", ROOM)))
    tier = Tier([None, httpx.Response(503), half, whole])
    await tier.heard()
    assert tier.asked == 4


async def test_who_said_nothing_is_named_with_the_log_to_read() -> None:
    """Why: "timeout" sends an operator to six logs."""
    tier = Tier([httpx.Response(200, json=sites(milan=("alive", ROOM)))])
    with pytest.raises(TimeoutError, match=r"room from paris; see /logs/paris/link\.log"):
        await tier.heard(timeout_s=0.05)


async def test_a_lab_without_a_tier_waits_for_nobody() -> None:
    """Why: there is no list of sites to ask for."""
    tier = Tier([None], spec=SPEC.model_copy(update={"tier": False}))
    await tier.heard()
    assert tier.asked == 0
