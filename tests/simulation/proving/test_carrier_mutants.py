"""Each judge of the world "carrier" is seen failing: bugs planted into what its sites do alone and into its links.

As in ``test_mutants``: a mutant sits in the real code path, and what finds it is a judge that reads the history. Where
one needs a certain fault to show itself, only seeds with that kind of fault are drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.link_mutants import Plant, sweeps_before_end, takes_any_order
from tests.simulation.proving.test_mutants import condemned, resumes_from_the_present

from isthmus.chaos.simulation.carriage import TIER
from isthmus.chaos.simulation.processes import current
from isthmus.chaos.simulation.stores import SimStore
from isthmus.chaos.simulation.world_carrier import CarrierWorld
from isthmus.federation.filters import ExportFilter, ScopeFilter
from isthmus.microcontroller import Context
from isthmus.policy.keys import ROOT
from isthmus.policy.scopes import Verb
from isthmus.site.healer import Healer
from isthmus.site.intake import Intake
from isthmus.site.placer import Placer

pytestmark = pytest.mark.timeout(900)
CUTS = ("line.cut", "line.half-open")
LINES = ("line.reset", "line.cut", "line.half-open", "store.compact")


def _worlds(patch: pytest.MonkeyPatch) -> list[CarrierWorld]:
    """The worlds that are made from now on; a planted bug reaches its own by the last."""
    made: list[CarrierWorld] = []
    honest = CarrierWorld.__init__

    def init(self: CarrierWorld, *given: Any, **named: Any) -> None:
        honest(self, *given, **named)
        made.append(self)

    patch.setattr(CarrierWorld, "__init__", init)
    return made


def _site() -> str:
    """Whose code runs now."""
    process = current()
    assert process is not None
    return process.name.partition(".")[0]


def _stands_still_while_cut(patch: pytest.MonkeyPatch, controller: type[Any]) -> None:
    """``controller`` of a site does nothing without its tier."""
    worlds = _worlds(patch)
    honest: Callable[[Any, str, Context], Any] = controller.reconcile

    async def reconcile(self: Any, item: str, context: Context) -> float | None:
        if not worlds[-1].lines[_site()].passable:
            return 0.5
        found: float | None = await honest(self, item, context)
        return found

    patch.setattr(controller, "reconcile", reconcile)


def admits_nothing_while_cut(patch: pytest.MonkeyPatch) -> None:
    """A site that waits for its tier before it takes in its own customers' wishes."""
    _stands_still_while_cut(patch, Intake)


def heals_nothing_while_cut(patch: pytest.MonkeyPatch) -> None:
    """A site that does not heal without its tier."""
    _stands_still_while_cut(patch, Healer)


def asks_the_tier_before_it_places(patch: pytest.MonkeyPatch) -> None:
    """A site's placer that looks into the tier's store: it works as long as that answers."""
    worlds = _worlds(patch)
    honest = Placer.reconcile

    async def reconcile(self: Placer, item: str, context: Context) -> float | None:
        await SimStore(worlds[-1].servers[TIER], current()).get(f"{ROOT}permission")
        return await honest(self, item, context)

    patch.setattr(Placer, "reconcile", reconcile)


def sends_whatever_lies_below_its_roots(patch: pytest.MonkeyPatch) -> None:
    """The sender has no scope; the receiver alone keeps it out, and it was on the wire."""

    def relative(self: ExportFilter, lane: int, key: str) -> str | None:
        root = self.roots[lane]
        return root.relative + key[len(root.source) :] if key.startswith(root.source) else None

    patch.setattr(ExportFilter, "relative", relative)


def has_no_scope_at_all(patch: pytest.MonkeyPatch) -> None:
    """Neither end looks: what is exported lands in the other store."""

    def check(self: ScopeFilter, verb: Verb, key: str | bytes) -> str:
        return key if isinstance(key, str) else key.decode()

    patch.setattr(ScopeFilter, "check", check)


@pytest.mark.parametrize(
    ("plant", "kinds", "within", "broken"),
    [
        (admits_nothing_while_cut, CUTS, 12, "G1"),
        (heals_nothing_while_cut, ("instance.lost", "line.cut", "line.half-open"), 8, "G1"),
        (asks_the_tier_before_it_places, CUTS, 6, "G1"),
        (resumes_from_the_present, LINES, 8, "G4"),
        (takes_any_order, ("line.swap", "line.double", "line.drop"), 12, "G5"),
        (sweeps_before_end, LINES, 8, "G6"),
        (sends_whatever_lies_below_its_roots, ("line.reset",), 2, "G8"),
        (has_no_scope_at_all, ("line.reset",), 2, "G8"),
    ],
)
def test_a_mutant_is_found_by_the_judge_of_its_promise(
    plant: Plant,
    kinds: tuple[str, ...],
    within: int,
    broken: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Why: a judge that never condemned anybody in this world may have no records to read in it."""
    condemned(plant, kinds, within, broken, monkeypatch)
