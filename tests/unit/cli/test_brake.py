"""``isthmus brake`` against a live API: what an operator reads at three in the morning, and what a script gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.live_api import LiveApi, live_api
from tests.unit.cli.conftest import Command

from isthmus.contract import Tier, families, unseal
from isthmus.contract.chain import ChainRecord, Confirmation, Explanation, Segment, Terminal


def hold_chains(live: LiveApi, count: int) -> None:
    """Intake holds ``count`` deletions by the global tier."""
    end = Terminal(kind="attachment", name="customer")
    for index in range(count):
        names: dict[str, Any] = {"tenant": "acme", "chain": f"c{index:02d}"}
        segment = Segment(**names, left=end, right=end)
        live.write(families.SPECS, ChainRecord(segment=segment, source="global"), **names)
        why = Explanation(
            decision="held",
            source="global",
            constraint="brake",
            reason="global wants it deleted together with many others",
            figures={"chains_ending": float(count), "chains": float(count), "limit": 3.0},
        )
        live.write(families.EXPLAIN, why, component="intake", **names)


def word(live: LiveApi) -> Confirmation | None:
    """What lies in the store."""
    entry = live.do(live.store.get(families.CONFIRMATIONS.key(peer="global")))
    return None if entry is None else unseal(entry.value, Confirmation).body


def test_without_peers_it_says_so(isthmus: Command) -> None:
    """Why: an empty table looks like a failure."""
    assert isthmus("brake").stdout == "no peer has chains here\n"
    assert isthmus.json("brake")["brakes"] == []


def test_the_list_says_what_is_held_and_what_to_do(live: LiveApi, isthmus: Command) -> None:
    """Why: the next command must stand there; a long list must not scroll the table away."""
    hold_chains(live, 12)
    shown = isthmus("brake").stdout
    assert shown.splitlines()[0].split() == [
        "PEER", "STATE", "HELD", "OF", "LIMIT", "CONFIRMED", "UNTIL", "BY",
    ]  # fmt: skip
    assert shown.splitlines()[1].split() == ["global", "holding", "12", "12", "3", "-", "-"]
    assert "acme/c09 and 2 more" in shown
    assert shown.endswith("If that is meant: isthmus brake confirm global\n")
    assert len(isthmus.json("brake")["brakes"][0]["chains_held"]) == 12
    assert "12 deletions wait for 'isthmus brake confirm'" in isthmus("status").stdout
    assert "Decision:      held" in isthmus("explain", "acme/c00").stdout


@pytest.mark.parametrize(
    ("written", "for_s"),
    [((), 300), (("--for", "5m"), 300), (("--for", "90"), 90), (("--for", "1h"), 3600)],
)
def test_confirm_gives_the_word_for_so_long(
    live: LiveApi, isthmus: Command, written: tuple[str, ...], for_s: int
) -> None:
    """Why: minutes are what people think in; the default is short."""
    hold_chains(live, 4)
    shown = isthmus("brake", "confirm", "global", *written).stdout
    assert f"take effect for {for_s} s: the word of operator" in shown
    assert "4 held deletions" in shown
    assert word(live) == Confirmation(for_s=for_s, confirmed_by="operator")
    assert "confirmed" in isthmus("brake").stdout
    assert "If that is meant" not in isthmus("brake").stdout


def test_hold_takes_it_back_and_may_be_said_twice(live: LiveApi, isthmus: Command) -> None:
    """Why: who is not sure says it again; that is no failure."""
    hold_chains(live, 4)
    assert isthmus.json("brake", "confirm", "global")["result"] == "confirmed"
    assert isthmus.json("brake", "hold", "global")["result"] == "held"
    assert word(live) is None
    assert "nothing changed" in isthmus("brake", "hold", "global").stdout


@pytest.mark.parametrize("written", ["", "5d", "-5m", "5.5m", "m", "1 h", "9999999"])
def test_what_is_no_time_is_wrong_usage(live: LiveApi, isthmus: Command, written: str) -> None:
    """Why: nothing is guessed where a site's chains depend on it; 2 is the code of wrong usage."""
    hold_chains(live, 4)
    failed = isthmus("brake", "confirm", "global", f"--for={written}", code=2)
    assert "write 300, 300s, 5m or 1h" in failed.stderr
    assert word(live) is None


def test_more_than_an_hour_is_refused_by_the_api(live: LiveApi, isthmus: Command) -> None:
    """Why: the bound is the contract's; the command shows field, value and fix."""
    hold_chains(live, 4)
    failed = isthmus("brake", "confirm", "global", "--for", "2h", code=1)
    assert "for_s" in failed.stderr
    assert "7200" in failed.stderr
    assert "3600" in failed.stderr
    assert word(live) is None


def test_a_peer_that_is_none_ends_with_4_and_a_bad_name_with_2(
    live: LiveApi, isthmus: Command
) -> None:
    """Why: scripts tell "no such thing" from "no" by the code; a path is never built from what is no name."""
    hold_chains(live, 1)
    assert "the peers are: global" in isthmus("brake", "confirm", "globl", code=4).stderr
    isthmus("brake", "confirm", "../chains", code=2)
    isthmus("brake", "hold", "GLOBAL", code=2)


def test_the_global_tier_sends_people_to_a_site(tmp_path: Path) -> None:
    """Why: without --at the command talks to the global tier, which cannot confirm for a site."""
    with live_api(tmp_path, Tier.GLOBAL) as served:
        failed = Command(served.api)("brake", code=4)
    assert "isthmus brake --at SITE" in failed.stderr


def test_options_before_the_subcommand_count(live: LiveApi, isthmus: Command) -> None:
    """Why: "isthmus brake --json confirm global" that dropped --json (or --at!) would ask another tier."""
    hold_chains(live, 4)
    from click.testing import CliRunner

    from isthmus.cli.main import cli

    result = CliRunner().invoke(cli, ["brake", "--api", live.api, "--json", "confirm", "global"])
    assert result.exit_code == 0, result.output
    assert '"result": "confirmed"' in result.stdout
    assert word(live) is not None


def test_nothing_held_is_shown_raw(live: LiveApi, isthmus: Command) -> None:
    """Why: names come from a store that others write to (attack 20)."""
    end = Terminal(kind="attachment", name="customer")
    segment = Segment(tenant="acme", chain="shop", left=end, right=end)
    live.write(
        families.SPECS, ChainRecord(segment=segment, source="global"), tenant="acme", chain="shop"
    )
    live.do(live.store.put(families.CONFIRMATIONS.key(peer="global"), b'{"schema":"\x1b[2J"}'))
    shown = isthmus("brake").stdout
    assert "\x1b" not in shown
    assert "ready" in shown
