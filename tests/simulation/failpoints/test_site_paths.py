"""Every controller of a site dies at each of its failpoints, on each path of a chain's life (G3).

A death leaves what SIGKILL leaves (see kit); 0.3 s later the next life begins, the others went on meanwhile. After
each path the chain runs exactly once and nothing of it is left when it is taken back.
"""

from __future__ import annotations

import pytest
from tests.simulation.failpoints.kit import Killer, die_there, unreached
from tests.simulation.failpoints.lives import PATHS, MortalSite, live

from isthmus.chaos.simulation.loop import run_virtually
from isthmus.contract.chain import Segment
from isthmus.failpoint import FAILPOINTS
from isthmus.infrastructure.ports import InstanceState
from isthmus.microcontroller import Context
from isthmus.site.intake import Intake

EVERYWHERE = """
    chaining.attachments_made chaining.cords_written chaining.endpoints_written
    chaining.panel_reconciled runtime.after_write runtime.before_write
"""
REACHED = {
    "apply": """
        configurator.config_written credentials.certificate_written credentials.user_made
        intake.explained intake.owners_written intake.spec_written launcher.folder_published
        launcher.port_made launcher.request_written launcher.runtime_written
        placer.desired_written placer.orders_written placer.plan_written reporter.status_written
        summarizer.site_written
    """,
    "change": """
        configurator.config_deleted configurator.config_written
        credentials.certificate_written credentials.user_made credentials.user_removed
        credentials.words_removed healer.request_deleted intake.disowned intake.explained
        intake.owners_written intake.spec_written launcher.folder_published
        launcher.folder_withdrawn launcher.port_made launcher.port_removed
        launcher.request_written launcher.runtime_deleted launcher.runtime_written
        placer.desired_written placer.orders_written placer.plan_written reporter.status_written
    """,
    "heal": """
        credentials.user_made healer.request_written launcher.folder_published
        launcher.lost_removed launcher.lost_written launcher.port_made launcher.request_written
        launcher.runtime_written placer.desired_written placer.orders_written
        placer.plan_written reporter.status_written
    """,
    "delete": """
        configurator.config_deleted credentials.user_removed credentials.words_removed
        healer.request_deleted intake.owners_deleted intake.spec_deleted
        launcher.folder_withdrawn launcher.port_removed launcher.runtime_deleted
        placer.order_deleted placer.plan_deleted
    """,
    "again": """
        configurator.config_deleted credentials.certificate_written credentials.user_removed
        credentials.words_removed healer.request_deleted intake.owners_deleted
        intake.owners_written intake.spec_deleted intake.spec_written launcher.folder_withdrawn
        launcher.port_made launcher.port_removed launcher.runtime_deleted
        launcher.runtime_written placer.desired_written placer.order_deleted
        placer.plan_deleted placer.plan_written
    """,
    "refuse": "intake.refused",
    "return": "runtime.lead_won launcher.folder_published",
}
"""Path -> the points on it. A test holds this to what is really reached; together they are all of a site."""
ELSEWHERE = {"summarizer.chain_written", "summarizer.wires_written"}
"""Only where a peer asks: test_tier_paths."""


def points(path: str) -> list[str]:
    """Of one path."""
    more = EVERYWHERE if path not in ("refuse", "return") else ""
    return (REACHED[path] + more).split()


CASES = [(path, point) for path in PATHS for point in points(path)]


@pytest.mark.parametrize("path", PATHS)
def test_what_is_listed_is_what_is_reached(path: str) -> None:
    """Why: a case that kills at a point nobody comes by proves nothing."""
    assert unreached(live, path, points(path)) == set()


def test_every_point_of_a_site_is_on_some_path() -> None:
    """Why: a new failpoint without a death is one more place where an intent may be lost."""
    rooms = {path.partition(".")[0] for _, path in CASES}
    declared = {name for name in FAILPOINTS if name.partition(".")[0] in rooms}
    assert declared - ELSEWHERE == {point for _, point in CASES}
    assert {"intake", "placer", "launcher", "healer", "runtime"} <= rooms


@pytest.mark.parametrize(("path", "point"), CASES)
def test_a_death_at_a_failpoint_loses_and_doubles_nothing(path: str, point: str) -> None:
    """Why: between any two steps the power may go; what is in the store must be enough to go on (G3)."""
    die_there(live, path, point)


async def _nothing(self: Intake, context: Context, segment: Segment) -> None:
    """What intake did before this test."""


def test_the_check_finds_owners_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why: the bug this test found: a function that a change dropped kept its configuration's owner for ever."""
    monkeypatch.setattr(Intake, "_disown", _nothing)
    with pytest.raises(AssertionError, match="config-owners"):
        run_virtually(live("change", Killer()))


def test_the_check_finds_what_is_built_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why: the other half of the promise, doubled: a sandbox that nobody ordered must be seen by the check."""
    whole = MortalSite.next_life

    def twice(self: MortalSite, dead: object) -> None:
        self.compute["h1"]._instances["i-another"] = InstanceState("i-another", 1, "h2", "running")
        whole(self, dead)  # type: ignore[arg-type]

    monkeypatch.setattr(MortalSite, "next_life", twice)
    with pytest.raises(AssertionError, match="i-another"):
        run_virtually(live("apply", Killer(), "placer", "placer.plan_written"))
