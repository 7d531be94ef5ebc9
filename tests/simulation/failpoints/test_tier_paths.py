"""The tier above and its sites: every global controller dies at each of its failpoints, on each path (G3).

The same deaths as in ``test_site_paths``, over two stores and the strip between them: a reservation, a number of a
wire or a segment that is lost or taken twice shows at the other end.
"""

from __future__ import annotations

import pytest
from tests.simulation.failpoints.kit import die_there, unreached
from tests.simulation.failpoints.tiers import GLOBAL, PATHS, live

REACHED = {
    "apply": """
        global_intake.intent_written global_placer.explained global_placer.placement_written
        summarizer.chain_written summarizer.wires_written wiring.far_end_written
        wiring.segment_written wiring.vni_claimed wiring.wire_written
    """,
    "change": """
        global_intake.intent_written global_placer.explained global_placer.placement_written
        summarizer.chain_written summarizer.wires_written wiring.far_end_written
        wiring.far_ends_deleted wiring.segment_written wiring.vni_claimed wiring.vni_deleted
        wiring.wire_deleted wiring.wire_written
    """,
    "delete": """
        global_intake.intent_deleted global_placer.placement_deleted summarizer.wires_written
        wiring.far_ends_deleted wiring.segment_deleted wiring.vni_deleted wiring.wire_deleted
    """,
}
"""Path -> the points on it; a test holds this to what is really reached."""
EVERYWHERE = ["runtime.before_write", "runtime.after_write"]
CASES = [(path, point) for path in PATHS for point in [*REACHED[path].split(), *EVERYWHERE]]


@pytest.mark.parametrize("path", PATHS)
def test_what_is_listed_is_what_is_reached(path: str) -> None:
    """Why: a case that kills at a point nobody comes by proves nothing."""
    assert unreached(live, path, REACHED[path].split()) == set()


@pytest.mark.parametrize(("path", "point"), CASES)
def test_a_death_at_a_failpoint_loses_and_doubles_nothing(path: str, point: str) -> None:
    """Why: a death above must not leave half a chain below, nor a number that two wires have (G3)."""
    die_there(live, path, point, whose=GLOBAL if point in EVERYWHERE else "")
