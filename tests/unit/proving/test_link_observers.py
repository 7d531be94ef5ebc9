"""What is planted, searched and compared in the worlds with links: without it G4, G6 and G8 have no records."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.unit.proving.tale import Tale

from isthmus.chaos.history import Outcome
from isthmus.chaos.simulation.carriage import TIER
from isthmus.chaos.simulation.coverage import expected
from isthmus.chaos.simulation.mirrors import Direction, Mirrors, directions
from isthmus.chaos.simulation.run import run, schedule_of
from isthmus.chaos.simulation.scope_observer import FOREIGN, ScopeObserver, planted
from isthmus.chaos.simulation.stats import Stats
from isthmus.chaos.simulation.stores import StoreServer
from isthmus.federation import link_pb2 as pb
from isthmus.kv.port import Event
from isthmus.policy.keys import ROOT
from isthmus.policy.scopes import Decision, Verb

UP, DOWN = directions(["milan"])
INTENT = f"{ROOT}outbox/milan/intents/t/c"
SHOWN = f"{ROOT}remote/{TIER}/intents/t/c"


class Pair:
    """A site and its tier, without any link."""

    def __init__(self) -> None:
        self.tale = Tale()
        self.servers = {
            name: StoreServer(name, lambda: 0.0, random.Random(1), self._events)
            for name in (TIER, "milan")
        }
        self.mirrors = Mirrors(self.tale.say, self.servers, (UP, DOWN))
        self.scopes = ScopeObserver(self.tale.say, self.servers, (UP, DOWN))
        self.mirrors.observer.begin()

    def _events(self, server: StoreServer, revision: int, events: Sequence[Event]) -> None:
        self.mirrors.observer.committed(server, events)

    def put(self, name: str, key: str, value: bytes) -> None:
        self.servers[name].mvcc.put(key, value)

    def sent(self, way: Direction, value: bytes) -> None:
        item = pb.Item(verb=pb.VERB_PUT, key=b"intents/t/c", value=value)
        self.scopes.crossed(way.name, pb.Batch(items=[item]))


def test_a_mirror_is_compared_under_the_names_that_cross() -> None:
    """Why: what may not cross is no part of the truth, and the importer's own book-keeping is none of the mirror."""
    pair = Pair()
    assert pair.mirrors.equal()
    pair.put(TIER, INTENT, b"1")
    pair.put(TIER, f"{ROOT}outbox/milan/secrets/no", b"1")
    pair.put("milan", f"{ROOT}remote/{TIER}/meta.cursor", b"1")
    assert pair.mirrors.sets(DOWN) == ({"intents/t/c": b"1"}, {})
    assert not pair.mirrors.equal()
    assert list(pair.mirrors.differences()) == [
        f"mirror {DOWN.name} differs in 1 keys: intents/t/c"
    ]
    pair.put("milan", SHOWN, b"1")
    assert pair.mirrors.equal()


def test_each_link_says_once_that_it_is_equal_and_once_how_it_ends() -> None:
    """Why: G4 takes the first equal digest after a heal, and the last one of all; here it became unequal again."""
    pair = Pair()
    pair.put(TIER, INTENT, b"1")
    pair.mirrors.healed()
    assert not pair.mirrors.equal()
    pair.put("milan", SHOWN, b"1")
    assert pair.mirrors.equal()
    assert pair.mirrors.equal()
    pair.put(TIER, INTENT, b"2")
    pair.mirrors.conclude()
    down = [one for one in pair.tale.records if one.text("link") == DOWN.name]
    assert [one.what for one in down] == ["heal", "digest", "digest"]
    assert down[0].whole("backlog") == 1
    assert down[1].text("source") == down[1].text("target") != down[2].text("source")
    assert pair.tale.judge("G4").outcome is Outcome.BROKEN
    assert pair.tale.judge("G6").outcome is Outcome.BROKEN


def _refuse_one(pair: Pair) -> None:
    log = pair.scopes.log(DOWN.name, UP.name)
    refusal = Decision(False, "scope-denied", "no rule")
    for _ in range(3):
        log.add("export", Verb.PUT, f"{ROOT}outbox/milan/secrets/no", refusal)
    assert log.total("export") == 3


def test_foreign_values_lie_in_every_source_and_nowhere_else_is_good() -> None:
    """G8 kept: something was tried, each wire and store was searched."""
    pair = Pair()
    pair.scopes.plant()
    for way in (UP, DOWN):
        entries = [pair.servers[way.source].mvcc.get(key) for key in planted(way)]
        assert all(entry is not None and entry.value.startswith(FOREIGN) for entry in entries)
        assert {way.relative(key) for key in planted(way)} >= {None}
        assert any(way.relative(key) for key in planted(way)), "below a root, too"
    _refuse_one(pair)
    pair.sent(DOWN, b"1")
    pair.scopes.conclude()
    verdict = pair.tale.judge("G8")
    assert verdict.outcome is Outcome.KEPT, verdict.text
    assert verdict.samples == 3, "two stores, and the one wire on which anything was sent"
    denial = next(one for one in pair.tale.records if one.what == "denial")
    assert (denial.text("peer"), denial.text("key")) == ("milan", "secrets/no")
    assert sum(one.what == "denial" for one in pair.tale.records) == 1, "each refusal once"


def test_a_search_without_a_refusal_proves_nothing() -> None:
    """Why: who planted nothing finds nothing."""
    pair = Pair()
    pair.scopes.conclude()
    assert pair.tale.judge("G8").outcome is Outcome.NO_DATA


def test_a_foreign_value_is_found_on_the_wire_and_in_the_store() -> None:
    """G8 broken, by each end for itself: what was sent and refused there was sent all the same."""
    wire = Pair()
    _refuse_one(wire)
    wire.sent(DOWN, FOREIGN + b"1")
    wire.scopes.conclude()
    assert wire.tale.judge("G8").outcome is Outcome.BROKEN
    store = Pair()
    _refuse_one(store)
    store.put("milan", SHOWN, FOREIGN + b"1")
    store.scopes.conclude()
    assert store.tale.judge("G8").outcome is Outcome.BROKEN


def test_a_store_that_is_away_is_not_written_to() -> None:
    """Why: who has too few members takes no writes, also not from an observer."""
    pair = Pair()
    pair.servers["milan"].go_away()
    pair.scopes.plant()
    assert all(pair.servers["milan"].mvcc.get(key) is None for key in planted(UP))
    assert all(pair.servers[TIER].mvcc.get(key) is not None for key in planted(DOWN))


def test_a_judge_without_samples_is_told_as_never_hit() -> None:
    """Why: a promise that is judged on nothing is green for ever. (Mutant: a run that does not count its samples.)"""
    wanted = {"judged": expected("carrier")["judged"]}
    assert wanted["judged"] == ("G1", "G3", "G4", "G5", "G6", "G8", "G12")
    assert Stats().zeros(wanted) == [f"judged {name}" for name in sorted(wanted["judged"])]
    outcome = run(schedule_of(1, "links"))
    assert outcome.stats.zeros({"judged": expected("links")["judged"]}) == []
    assert outcome.stats.judged["G8"] == 12
