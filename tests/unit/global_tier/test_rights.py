"""Under the etcd role of its component a tier's controller sees all that it watches; peers or none, in both ways."""

from __future__ import annotations

import pytest

from isthmus.contract.family import Tier
from isthmus.contract.peering import Delegation
from isthmus.contract.roles import role
from isthmus.global_tier.carrying import Policy
from isthmus.global_tier.group import controller
from isthmus.global_tier.numbers import Numbers

ASKED = Policy("t.example/t", (Delegation("above"),), Numbers(1, 9))


@pytest.mark.parametrize("policy", [Policy(), ASKED], ids=["nobody asks", "a peer asks"])
@pytest.mark.parametrize("name", ["intake", "placer", "wiring", "reporter", "representative"])
def test_every_watch_is_granted(name: str, policy: Policy) -> None:
    """Why: a watch that the store refuses ends the controller at its start, and the twins know no rights."""
    granted = [grant.target for grant in role(Tier.GLOBAL, name).grants]
    for watched in controller(name, "test", policy=policy).watches:
        assert any(watched.startswith(target) for target in granted), (
            f"{name} may not see {watched}"
        )


def test_nothing_of_peers_is_watched_where_nobody_asks() -> None:
    """Why: a mirror of all that arrives costs memory; a tier without peers pays nothing for the possibility. What its
    last peer once had it still sees, to end it."""
    plain, asked = (set(controller("intake", "test", policy=p).watches) for p in (Policy(), ASKED))
    assert asked - plain == {
        "/isthmus/v1/remote/",
        "/isthmus/v1/wires/",
    }
    told = set(controller("representative", "test", policy=Policy()).watches)
    assert told == {"/isthmus/v1/summary/peers/"}
