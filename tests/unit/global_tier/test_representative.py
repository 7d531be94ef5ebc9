"""What a peer is told is made here: no text from below, the peer's own epoch, names that are the tier's alone."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from tests.support import eventually
from tests.unit.global_tier.test_carrying import TIER, VIEWS, asked

from isthmus.contract import Body, Stamp, seal, unseal
from isthmus.contract.chain import (
    ChainSpec,
    ChainStatus,
    Explanation,
    FunctionStatus,
    Phase,
    SegmentIntent,
)
from isthmus.contract.families import (
    G_EXPLAIN,
    G_PEER_CHAINS,
    G_PLACEMENTS,
    G_REMOTE,
    G_SEGMENTS,
    G_STATUS,
)
from isthmus.contract.ids import tier_mark, wire_id
from isthmus.contract.peering import Delegation
from isthmus.contract.world import Intent
from isthmus.contract.world import Placement as Record
from isthmus.global_tier.carrying import Policy
from isthmus.global_tier.orders import order_for_peer, segment_name
from isthmus.global_tier.placer import _decided
from isthmus.global_tier.representative import Representative
from isthmus.global_tier.sites import record
from isthmus.kv.memory import MemoryStore
from isthmus.microcontroller import Runner
from isthmus.placement import Placement

NAMES = {"tenant": "acme", "chain": "web"}


def placed(tier: str = TIER) -> Record:
    """Tokyo, osaka, tokyo again: the last visit ends at the peer's wire."""
    functions = [{"name": name, "type": "nat"} for name in ("f1", "f2")]
    order = order_for_peer(asked(functions=functions), VIEWS)
    answer = Placement(
        chain="acme/web",
        sites=("osaka", "tokyo"),
        hops=(("tokyo>osaka",), ("osaka>tokyo",), ()),
        routes=(("tokyo", "osaka"), ("osaka", "tokyo"), ("tokyo",)),
        latency_ns=1,
        cost=1.0,
        lower_bound=0.0,
    )
    return record(order, answer, epoch=9, intent_revision=1, decided_by="test", tier=tier)


def test_names_wires_and_marks_of_a_carried_segment_are_the_tiers() -> None:
    """Why: the peer counts epochs and visits of its own for the same chain; both end on one host."""
    body = placed()
    assert (body.source, body.source_epoch, body.epoch) == ("a", 5, 9)
    names = [one.segment.chain for one in body.segments]
    assert names == ["web", "web", segment_name("web", 2, TIER)]
    assert segment_name("web", 2) not in names
    assert [one.wire for one in body.wires] == [wire_id("acme", "web", 9, n, TIER) for n in (0, 1)]
    assert {one.segment.trail for one in body.segments} == {(tier_mark(TIER, "acme"),)}
    outer = [[ref.wire for ref in one.segment.wires] for one in body.segments]
    assert outer == [[], [], ["w-1"]], "the peer's number goes where the peer's wire ends"


async def test_no_text_from_below_is_passed_on() -> None:
    """Why: a reason names hosts and sites, and a VNF's words may name anything (R61, attack 21)."""
    store = MemoryStore()
    stamp = Stamp(origin="test", incarnation="1")

    async def put(key: str, body: Body) -> None:
        await store.put(key, seal(body, stamp, as_of=time.time()))

    await put(G_SEGMENTS.key(**NAMES), asked())
    await put(G_PLACEMENTS.key(**NAMES), placed())
    below = ChainStatus(
        phase=Phase.DEGRADED,
        reason="tokyo: host h7 has patched nothing yet",
        source="a",
        epoch=9,
        path=("tokyo/fw",),
        functions=(FunctionStatus(function="fw", site="tokyo", host="h7", phase="lost at h7"),),
        connected_hops=1,
        hops=3,
    )
    await put(G_STATUS.key(**NAMES), below)
    policy = Policy(TIER, (Delegation("a"),))
    task = asyncio.create_task(Runner(Representative("b-tier", policy), store, "test").run())
    key = G_PEER_CHAINS.key(peer="a", **NAMES)
    try:
        await eventually(lambda: store.get(key), "the peer is told")
        entry = await store.get(key)
        assert entry is not None
        told = unseal(entry.value, ChainStatus).body
        assert (told.phase, told.reason, told.epoch) == (
            Phase.DEGRADED,
            "1 of 3 hops are patched",
            5,
        )
        assert (told.path, told.functions[0].site) == (("b-tier/fw",), "b-tier")
        assert not any(word in entry.value for word in (b"tokyo", b"h7"))
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("component", ["intake", "placer"])
@pytest.mark.parametrize(("about", "phase"), [(4, Phase.PENDING), (5, Phase.REFUSED)])
async def test_a_refusal_of_the_request_before_is_not_told_of_this_one(
    component: str, about: int, phase: Phase
) -> None:
    """Why: the peer takes its chain elsewhere at that word; the request it asks now was not looked at yet."""
    store = MemoryStore()
    stamp = Stamp(origin="test", incarnation="1")

    async def put(key: str, body: Body) -> None:
        await store.put(key, seal(body, stamp, as_of=time.time()))

    await put(f"{G_REMOTE.key(site='a')}intents/acme/web", SegmentIntent(segment=asked().segment))
    if component == "placer":
        await put(G_SEGMENTS.key(**NAMES), asked())
        await put(G_STATUS.key(**NAMES), ChainStatus(phase=Phase.REFUSED, source="a"))
    why = Explanation(decision="refused", source="a", constraint="vni", reason="no", epoch=about)
    await put(G_EXPLAIN.key(component=component, **NAMES), why)
    policy = Policy(TIER, (Delegation("a"),))
    task = asyncio.create_task(Runner(Representative("b-tier", policy), store, "test").run())
    key = G_PEER_CHAINS.key(peer="a", **NAMES)
    try:
        await eventually(lambda: store.get(key), "the peer is told")
        entry = await store.get(key)
        assert entry is not None
        told = unseal(entry.value, ChainStatus).body
        assert told.phase is phase
        refused = told.refused
        assert (refused.epoch if refused is not None else None) == (
            5 if phase is Phase.REFUSED else None
        )
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def test_a_placement_made_for_another_is_not_taken_for_ours() -> None:
    """Why: a name may pass from a peer to us between two looks; generations of both begin at 1."""
    standing = placed()
    assert _decided(asked(), 1, standing)
    assert not _decided(asked(), 2, standing)
    assert not _decided(asked(epoch=6), 1, standing)
    assert not _decided(asked(source="c"), 1, standing)
    ours = ChainSpec.model_validate(
        {
            "tenant": "acme",
            "chain": "web",
            "ingress": {"site": "tokyo", "attachment": "a"},
            "egress": {"site": "tokyo", "attachment": "b"},
            "functions": [{"name": "fw", "type": "nat"}],
        }
    )
    assert not _decided(Intent(spec=ours), 1, standing)
