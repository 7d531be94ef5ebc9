"""What a tier refuses a peer, and why: each rule at both sides of its border; no text names a site."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.global_tier.test_totals import view

from isthmus.contract import Body, Stamp, seal
from isthmus.contract.chain import Segment, SegmentIntent
from isthmus.contract.families import G_REMOTE, G_SEGMENTS
from isthmus.contract.ids import tier_mark
from isthmus.contract.peering import Delegation, Refused, check_names, load
from isthmus.contract.world import CarriedSegment, Wire
from isthmus.global_tier.carrying import (
    MAX_FUNCTIONS,
    MAX_NAME,
    MAX_TIERS,
    Policy,
    admit,
    intent_prefix,
    wish,
)
from isthmus.global_tier.numbers import Numbers
from isthmus.global_tier.orders import chains_of, order_for_peer, segment_name, visited
from isthmus.kv.port import Entry
from isthmus.microcontroller import State

TIER = "b.example/b"
POLICY = Policy(
    TIER, (Delegation("a", ("acme",)), Delegation("gone", revoked=True)), Numbers(100, 199)
)
VIEWS = (
    view("tokyo", 1000, 500, attachments=("tokyo-a", "twice")),
    view("osaka", 1000, 500, attachments=("osaka-a", "twice")),
    view("a-sites", 1000, 500, relation="beside", attachments=("milan-a",)),
)


def asked(name: str = "web", source: str = "a", **more: Any) -> CarriedSegment:
    """From a circuit to a wire."""
    document = {
        "tenant": "acme",
        "chain": name,
        "functions": [{"name": "fw", "type": "firewall"}],
        "left": {"kind": "attachment", "name": "tokyo-a"},
        "right": {"kind": "wire", "name": "w-1"},
        "wires": [{"wire": "w-1", "vni": 7}],
        "epoch": 5,
        **more,
    }
    return CarriedSegment(segment=Segment.model_validate(document), source=source)


def wire(name: str, vni: int, *, source: str = "c", chain: str = "other") -> Wire:
    return Wire(
        wire=name, vni=vni, tenant="acme", chain=chain, left_site="tokyo", right_site=source,
        source=source,
    )  # fmt: skip


def admitted(wanted: CarriedSegment, *wires: Wire, standing: CarriedSegment | None = None) -> None:
    admit(wanted, POLICY, standing=standing, views=VIEWS, wires=wires)


def test_what_keeps_all_rules_is_admitted() -> None:
    """Why: a refusal proves something only beside an admission that differs in one thing."""
    admitted(asked())
    admitted(asked("x" * MAX_NAME))
    admitted(asked(functions=[{"name": f"f{n}", "type": "nat"} for n in range(MAX_FUNCTIONS)]))
    admitted(asked(functions=[]))
    admitted(asked(trail=[f"t-{n}" for n in range(MAX_TIERS - 1)]))
    admitted(asked(wires=[{"wire": "w-1", "vni": 99}]))
    admitted(asked(wires=[{"wire": "w-1", "vni": 200}]))
    admitted(asked(), wire("w-0", 8), standing=asked(epoch=5))
    admitted(asked(epoch=1), standing=asked(source="other", epoch=5))
    admitted(asked(), wire("w-old", 7, source="a", chain="web"))


REFUSALS: list[tuple[str, dict[str, Any], str]] = [
    ("delegation", {"tenant": "evil"}, "evil"),
    ("epoch", {"epoch": 4}, "older than 5"),
    ("name", {"name": "x" * (MAX_NAME + 1)}, "at most 55"),
    ("functions", {"functions": [{"name": f"f{n}", "type": "n"} for n in range(33)]}, "33"),
    ("priority", {"priority": 1001}, "1001"),
    ("priority", {"priority": -1}, "-1"),
    ("bandwidth", {"bandwidth_kbps": 400_000_001}, "400000001"),
    ("loop", {"trail": [tier_mark(TIER, "acme")]}, "went through here before"),
    ("loop", {"trail": [f"t-{n}" for n in range(MAX_TIERS)]}, "at most 8"),
    ("wire", {"wires": []}, "no number"),
    ("vni", {"wires": [{"wire": "w-1", "vni": 100}]}, "100 to 199"),
    ("vni", {"wires": [{"wire": "w-1", "vni": 199}]}, "100 to 199"),
    ("attachment", {"left": {"kind": "attachment", "name": "nowhere"}}, "'nowhere' is not here"),
    ("attachment", {"left": {"kind": "attachment", "name": "twice"}}, "at several places"),
    ("attachment", {"left": {"kind": "attachment", "name": "milan-a"}}, "'milan-a' is not here"),
]  # fmt: skip


@pytest.mark.parametrize(("constraint", "change", "words"), REFUSALS)
def test_each_rule_refuses_with_its_word(
    constraint: str, change: dict[str, Any], words: str
) -> None:
    """Why: a peer may send anything its link lets pass; it is told which number or name decided."""
    with pytest.raises(Refused, match=words) as refused:
        admitted(asked(**change), standing=asked(epoch=5))
    assert refused.value.constraint == constraint
    assert not any(site in str(refused.value) for site in ("tokyo", "osaka", "a-sites"))


def test_a_number_or_a_wire_of_another_is_refused() -> None:
    """Why: two peers may give one number; on a shared host one's packets would be the other's (and a wire's id is a
    key here: whoever may write another's wire takes it over)."""
    with pytest.raises(Refused, match="number 7 is another wire's"):
        admitted(asked(), wire("w-9", 7))
    with pytest.raises(Refused, match="w-1 is another chain's"):
        admitted(asked(), wire("w-1", 8))


def test_who_is_revoked_may_ask_for_nothing() -> None:
    """Why: G9; the constraint is what makes intake drop what it carries."""
    with pytest.raises(Refused, match="any more") as refused:
        admitted(asked(source="gone"))
    assert refused.value.constraint == "revoked"


def test_a_peer_that_is_a_registered_site_is_refused() -> None:
    """Why: what it says as a site and what it asks as a peer would lie at one place."""
    policy = Policy(TIER, (Delegation("tokyo"),), Numbers(100, 199))
    with pytest.raises(Refused, match="another name"):
        admit(asked(source="tokyo"), policy, standing=None, views=VIEWS, wires=())


def test_a_wire_may_end_at_any_site_below_that_is_believed() -> None:
    """Why: which one is the tier's own decision; never a silent one, never a peer's."""
    order = order_for_peer(asked(), (*VIEWS, view("silent", None)))
    assert order.ingress == ("tokyo",)
    assert order.egress == ("tokyo", "osaka")
    with pytest.raises(Refused, match="wait for one"):
        order_for_peer(asked(left={"kind": "wire", "name": "w-1"}), (view("silent", None),))


def test_pairs_of_functions_that_are_elsewhere_are_dropped() -> None:
    """Why: a peer's pair that names none of its functions must not stop the placer for all others."""
    order = order_for_peer(asked(affinity=[["fw", "gone"]], anti_affinity=[["a", "b"]]), VIEWS)
    assert (order.constraints.affinity, order.constraints.anti_affinity) == ((), ())


def test_names_of_visits_never_meet_a_peers() -> None:
    """Why: the peer cuts ``web`` into ``web`` and ``web.2``; our second visit of ``web`` must be neither."""
    own = segment_name("web", 2, TIER)
    assert own not in {segment_name("web", 2), segment_name("web", 2, "c.example/c")}
    assert visited(own) == ("web", 2)
    assert list(chains_of("web.2.2-abcd")) == ["web.2.2-abcd", "web.2"]
    assert list(chains_of("web")) == ["web"]
    assert visited("web.1") == ("web.1", 1)
    assert visited("v1.x") == ("v1.x", 1)


def test_the_brake_counts_what_ends_against_what_is_carried() -> None:
    """Why: one rule for a site and a tier; both sides of the limit."""
    wires: dict[str, Any] = {"left": {"kind": "wire", "name": "w-1"}}
    carried = {f"acme/c{n}": asked(f"c{n}", **wires).segment for n in range(8)}
    names = sorted(carried)
    assert not load(Delegation("a"), carried, set(names[4:]), []).over
    over = load(Delegation("a"), carried, set(names[5:]), [])
    assert over.over
    assert (over.ending, over.chains, over.limit) == (5, 8, 4)
    assert not load(Delegation("a", brake_floor=8), carried, set(), []).over


def test_a_value_about_another_chain_is_refused() -> None:
    """Why: attack 6: the key says whose it is, not the value."""
    with pytest.raises(Refused, match="under its own name"):
        check_names(asked().segment, "acme", "other")


def test_numbers_are_both_ends_included() -> None:
    """Why: off by one here is two tenants on one wire."""
    numbers = Numbers(5, 7)
    assert [n in numbers for n in (4, 5, 7, 8)] == [False, True, True, False]
    assert numbers.free({5, 6}) == 7
    assert numbers.free({5, 6, 7}) is None


class Shown:
    """A mirror that shows what it was given."""

    def __init__(self, bodies: dict[str, Body]) -> None:
        stamp = Stamp(origin="test", incarnation="1")
        self.entries = {
            key: Entry(key, seal(body, stamp, as_of=0), 1, 1, 1) for key, body in bodies.items()
        }
        self.revision = 1


def test_the_best_claim_to_a_name_is_heard() -> None:
    """Why: a peer that may not ask for the tenant, or asks for a name that is carried for another, hides nobody."""
    policy = Policy(
        TIER, (Delegation("foreign", ("zeta",)), Delegation("early"), Delegation("late", ("acme",)))
    )

    def heard(*peers: str, carried: str = "") -> str:
        wishes: dict[str, Body] = {
            f"{intent_prefix(peer)}acme/web": SegmentIntent(segment=asked().segment)
            for peer in peers
        }
        standing: dict[str, Body] = {}
        if carried:
            standing[G_SEGMENTS.key(tenant="acme", chain="web")] = asked(source=carried)
        state = State({G_REMOTE.prefix(): Shown(wishes), G_SEGMENTS.prefix(): Shown(standing)})
        found = wish(state, policy, "acme", "web")
        return found.source if found is not None else ""

    assert heard("foreign", "early", "late") == "early"
    assert heard("foreign", "late") == "late", "who may not ask comes last"
    assert heard("early", "late", carried="late") == "late", "who is carried stays"
    assert heard("foreign") == "foreign", "and is told that it may not"
    assert heard() == ""
