"""Today's place, migrations, and the state after many changes: each against a second way to know."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.placement.brute import Brute
from tests.property.placement.cases import chains, networks, problems

from isthmus.placement.incremental import admit_by_moving, expire
from isthmus.placement.model import ChainDemand, Network, Placement
from isthmus.placement.online import place
from isthmus.placement.usage import Usage
from isthmus.placement.verify import violations

Problem = tuple[Network, list[ChainDemand]]


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from([0.5, 2.0, 50.0]))
def test_a_chain_moves_only_for_more_than_the_price_of_its_moves(
    data: st.DataObject, price: float
) -> None:
    """Flapping between places of nearly the same cost is the failure; so is never moving at all."""
    network = data.draw(networks())
    chain = replace(data.draw(chains(network)), current=None)
    usage = Usage(network, fast=False)
    free = place(usage, chain, proof=False)
    if not isinstance(free, Placement):
        return
    names = st.sampled_from([s.name for s in network.sites])
    today = tuple(data.draw(names) for _ in chain.functions)
    kept = place(usage, replace(chain, current=today, migration_price=price), proof=False)
    assert isinstance(kept, Placement)
    moved = sum(a != b for a, b in zip(today, kept.sites, strict=True))
    stays = replace(
        chain,
        functions=tuple(
            replace(f, allowed_sites=frozenset({name}))
            for f, name in zip(chain.functions, today, strict=True)
        ),
    )
    at_home = place(usage, stays, proof=False)
    if isinstance(at_home, Placement):
        gain = at_home.cost - (kept.cost - moved * price)
        assert gain >= moved * price - 1e-9
        if at_home.cost - free.cost < price - 1e-9:
            assert kept.sites == today
    assert kept.cost <= free.cost + price * len(today) + 1e-9


@settings(max_examples=80, deadline=None)
@given(problems(most=6), st.integers(0, 3))
def test_migrations_are_bounded_and_lose_nobody(problem: Problem, most: int) -> None:
    """Each move is possible in itself, none is done twice, and all stand afterwards, one more."""
    network, wanted = problem
    usage = Usage(network, fast=False)
    for chain in (replace(c, backup=False) for c in wanted):
        answer = place(usage, chain, proof=False)
        if isinstance(answer, Placement):
            usage.apply(chain, answer)
            continue
        before, standing = usage.snapshot(), set(usage.placed)
        plan = admit_by_moving(usage, chain, most=most)
        assert usage.snapshot() == before
        if plan is None:
            continue
        assert 1 <= len(plan.moves) <= most
        assert len({c.id for c, _ in plan.moves}) == len(plan.moves)
        for mover, there in plan.moves:
            usage.release(mover.id)
            usage.apply(mover, there)
            assert violations(network, usage.placed.values()) == ()
        usage.apply(chain, plan.placement)
        assert set(usage.placed) == standing | {chain.id}
        assert violations(network, usage.placed.values()) == ()


@settings(max_examples=100, deadline=None)
@given(problems(most=5), st.data(), st.sampled_from([0.0, 0.25]))
def test_after_any_history_an_answer_is_as_good_as_from_scratch(
    problem: Problem, data: st.DataObject, gap: float
) -> None:
    """Warm state must not make a chain dearer than the stated gap, nor refuse what would fit."""
    network, wanted = problem
    usage = Usage(network, fast=False)
    for chain in wanted[:-1]:
        answer = place(usage, chain, proof=False)
        if isinstance(answer, Placement):
            usage.apply(chain, answer)
        site = data.draw(st.sampled_from([s.name for s in network.sites]))
        for hit in usage.fail_site(site):
            usage.release(hit)
        usage.restore_site(site)
        if len(usage.placed) > 0 and data.draw(st.booleans()):
            expire(usage, [data.draw(st.sampled_from(sorted(usage.placed)))])
    last = wanted[-1]
    truth = Brute(network, list(usage.placed.values())).best(last)
    answer = place(usage, last, gap=gap, proof=False)
    assert isinstance(answer, Placement) == (truth is not None)
    if isinstance(answer, Placement) and truth is not None:
        assert answer.cost >= truth - 1e-9
        assert answer.cost <= truth / (1 - gap) + 1e-9
        assert answer.lower_bound <= truth + 1e-9
        if gap == 0:
            assert answer.cost == pytest.approx(truth, abs=1e-9)
