"""Real networks as labs use them: distances that geography confirms, links that meet no third city, clear refusals."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from isthmus.deploy.topology import (
    FOLDER,
    City,
    Topology,
    TopologyError,
    distance_km,
    latency_us,
    load,
)

HEAD = '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">'
KEYS = "".join(
    f'<key id="{key}" for="node" attr.name="{name}" attr.type="string"/>'
    for key, name in (("d1", "label"), ("d2", "Country"), ("d3", "Latitude"), ("d4", "Longitude"))
)


def node(number: int, label: str, place: tuple[float, float] | None = (1.0, 2.0)) -> str:
    """A node as the Zoo writes it."""
    data = f'<data key="d1">{label}</data><data key="d2">Land</data>'
    if place is not None:
        data += f'<data key="d3">{place[0]}</data><data key="d4">{place[1]}</data>'
    return f'<node id="{number}">{data}</node>'


def write(folder: Path, *parts: str, keys: str = KEYS) -> None:
    """A file named Test."""
    text = f"{HEAD}{keys}<graph>{''.join(parts)}</graph></graphml>"
    (folder / "Test.graphml").write_text(text)


def edge(a: int, b: int) -> str:
    """A link."""
    return f'<edge source="{a}" target="{b}"/>'


@pytest.mark.parametrize(
    ("a", "b", "km"),
    [
        (("Milan", 45.464, 9.190), ("Paris", 48.857, 2.352), 640),
        (("Milan", 45.464, 9.190), ("Zurich", 47.377, 8.542), 218),
        (("Quito", 0.0, -78.5), ("Singapore", 0.0, 103.8), 19_770),
        (("Tonga", -21.1, -175.2), ("Fiji", -18.1, 178.4), 748),
    ],
)
def test_distances_are_those_of_the_globe(
    a: tuple[str, float, float], b: tuple[str, float, float], km: float
) -> None:
    """Why: known distances, one of them over the date line, where naive arithmetic goes round the world."""
    one, other = (City(name, "", lat, lon) for name, lat, lon in (a, b))
    assert distance_km(one, other) == pytest.approx(km, rel=0.01)
    assert distance_km(one, other) == distance_km(other, one)
    assert distance_km(one, one) == 0


def test_latency_is_light_in_fibre_and_a_router() -> None:
    """Why: 1000 km of beeline are 1300 km of fibre are 6.5 ms, and 0.1 ms for the box."""
    assert latency_us(1000) == 6600
    assert latency_us(0) == 100


def test_every_shipped_network_loads_and_is_symmetric() -> None:
    """Why: what is shipped must work; a one-way link would be a lab that answers nobody."""
    shipped = sorted(path.stem for path in FOLDER.glob("*.graphml"))
    assert shipped
    assert (FOLDER / "README.md").exists(), "the licence asks for attribution"
    for name in shipped:
        network = load(name)
        for (a, b), latency in network.latency_us.items():
            assert network.latency_us[b, a] == latency
            assert latency >= 100
            assert {a, b} <= network.cities.keys()


def test_a_contracted_link_meets_no_third_of_the_chosen() -> None:
    """Why: a line of cities a-x-b-c: a and c are no neighbours, for b is between; x is not chosen and vanishes."""
    cities = {name: City(name, "", 0, 0) for name in "axbc"}
    latencies = {("a", "x"): 1, ("x", "b"): 2, ("b", "c"): 4}
    both = {**latencies, **{(b, a): us for (a, b), us in latencies.items()}}
    network = Topology("line", cities, both)
    assert network.contract("abc") == {("a", "b"): 3, ("b", "c"): 4}
    assert network.contract("ac") == {("a", "c"): 7}
    assert network.contract("a") == {}


def test_contraction_takes_the_shortest_of_several_ways() -> None:
    """Why: packets take it, too."""
    cities = {name: City(name, "", 0, 0) for name in "axyb"}
    latencies = {("a", "x"): 5, ("x", "b"): 5, ("a", "y"): 1, ("y", "b"): 2, ("x", "y"): 1}
    both = {**latencies, **{(b, a): us for (a, b), us in latencies.items()}}
    assert Topology("two ways", cities, both).contract("ab") == {("a", "b"): 3}


def test_islands_have_no_link() -> None:
    """Why: no way is no link, not a link of infinite length."""
    cities = {name: City(name, "", 0, 0) for name in "abcd"}
    both = {("a", "b"): 1, ("b", "a"): 1, ("c", "d"): 1, ("d", "c"): 1}
    found = Topology("islands", cities, both).contract("abcd")
    assert set(found) == {("a", "b"), ("c", "d")}


def test_an_unknown_city_is_refused_with_the_known_ones() -> None:
    """Why: labels are as their authors spelt them."""
    network = load("Bics")
    with pytest.raises(TopologyError, match=r"'Mailand'.*Milan"):
        network.contract(["Milan", "Mailand"])


def test_cities_without_a_place_and_doubled_labels_are_left_out(tmp_path: Path) -> None:
    """Why: the Zoo's maps hold nodes drawn for their legend; a distance to nowhere is a wrong one."""
    write(
        tmp_path, node(0, "A", (0, 0)), node(1, "B", (0, 1)), node(2, "Nowhere", None),
        node(3, "A", (9, 9)), edge(0, 1), edge(0, 2), edge(3, 1), edge(0, 0),
    )  # fmt: skip
    network = load("Test", tmp_path)
    assert set(network.cities) == {"A", "B"}
    assert set(network.latency_us) == {("A", "B"), ("B", "A")}
    assert network.cities["A"].latitude == 0


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ((), "no usable link"),
        ((node(0, "A"), node(1, "B")), "no usable link"),
        ((node(0, "A"), edge(0, 0)), "no usable link"),
        ((node(0, "A"), node(1, "B", None), edge(0, 1)), "no usable link"),
    ],
)
def test_a_network_nobody_can_use_is_refused(
    tmp_path: Path, parts: tuple[str, ...], words: str
) -> None:
    """Why: an empty lab would come up and prove nothing."""
    write(tmp_path, *parts)
    with pytest.raises(TopologyError, match=words):
        load("Test", tmp_path)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    """Why: the message goes to a person who typed the name."""
    with pytest.raises(TopologyError, match=r"Nope\.graphml"):
        load("Nope", tmp_path)
    (tmp_path / "Test.graphml").write_text("<graphml")
    with pytest.raises(TopologyError, match=r"Test\.graphml"):
        load("Test", tmp_path)


def test_the_four_cities_of_the_demo_are_near_where_maps_put_them() -> None:
    """Why: the demo prints these latencies as facts of the world."""
    network = load("Bics")
    names = ("Milan", "Frankfurt", "Paris", "Zurich")
    for a, b in itertools.combinations(names, 2):
        km = distance_km(network.cities[a], network.cities[b])
        assert 150 < km < 700, (a, b, km)
