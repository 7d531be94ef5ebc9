"""A tier that peers may ask is told so in its settings; what cannot work is refused before anything starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isthmus.global_tier.numbers import Numbers
from isthmus.global_tier.settings import GlobalSettings, SettingsRefused, load

BASE: dict[str, Any] = {
    "trust_domain": "carrier.example",
    "store": {"endpoints": ["127.0.0.1:1"], "server_name": "etcd"},
    "certificates": "/c",
    "state": "/s",
}


def loaded(folder: Path, **more: Any) -> GlobalSettings:
    path = folder / "settings.json"
    path.write_text(json.dumps({**BASE, **more}))
    return load(path)


def test_a_tier_that_nobody_asks_leaves_no_mark_and_can_still_clean_up(tmp_path: Path) -> None:
    """Why: the settings of before mean what they meant; who takes back what a last peer was told must run."""
    settings = loaded(tmp_path)
    assert "representative" in settings.groups["placement"]
    assert settings.policy.tier == ""
    assert settings.policy.numbers == Numbers()


def test_a_tier_with_peers_stands_for_its_sites(tmp_path: Path) -> None:
    """Why: one switch: peers listed, all the rest follows."""
    settings = loaded(
        tmp_path,
        name="europe",
        peers=[{"peer": "global", "tenants": ["acme"], "brake_floor": 5}],
        numbers={"first": 100, "last": 199},
    )
    assert "representative" in settings.groups["placement"]
    (delegation,) = settings.policy.delegations
    assert (delegation.peer, delegation.tenants, delegation.brake_floor) == ("global", ("acme",), 5)
    assert settings.policy.tier == "carrier.example/europe"
    again = GlobalSettings.model_validate_json(settings.model_dump_json())
    assert again.policy == settings.policy


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"peers": [{"peer": "global"}]}, "numbers"),
        ({"peers": [{"peer": "g"}, {"peer": "g"}], "numbers": {}}, "listed twice"),
        ({"numbers": {"first": 9, "last": 8}}, "turn them round"),
        ({"numbers": {"first": 0}}, "numbers.first"),
        ({"numbers": {"last": 2**24}}, "numbers.last"),
        ({"peers": [{"peer": "No Name"}]}, "peers.0.peer"),
    ],
)
def test_what_cannot_work_is_refused_by_name(
    tmp_path: Path, more: dict[str, Any], words: str
) -> None:
    """Why: numbers that meet a peer's carry one tenant's packets into another's chain; the default range is all."""
    with pytest.raises(SettingsRefused, match=words):
        loaded(tmp_path, **more)
