"""Whoever keeps revocations from us keeps a stolen certificate alive: partners are cut when our list is too old."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import pytest
from pydantic import ValidationError
from tests.attacks.federation.kit import QUICK, Fort, fort

from isthmus.federation import LinkLimits
from isthmus.federation.settings import SiteLinkSettings
from isthmus.trust.revocation import RevocationList

Status = grpc.StatusCode
MAX_AGE_S = 60.0


def issue(folder: Path, version: int, age_s: float) -> None:
    """A list that names nobody, issued so long ago."""
    path = folder / "revoked.json"
    path.write_bytes(RevocationList(version, time.time() - age_s).to_json())
    path.chmod(0o644)


async def refused(world: Fort, name: str) -> tuple[grpc.StatusCode, str]:
    """How dialling as ``name`` ends."""
    operator, realm = (world.them, "site/a") if name == "p" else (world.us, f"site/{name}")
    rogue = await world.dial(*operator.issue("federation", realm))
    answer = await rogue.refused()
    await rogue.close()
    return answer


@pytest.mark.parametrize("written", [True, False], ids=["old", "never-written"])
async def test_a_partner_is_not_let_in_on_old_knowledge_and_own_sites_are(
    tmp_path: Path, written: bool
) -> None:
    """Why: let in at each dialling and cut a second later, a partner had that second again and again. Own sites stay:
    autonomy comes first."""
    if written:
        issue(tmp_path, 1, age_s=MAX_AGE_S + 30)
    async with fort(tmp_path, partner_list_max_age_s=MAX_AGE_S) as world:
        assert await refused(world, "p") == (Status.UNAUTHENTICATED, "revocations-stale")
        assert world.gateway.refused == {"revocations-stale": 1}
        assert not world.taps, "not one frame was taken of it"
        own = await world.honest("a")
        await own.close()


async def test_a_list_issued_anew_lets_the_partner_back_in_and_ageing_cuts_it(
    tmp_path: Path,
) -> None:
    """Why: the bound must heal by itself when lists come again, and act on an open stream, too."""
    issue(tmp_path, 1, age_s=MAX_AGE_S + 30)
    # It is silent, and not taken for lost: whoever writes into a call that ends is told INTERNAL instead of why.
    patient = LinkLimits(**{**QUICK.model_dump(), "lost_after_s": 60.0})
    async with fort(tmp_path, partner_list_max_age_s=MAX_AGE_S, limits=patient) as world:
        assert (await refused(world, "p"))[1] == "revocations-stale"
        issue(tmp_path, 2, age_s=MAX_AGE_S - 3)
        partner = await world.honest("p")
        assert await partner.ended() == (Status.UNAUTHENTICATED, "revocations-stale")
        await partner.close()


async def test_without_a_bound_no_partner_is_cut(tmp_path: Path) -> None:
    """Why: the default, and the lab's: nothing issues lists there while nothing is revoked."""
    issue(tmp_path, 1, age_s=10 * 365 * 86_400.0)
    async with fort(tmp_path) as world:
        partner = await world.honest("p")
        await partner.close()


def test_a_sites_end_refuses_the_setting_that_it_would_not_keep() -> None:
    """Why: it was taken there and did nothing; whoever sets it believes in it."""
    settings = {
        "name": "a",
        "credentials": "c",
        "bundles": {"carrier.example": "b"},
        "dial": ["127.0.0.1:1"],
        "peer": {"name": "global", "identity": "spiffe://carrier.example/global/gateway"},
    }
    SiteLinkSettings.model_validate(settings)
    with pytest.raises(ValidationError, match="partner_list_max_age_s"):
        SiteLinkSettings.model_validate({**settings, "partner_list_max_age_s": 60})
