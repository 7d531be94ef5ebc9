"""Strategies for tiny placement problems that are tight in every respect."""

from __future__ import annotations

from hypothesis import strategies as st

from isthmus.placement.model import ChainDemand, Function, Link, Network, Site

NAMES = "abcde"


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """2 to 5 sites, sparse directed links, capacities of the size of one or two chains."""
    size = draw(st.integers(2, 5))
    sites = tuple(
        Site(
            NAMES[i],
            {"cpu": draw(st.integers(0, 9)), "mem": draw(st.integers(0, 9))},
            {"cpu": draw(st.sampled_from([0.0, 1.0, 2.5]))},
            country=draw(st.sampled_from(["it", "fr"])),
            features=draw(st.sampled_from([frozenset(), frozenset({"nic"})])),
        )
        for i in range(size)
    )
    pairs = [(a, b) for a in NAMES[:size] for b in NAMES[:size] if a != b]
    chosen = draw(st.lists(st.sampled_from(pairs), max_size=9))
    links = tuple(
        Link(
            a,
            b,
            draw(st.integers(0, 5)),
            draw(st.integers(0, 8)),
            draw(st.sampled_from([0.0, 0.5, 1.0, 3.0])),
            id=f"{a}{b}{n}",
        )
        for n, (a, b) in enumerate(chosen)
    )
    return Network(sites, links)


@st.composite
def chains(draw: st.DrawFn, network: Network, name: str = "c") -> ChainDemand:
    """Up to 3 functions with every kind of constraint."""
    names = [s.name for s in network.sites]
    size = draw(st.integers(0, 3))
    features = st.sampled_from([frozenset(), frozenset(), frozenset({"nic"})])
    functions = tuple(
        Function(
            f"f{i}",
            {"cpu": draw(st.integers(0, 5)), "mem": draw(st.integers(0, 3))},
            draw(features),
        )
        for i in range(size)
    )
    positions = [(a, b) for a in range(size) for b in range(size) if a != b]
    some_pairs = st.lists(st.sampled_from(positions), max_size=2) if positions else st.just([])
    ends = st.lists(st.sampled_from(names), min_size=1, max_size=2)
    allowed = st.none() | st.frozensets(st.sampled_from(names), min_size=1)
    sticky = st.none() | st.tuples(*(st.sampled_from(names) for _ in range(size)))
    return ChainDemand(
        name,
        functions,
        tuple(draw(ends)),
        tuple(draw(ends)),
        tuple(draw(st.integers(0, 4)) for _ in range(size + 1)),
        draw(st.none() | st.integers(0, 20)),
        draw(st.sampled_from([1.0, 2.0, 8.0])),
        allowed_sites=draw(allowed),
        countries=draw(st.sampled_from([None, None, frozenset({"it"})])),
        affinity=tuple(draw(some_pairs)),
        anti_affinity=tuple(draw(some_pairs)),
        current=draw(sticky),
        migration_price=draw(st.sampled_from([0.0, 2.0])),
    )


@st.composite
def problems(draw: st.DrawFn, most: int = 4) -> tuple[Network, list[ChainDemand]]:
    """A network and a few chains for it."""
    network = draw(networks())
    count = draw(st.integers(1, most))
    return network, [draw(chains(network, f"c{i}")) for i in range(count)]
