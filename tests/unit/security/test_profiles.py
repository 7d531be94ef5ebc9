"""Certificate profiles and leaf requests: what may be asked for at all."""

from __future__ import annotations

import pytest

from isthmus.identity import (
    LEAF,
    PROFILES,
    ROOT_AUTHORITY,
    TIER_AUTHORITY,
    Identity,
    LeafRequest,
    ProfileRefused,
    Usage,
)

GATEWAY = Identity.of_global("carrier.example", "gateway")


def test_every_profile_says_why() -> None:
    """A lifetime without its reason is changed by the first person it annoys."""
    assert set(PROFILES) == {"root-authority", "tier-authority", "leaf", "short-leaf"}
    assert all(len(profile.reason) > 40 for profile in PROFILES.values())


def test_lifetimes_nest() -> None:
    """An authority outlives what it signs; otherwise a leaf is refused before its own end."""
    assert ROOT_AUTHORITY.lifetime_s > TIER_AUTHORITY.lifetime_s > LEAF.lifetime_s
    assert LEAF.lifetime_s == 86_400


def test_authorities_never_speak_and_leaves_never_sign() -> None:
    """One certificate, one job: an authority has no usage in a handshake, a leaf no path length."""
    for profile in PROFILES.values():
        assert profile.is_authority == (not profile.usages)
    assert LEAF.usages == {Usage.CLIENT, Usage.SERVER}
    assert ROOT_AUTHORITY.path_length == 1
    assert TIER_AUTHORITY.path_length == 0


@pytest.mark.parametrize(
    "name", ["global.carrier.example", "x.y.global.carrier.example", "localhost"]
)
def test_server_names_inside_the_tier(name: str) -> None:
    """A server is dialled under its own tier's names or over the loopback; its own name is
    always there.
    """
    request = LeafRequest(GATEWAY, dns_names=(name,))
    assert request.all_dns_names == ("gateway.global.carrier.example", name)


def test_the_own_name_is_there_once() -> None:
    """Asking for it again does not double it."""
    own = GATEWAY.server_name
    assert LeafRequest(GATEWAY, dns_names=(own,)).all_dns_names == (own,)


def test_a_site_whose_name_is_no_dns_label_is_never_dialled_by_name() -> None:
    """Underscores are good in keys and not in DNS; nothing is translated, so there is no name."""
    odd = Identity.of_site("carrier.example", "lab_1", "placer")
    assert LeafRequest(odd).all_dns_names == ()
    with pytest.raises(ProfileRefused):
        LeafRequest(odd, dns_names=("placer.carrier.example",))


@pytest.mark.parametrize(
    "name",
    [
        "partner.example",
        "carrier.example",
        "gateway.carrier.example",
        "placer.a.site.carrier.example",
        "evilglobal.carrier.example",
        "*.global.carrier.example",
        "Gateway.global.carrier.example",
        "global.carrier.example.evil",
        "",
        "a\n.global.carrier.example",
        "localhost.evil",
    ],
)
def test_foreign_and_odd_server_names_are_refused(name: str) -> None:
    """One operator must not be able to answer under the name of another; wildcards hide who
    answers.
    """
    with pytest.raises(ProfileRefused, match="DNS name"):
        LeafRequest(GATEWAY, dns_names=(name,))


@pytest.mark.parametrize("address", ["", "10.0.0", "010.0.0.1", "10.0.0.1/24", "::0001", "gateway"])
def test_addresses_have_one_spelling(address: str) -> None:
    """The same rule as for names: no second spelling."""
    with pytest.raises(ProfileRefused, match="IP address"):
        LeafRequest(GATEWAY, ip_addresses=(address,))
    assert LeafRequest(GATEWAY, ip_addresses=("10.100.1.1", "::1")).ip_addresses


def test_a_limit_stands_on_names() -> None:
    """Sixteen names are plenty; both sides of the boundary."""
    addresses = tuple(f"10.0.0.{host}" for host in range(1, 18))
    assert LeafRequest(GATEWAY, ip_addresses=addresses[:16])
    with pytest.raises(ProfileRefused, match="at most 16"):
        LeafRequest(GATEWAY, ip_addresses=addresses)


def test_a_leaf_is_not_asked_for_with_an_authority_profile() -> None:
    """Otherwise the lab's enrolment would hand a signing key to a process."""
    with pytest.raises(ProfileRefused, match="leaf profile"):
        LeafRequest(GATEWAY, profile=TIER_AUTHORITY)
