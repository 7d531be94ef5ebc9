"""A tier that carries for a tier above dies at each failpoint of that trade, on each path (G3).

The lower tier's intake, wiring and representative are what a peer's chain hangs on: a segment that is taken twice, an
outer wire without its end or a status that is never told shows above, or is left over below.
"""

from __future__ import annotations

import pytest
from tests.simulation.failpoints import test_link_deaths, test_site_paths, test_tier_paths
from tests.simulation.failpoints.kit import Killer, die_there, reached, unreached
from tests.simulation.failpoints.stacked import PATHS, live

from isthmus.chaos.simulation.loop import run_virtually
from isthmus.failpoint import FAILPOINTS
from isthmus.global_tier.representative import Representative
from isthmus.microcontroller import Context

TOLD = "representative.chain_written representative.site_written representative.wires_written "
REACHED = {
    "apply": TOLD + "global_intake.segment_written global_placer.placement_written"
    " wiring.far_end_written wiring.outer_wire_written wiring.segment_written",
    "change": TOLD + "global_intake.segment_written global_placer.placement_written"
    " wiring.outer_wire_written wiring.segment_written wiring.wire_deleted",
    "delete": TOLD + "global_intake.segment_deleted global_placer.placement_deleted"
    " wiring.far_ends_deleted wiring.segment_deleted wiring.vni_deleted wiring.wire_deleted",
}
"""Path -> the points on it, as the tier that is asked comes by them."""
BELOW = "europe/"
EVERYWHERE = ("runtime.before_write", "runtime.after_write")
CASES = [(path, point) for path in PATHS for point in REACHED[path].split()]


def _all_cases() -> set[str]:
    """Every point at which some test of this folder kills."""
    cases = (*test_site_paths.CASES, *test_tier_paths.CASES, *CASES)
    return {point for _, point in cases} | set(test_link_deaths.POINTS)


@pytest.mark.parametrize("path", PATHS)
def test_what_is_listed_is_what_is_reached(path: str) -> None:
    """Why: a case that kills at a point nobody comes by proves nothing; of the tier's own trade none is left out."""
    assert unreached(live, path, REACHED[path].split()) == set()
    ours = ("representative.", "global_intake.segment_", "wiring.outer_")
    come_by = {name for life, name in reached(live, path) if life.startswith(BELOW)}
    assert {name for name in come_by if name.startswith(ours)} <= set(REACHED[path].split()) | {
        "wiring.outer_wire_written"  # when a chain is taken back it is written once more, as it was
    }


@pytest.mark.parametrize(("path", "point"), CASES)
def test_a_death_at_a_failpoint_loses_and_doubles_nothing(path: str, point: str) -> None:
    """Why: between two tiers a death must not leave a segment that nobody asks for, or two (G3)."""
    die_there(live, path, point, whose=BELOW)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("point", EVERYWHERE)
def test_whoever_speaks_for_the_tier_dies_at_a_write(path: str, point: str) -> None:
    """Why: the representative's word is what the tier above acts on; half of it must not stay."""
    die_there(live, path, point, whose=f"{BELOW}representative")


def test_every_failpoint_has_a_death() -> None:
    """Why: coverage that cannot lie. Who adds a failpoint without a test that dies there reads its name here."""
    assert set(FAILPOINTS) - _all_cases() == set(), "no test kills at these"
    assert _all_cases() - set(FAILPOINTS) == set(), "tests kill at points that there are not"


async def _forgets_nothing(self: Representative, context: Context) -> None:
    """What it did before would be told for ever."""


def test_the_check_finds_a_wire_that_is_never_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why: the check must see what a representative leaves out, or its deaths prove nothing."""
    monkeypatch.setattr(Representative, "_wires", _forgets_nothing)
    with pytest.raises(AssertionError, match="killed  at nowhere"):
        run_virtually(live("apply", Killer()))
