"""Each pitfall a toy falls into (research page, section 3), as a case of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from isthmus.placement import (
    CapacityExceeded,
    Function,
    InvalidProblem,
    Link,
    Network,
    Placement,
    PlacementError,
    Refusal,
    Site,
    UnknownReference,
    Usage,
    chain,
    check,
    place,
    runner_up,
    why,
)

MS = 1_000_000


def both(a: str, b: str, ms: float = 1, kbps: int = 1000, price: float = 0.0) -> list[Link]:
    """A link in both directions."""
    return [Link(x, y, int(ms * MS), kbps, price) for x, y in ((a, b), (b, a))]


def site(name: str, cpu: int = 0, price: float = 1.0, **more: object) -> Site:
    """A site with one resource."""
    return Site(name, {"cpu": cpu}, {"cpu": price}, **more)  # type: ignore[arg-type]


def placed(network: Network, demand: object) -> Placement:
    """The verified answer; fails with the reason when there is none."""
    answer = place(Usage(network, fast=False), demand)  # type: ignore[arg-type]
    assert isinstance(answer, Placement), getattr(answer, "text", "")
    check(network, [(demand, answer)])  # type: ignore[list-item]
    return answer


def refused(network: Network, demand: object) -> Refusal:
    """The refusal; fails when there is a place."""
    answer = place(Usage(network, fast=False), demand)  # type: ignore[arg-type]
    assert isinstance(answer, Refusal), answer
    return answer


def test_a_link_crossed_twice_needs_its_sum() -> None:
    """Per-hop checks overbook: out and back over one direction counts twice."""
    ring = (
        Link("a", "b", MS, 150),
        Link("b", "c", MS, 1000),
        Link("c", "a", MS, 1000),
    )
    network = Network((site("a"), site("b", 9), site("c", 9)), ring)
    twice = chain(
        "c",
        [
            Function("f", {"cpu": 1}, allowed_sites=frozenset("c")),
            Function("g", {"cpu": 1}, allowed_sites=frozenset("b")),
        ],
        "a",
        "b",
        100,
    )
    answer = refused(network, twice)
    assert (answer.kind, answer.constraint) == ("alone", "joint")
    assert placed(Network(network.sites, (Link("a", "b", MS, 200), *ring[1:])), twice)


def test_two_functions_on_one_site_need_their_sum() -> None:
    """Checked one by one, both would fit; together they do not."""
    network = Network((site("a", 5, 1.0), site("b", 5, 9.0)), tuple(both("a", "b")))
    answer = placed(
        network, chain("c", [Function("f", {"cpu": 3}), Function("g", {"cpu": 3})], "a", "a", 1)
    )
    assert sorted(answer.sites) == ["a", "b"]


def test_the_path_is_chosen_with_its_capacity() -> None:
    """Shortest path first, capacity afterwards, refuses what the long way carries."""
    links = [*both("a", "b", 1, 10), *both("a", "c", 5, 1000), *both("c", "b", 5, 1000)]
    network = Network((site("a"), site("b", 9), site("c")), tuple(links))
    answer = placed(network, chain("c", [Function("f", {"cpu": 1})], "a", "b", 100))
    assert answer.routes[0] == ("a", "c", "b")


def test_the_dearer_but_faster_way_survives_the_budget() -> None:
    """Pruning latency on the cheapest label loses the faster one that alone keeps the budget."""
    links = [
        *both("a", "b", 9, 1000, 0.1),
        *both("a", "c", 2, 1000, 5.0),
        *both("c", "b", 2, 1000, 5.0),
        *both("b", "d", 2, 1000, 0.1),
    ]
    network = Network((site("a"), site("b"), site("c"), site("d", 9)), tuple(links))
    demand = chain("c", [Function("f", {"cpu": 1})], "a", "d", 1, latency_budget_ns=6 * MS)
    assert placed(network, demand).routes[0] == ("a", "c", "b", "d")


def test_a_hair_pin_to_a_cheap_site_is_legal() -> None:
    """A simple-path check would forbid the cheapest place."""
    network = Network((site("a", 9, 50.0), site("b", 9, 1.0)), tuple(both("a", "b")))
    answer = placed(network, chain("c", [Function("f", {"cpu": 1})], "a", "a", 1))
    assert answer.sites == ("b",)
    assert answer.routes == (("a", "b"), ("b", "a"))


def test_anti_affinity_is_decided_over_the_whole_chain() -> None:
    """Greedy: f takes the cheap site, g (only allowed there) is refused. Exact: f steps aside."""
    network = Network((site("a", 9, 1.0), site("b", 9, 5.0)), tuple(both("a", "b")))
    functions = [Function("f", {"cpu": 1}), Function("g", {"cpu": 1}, allowed_sites=frozenset("a"))]
    answer = placed(network, chain("c", functions, "a", "a", 1, anti_affinity=((0, 1),)))
    assert answer.sites == ("b", "a")


def test_affinity_of_functions_that_are_not_neighbours() -> None:
    """First and last share a site although the middle one cannot stand there."""
    network = Network((site("a", 4, 1.0), site("b", 9, 2.0)), tuple(both("a", "b")))
    functions = [
        Function("f", {"cpu": 3}),
        Function("m", {"cpu": 1}, allowed_sites=frozenset("a")),
        Function("l", {"cpu": 3}),
    ]
    answer = placed(network, chain("c", functions, "a", "a", 1, affinity=((0, 2),)))
    assert answer.sites == ("b", "a", "b")


def test_bandwidth_belongs_to_its_hop() -> None:
    """Traffic shrinks behind the second function; the thin link carries only the last hop."""
    links = (Link("a", "b", MS, 1000), Link("b", "c", MS, 40))
    network = Network((site("a"), site("b", 9), site("c", 9)), links)
    functions = [Function("f", {"cpu": 1}), Function("g", {"cpu": 1})]
    assert placed(network, chain("c", functions, "a", "c", (100, 100, 40))).sites == ("b", "b")
    assert (
        refused(network, chain("c", functions, "a", "c", (100, 50, 50))).constraint == "bandwidth"
    )


def test_the_two_directions_have_their_own_capacity() -> None:
    """Filling one direction must not close the other."""
    network = Network((site("a"), site("b", 9)), tuple(both("a", "b", 1, 100)))
    usage = Usage(network, fast=False)
    demand = chain("c", [Function("f", {"cpu": 1})], "a", "b", 100)
    answer = place(usage, demand)
    assert isinstance(answer, Placement)
    usage.apply(demand, answer)
    assert usage.free_link("a>b") == 0
    assert usage.free_link("b>a") == 100


def test_free_links_of_zero_latency_and_price_are_links() -> None:
    """Hosts of a site are joined by links that cost nothing: zero is a weight, not "no edge"."""
    links = tuple(link for pair in ("ab", "bc") for link in both(pair[0], pair[1], 0))
    network = Network((site("a"), site("b"), site("c", 4)), links)
    answer = placed(
        network, chain("c", [Function("f", {"cpu": 4})], "a", "a", 7, latency_budget_ns=0)
    )
    assert answer.routes == (("a", "b", "c"), ("c", "b", "a"))


def test_a_chain_without_functions_is_a_path() -> None:
    """Length 0, also from a site to itself."""
    network = Network((site("a"), site("b")), tuple(both("a", "b", 2)))
    assert placed(network, chain("c", [], "a", "b", 5)).latency_us == 2000
    assert placed(network, chain("d", [], "a", "a", 5)).routes == (("a",),)


def test_thirty_two_functions() -> None:
    """Long chains are legal; pairs at both ends hold."""
    network = Network(
        tuple(site(n, 40, 1.0) for n in "abc"), tuple(both("a", "b") + both("b", "c"))
    )
    functions = [Function(f"f{i}", {"cpu": 1}) for i in range(32)]
    answer = placed(
        network, chain("c", functions, "a", "c", 1, anti_affinity=((0, 31),), affinity=((1, 30),))
    )
    assert answer.sites[0] != answer.sites[31]
    assert answer.sites[1] == answer.sites[30]


def test_a_set_of_ends_uses_the_best_pair() -> None:
    """Ingress and egress may be sets; the walk picks one of each."""
    network = Network(
        tuple(site(n, 9) for n in "abc"), tuple(both("a", "b", 9) + both("b", "c", 1))
    )
    demand = chain(
        "c",
        [Function("f", {"cpu": 1}, allowed_sites=frozenset("b"))],
        ("a", "c"),
        ("a", "c"),
        1,
        latency_budget_ns=2 * MS,
    )
    assert placed(network, demand).routes == (("c", "b"), ("b", "c"))


def test_the_sentence_names_constraint_and_number() -> None:
    """What a user reads first must hold the number that failed."""
    network = Network((site("a"), site("b", 4)), tuple(both("a", "b", 12)))
    slow = refused(
        network, chain("c", [Function("f", {"cpu": 1})], "a", "a", 1, latency_budget_ns=10 * MS)
    )
    assert slow.text == "latency: fastest permitted path 24 ms > budget 10 ms"
    texts = {r.kind: r for r in slow.relaxations}
    assert texts["latency"].text == "14 ms more latency (a budget of 24 ms)"
    assert texts["latency"].least
    assert slow.nearest is not None
    assert slow.nearest.text == "1 cpu more at a"
    big = refused(network, chain("c", [Function("f", {"cpu": 7})], "a", "a", 1))
    assert "needs 7 cpu, the most free at a permitted site is 4 (b)" in big.text
    assert big.nearest is not None
    assert big.nearest.text == "3 cpu more at b"
    gpu = refused(network, chain("c", [Function("f", {"gpu": 1})], "a", "a", 1))
    assert gpu.text == "capacity: function 0 (f) needs 1 gpu, no site offers any"
    nowhere = refused(
        network, chain("c", [Function("f")], "a", "a", 1, countries=frozenset({"it"}))
    )
    assert nowhere.constraint == "sites"
    assert nowhere.nearest is not None
    assert nowhere.nearest.text == "without the rule on countries"


def test_residual_and_alone_are_told_apart() -> None:
    """The same chain: impossible for ever, or only beside its twin."""
    network = Network((site("a", 4),), ())
    usage = Usage(network, fast=False)
    demand = chain("one", [Function("f", {"cpu": 3})], "a", "a", 1)
    answer = place(usage, demand)
    assert isinstance(answer, Placement)
    usage.apply(demand, answer)
    second = place(usage, replace(demand, id="two"))
    assert isinstance(second, Refusal)
    assert second.kind == "residual"
    assert second.snapshot == usage.snapshot()
    assert refused(network, replace(demand, functions=(Function("f", {"cpu": 5}),))).kind == "alone"


def test_stickiness_and_its_price() -> None:
    """A chain stays for less than the migration price and leaves for more."""
    network = Network((site("a", 9, 1.0), site("b", 9, 3.0)), tuple(both("a", "b")))
    demand = chain(
        "c", [Function("f", {"cpu": 1})], "a", "a", 1, current=("b",), migration_price=5.0
    )
    assert placed(network, demand).sites == ("b",)
    assert placed(network, replace(demand, migration_price=1.0)).sites == ("a",)


def test_a_backup_shares_neither_site_nor_link() -> None:
    """Disjoint in both; without a second way the refusal says backup."""
    links = [*both("a", "b"), *both("a", "c", 3)]
    network = Network((site("a"), site("b", 9), site("c", 9)), tuple(links))
    demand = chain("c", [Function("f", {"cpu": 1})], "a", "a", 1, backup=True)
    answer = placed(network, demand)
    assert answer.backup is not None
    assert {answer.sites, answer.backup.sites} == {("b",), ("c",)}
    alone = refused(Network((site("a"), site("b", 9)), tuple(both("a", "b"))), demand)
    assert alone.constraint == "backup"


def test_transit_may_be_forbidden() -> None:
    """Sovereignty of the path: functions may stand at the end, traffic may not cross the middle."""
    links = [*both("a", "b"), *both("b", "c"), *both("a", "d", 9), *both("d", "c", 9)]
    network = Network(tuple(site(n, 9 if n == "c" else 0) for n in "abcd"), tuple(links))
    demand = chain("c", [Function("f", {"cpu": 1})], "a", "c", 1)
    assert placed(network, demand).routes[0] == ("a", "b", "c")
    around = replace(demand, transit_sites=frozenset({"d"}))
    assert placed(network, around).routes[0] == ("a", "d", "c")


def test_why_names_the_runner_up() -> None:
    """An accepted chain says what the second best would cost."""
    network = Network((site("a", 9, 1.0), site("b", 9, 3.0)), tuple(both("a", "b")))
    usage = Usage(network, fast=False)
    demand = chain("c", [Function("f", {"cpu": 2})], "a", "a", 1)
    answer = place(usage, demand)
    assert isinstance(answer, Placement)
    text = why(demand, answer, runner_up(usage, demand, answer))
    assert text == "c: a, cost 2, 0 ms; runner-up b costs 4 more"


def test_apply_is_all_or_nothing() -> None:
    """A stale answer must not half book."""
    network = Network((site("a", 4), site("b", 4)), tuple(both("a", "b", 1, 10)))
    usage = Usage(network, fast=False)
    demand = chain("c", [Function("f", {"cpu": 4})], "a", "a", 1)
    answer = place(usage, demand)
    assert isinstance(answer, Placement)
    usage.apply(demand, answer)
    before = usage.snapshot()
    with pytest.raises(CapacityExceeded, match="takes 4 cpu at a, 0 free"):
        usage.apply(replace(demand, id="d"), replace(answer, chain="d"))
    with pytest.raises(PlacementError, match="already placed"):
        usage.apply(demand, answer)
    with pytest.raises(UnknownReference):
        usage.release("nobody")
    assert usage.snapshot() == before


def test_a_link_failed_for_two_reasons_opens_with_the_last() -> None:
    """Restoring a site must not reopen a link that failed by itself."""
    network = Network((site("a", 9), site("b", 9)), tuple(both("a", "b", 1, 10)))
    usage = Usage(network, fast=False)
    usage.fail_link("a>b")
    usage.fail_site("b")
    usage.restore_site("b")
    assert usage.free_link("a>b") == 0
    assert usage.free_link("b>a") == 10
    assert usage.down == {"a>b"}
    usage.restore_link("a>b")
    assert usage.free_link("a>b") == 10


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Site("a", {"cpu": -1}), "capacity.cpu"),
        (lambda: Site("a", {}, {"cpu": float("nan")}), "price.cpu"),
        (lambda: Site("", {}), "site.name"),
        (lambda: Link("a", "b", -1, 1), "latency_ns"),
        (lambda: Network((site("a"), site("a")), ()), "used twice"),
        (lambda: Network((site("a"),), (Link("a", "x", 1, 1),)), "no such site"),
        (lambda: chain("c", [Function("f")], "a", "a", (1,)), "one per hop"),
        (lambda: chain("c", [], (), "a", 1), "at least one site"),
        (lambda: chain("c", [], "a", "a", 1, affinity=((0, 1),)), "two positions"),
        (lambda: chain("c", [Function("f")] * 33, "a", "a", 1), "at most 32"),
        (lambda: chain("c", [], "a", "a", 1, priority=float("inf")), "priority"),
    ],
)
def test_malformed_input_is_one_clear_sentence(make: object, word: str) -> None:
    """Field, value and fix; never a stack trace from deep inside."""
    with pytest.raises(InvalidProblem, match=word):
        make()  # type: ignore[operator]


def test_an_unknown_end_is_named() -> None:
    """A chain that starts nowhere is a wrong reference, not an impossible chain."""
    with pytest.raises(UnknownReference, match="ingress"):
        place(Usage(Network((site("a"),), ()), fast=False), chain("c", [], "x", "a", 1))
