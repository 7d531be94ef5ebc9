"""``isthmus federation status`` over the files of two gateways of one tier: where a site is, once and clearly."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from isthmus.cli.federation import federation
from isthmus.federation.status import LinkStatus, write_status


def test_a_site_at_the_neighbour_is_one_plain_line(tmp_path: Path) -> None:
    """Why: zeros of a link that is not here read as a fault; the operator wants to know which gateway to ask. What a
    neighbour wrote is shown, never obeyed by a terminal. (Mutant: print it as any link.)"""
    north, south = tmp_path / "north.json", tmp_path / "south.json"
    write_status(north, (LinkStatus(peer="paris", state="open", connected=True),))
    write_status(south, (LinkStatus(peer="paris", state="elsewhere", gateway="north\x1b[31m"),))
    told = CliRunner().invoke(federation, ["status", str(north), str(south)])
    assert told.exit_code == 0, told.output
    here, there = told.output.splitlines()
    assert here.startswith("paris: open, heard ")
    assert there.startswith("paris: elsewhere, linked to gateway north")
    assert there.endswith(" of this tier")
    assert "\x1b" not in there
