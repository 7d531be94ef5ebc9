"""A lab's description: what cannot work is refused with the field and the fix; what works has one address for each."""

from __future__ import annotations

import ipaddress
import itertools

import pytest
from pydantic import ValidationError

from isthmus.deploy.lab.addresses import HOSTS_NET, Addresses
from isthmus.deploy.lab.carrier import CITIES, PARTNER, PARTNER_DOMAIN, carrier
from isthmus.deploy.lab.spec import CARRIER, GLOBAL, LabLink, LabSite, LabSpec
from isthmus.deploy.lab.wan import distances_us, link_name, proxies


def spec(**more: object) -> LabSpec:
    """Two sites, two hosts at the first."""
    document: dict[str, object] = {
        "sites": [
            {"site": "milan", "hosts": 2, "attachments": ["a1", "a2", "a3"]},
            {"site": "paris", "attachments": ["b1"]},
        ],
        "links": [{"a": "milan", "b": "paris", "latency_us": 5000}],
    }
    return LabSpec.model_validate({**document, **more})


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"sites": []}, "sites"),
        ({"sites": [{"site": "milan"}, {"site": "milan"}]}, "'milan' is used twice"),
        ({"sites": [{"site": "global"}]}, "'global' is used twice or reserved"),
        ({"sites": [{"site": "wan"}]}, "'wan' is used twice or reserved"),
        ({"sites": [{"site": "Milan"}]}, "sites.0.site"),
        ({"sites": [{"site": "a/b"}]}, "sites.0.site"),
        ({"sites": [{"site": "milan", "hosts": 0}]}, "sites.0.hosts"),
        ({"sites": [{"site": "milan", "hosts": 17}]}, "sites.0.hosts"),
        ({"sites": [{"site": "milan", "colour": "red"}]}, "colour"),
        ({"links": [{"a": "milan", "b": "rome", "latency_us": 1}]}, "'rome' is no site"),
        ({"links": [{"a": "milan", "b": "paris", "latency_us": -1}]}, "latency_us"),
        ({"runtime": "threads"}, "runtime"),
        (
            {"sites": [{"site": "m", "attachments": ["x"]}, {"site": "p", "attachments": ["x"]}],
             "links": []},
            "'x' is at two sites; give each its own name",
        ),
        ({"sites": [{"site": "m", "attachments": ["x", "x"]}], "links": []}, "'x'"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_lab_is_refused_by_name(more: dict[str, object], words: str) -> None:
    """Why: a lab that comes up halfway costs a minute and says less than one line at the start."""
    with pytest.raises(ValidationError) as refused:
        spec(**more)
    assert words in str(refused.value).replace("\n", ".")


def test_no_address_is_given_twice() -> None:
    """Why: two interfaces with one address work until the wrong one answers."""
    wanted = spec()
    addresses = Addresses(wanted)
    given = [
        address
        for tier in addresses.tiers
        for address in (addresses.tier(tier), addresses.wan(tier))
    ]
    for site in wanted.sites:
        for host in site.host_names:
            given += [addresses.host(site.site, host), addresses.host_gateway(site.site, host)]
        given += [addresses.customer(name) for name in site.attachments]
    assert len(given) == len(set(given)) == 6 + 6 + 4
    for address in given:
        ipaddress.ip_address(address)


def test_both_ends_of_a_line_are_in_one_net() -> None:
    """Why: the lines are /30; an address outside is unreachable without any error."""
    wanted = spec()
    addresses = Addresses(wanted)
    pairs = [(addresses.tier(tier), addresses.wan(tier)) for tier in addresses.tiers]
    for site in wanted.sites:
        for host in site.host_names:
            pairs.append((addresses.host(site.site, host), addresses.host_gateway(site.site, host)))
            inner = ipaddress.ip_address(addresses.host(site.site, host))
            assert inner in ipaddress.ip_network(addresses.hosts_net(site.site))
            assert inner in ipaddress.ip_network(HOSTS_NET)
    nets = set()
    for a, b in pairs:
        net = ipaddress.ip_network(f"{a}/30", strict=False)
        assert ipaddress.ip_address(b) in set(net.hosts())
        assert a != b
        nets.add(net)
    assert len(nets) == len(pairs)


def test_attachments_go_round_the_hosts_and_unknown_ones_are_told() -> None:
    """Why: customers of one site must meet on different hosts, else nothing is tested between hosts."""
    addresses = Addresses(spec())
    assert [addresses.host_of(name) for name in ("a1", "a2", "a3", "b1")] == [
        ("milan", "h1"), ("milan", "h2"), ("milan", "h1"), ("paris", "h1"),
    ]  # fmt: skip
    for ask in (addresses.host_of, addresses.customer):
        with pytest.raises(KeyError):
            ask("nobody")


def test_without_a_tier_there_is_no_global_namespace_and_numbers_stay() -> None:
    """Why: a site keeps its addresses whether or not a tier stands above it."""
    alone, joined = Addresses(spec(tier=False)), Addresses(spec())
    assert GLOBAL not in alone.tiers
    assert joined.tiers == (GLOBAL, "milan", "paris")
    assert alone.tier("milan") == joined.tier("milan")


def test_each_site_has_one_proxy_to_the_same_gateway() -> None:
    """Why: a site without a proxy cannot be cut, and a proxy to elsewhere cuts nothing."""
    addresses = Addresses(spec())
    made = {proxy["name"]: proxy for proxy in proxies(addresses)}
    assert set(made) == {link_name("milan"), link_name("paris")}
    assert {proxy["upstream"] for proxy in made.values()} == {f"{addresses.tier(GLOBAL)}:7443"}
    assert made[link_name("milan")]["listen"] == f"{addresses.wan('milan')}:7443"


def test_distance_takes_the_shortest_way_and_knows_no_way() -> None:
    """Why: the relay delays packets by it, so the model's latency and the ping must mean the same way."""
    names = ("a", "b", "c", "d")
    wanted = LabSpec(
        sites=tuple(LabSite(site=name) for name in names),
        links=(
            LabLink(a="a", b="b", latency_us=10),
            LabLink(a="b", b="c", latency_us=20),
            LabLink(a="a", b="c", latency_us=50),
            LabLink(a="a", b="c", latency_us=40),
        ),
    )
    found = distances_us(wanted)
    assert found["a", "c"] == found["c", "a"] == 30
    assert not [pair for pair in found if "d" in pair]
    assert all(a != b for a, b in found)


def test_the_demos_carrier_is_three_own_cities_and_a_partner() -> None:
    """Why: the demo's promises about a partner need one: another owner, authority and country."""
    made = carrier()
    assert [site.site for site in made.sites] == [city.lower() for city in CITIES]
    domains = {site.site: site.trust_domain for site in made.sites}
    assert {name for name, domain in domains.items() if domain != CARRIER} == {PARTNER}
    assert domains[PARTNER] == PARTNER_DOMAIN
    assert made.site(PARTNER).tenants == ("acme",)
    assert made.attribution
    ends = {frozenset((link.a, link.b)) for link in made.links}
    assert len(ends) == len(made.links), "no link is there twice"


def test_the_carriers_links_are_the_ways_packets_take() -> None:
    """Why: a link that a way over a third city undercuts would let the model promise what no packet keeps, or less."""
    made = carrier()
    shortest = distances_us(made)
    assert {frozenset(p) for p in shortest} == {
        frozenset(p) for p in itertools.combinations([s.site for s in made.sites], 2)
    }
    for link in made.links:
        assert shortest[link.a, link.b] == link.latency_us
