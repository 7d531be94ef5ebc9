"""The doctor's report: whole, honest about the worst, and readable by people and programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isthmus.deploy import doctor
from isthmus.deploy.binaries import NAMES
from isthmus.deploy.doctor import Diagnosis, Need, Verdict, diagnose, render_text
from isthmus.deploy.kernel_probe import FEATURES
from isthmus.deploy.packages import TOOLS


def _need(verdict: Verdict, name: str = "x", remedy: str = "") -> Need:
    return Need(group="tools", name=name, verdict=verdict, found="there", remedy=remedy)


@pytest.mark.parametrize(
    ("verdicts", "worst", "code"),
    [
        (["ok", "ok"], "ok", 0),
        (["ok", "warn"], "warn", 0),
        (["warn", "missing", "ok"], "missing", 1),
    ],
)
def test_the_worst_need_is_the_verdict(verdicts: list[Verdict], worst: Verdict, code: int) -> None:
    """A script decides by exit code: a warning does not stop it, a missing need does."""
    diagnosis = Diagnosis(needs=tuple(_need(v) for v in verdicts))
    assert (diagnosis.verdict, diagnosis.exit_code) == (worst, code)


def test_the_text_shows_each_need_its_remedy_and_the_tally() -> None:
    """A person reads the last line first, and the arrows second."""
    needs = (_need("ok", "ip"), _need("missing", "nft", "apt-get install nftables"))
    lines = render_text(Diagnosis(needs=needs)).splitlines()
    assert lines[0] == "tools"
    assert lines[1].split() == ["ok", "ip", "there"]
    assert lines[3].strip() == "-> apt-get install nftables"
    assert lines[-1] == "doctor: missing (1 ok, 0 warn, 1 missing)"


async def test_everything_needed_is_in_the_report() -> None:
    """A need that the doctor does not list is found out by a failing lab instead."""
    diagnosis = await diagnose()
    names = [need.name for need in diagnosis.needs]
    assert len(names) == len(set(names))
    assert {*NAMES, *TOOLS, *FEATURES, "python", "root", "ray", "memory"} <= set(names)
    assert Diagnosis.model_validate_json(diagnosis.model_dump_json()) == diagnosis


async def test_whatever_is_not_ok_has_a_remedy_and_ok_has_none() -> None:
    """ "missing" without a way out is useless; a remedy for what works is noise."""
    empty = {"PATH": "/nowhere", "HOME": "/nowhere"}
    for need in (await diagnose(empty)).needs:
        assert bool(need.remedy) == (need.verdict != "ok"), need


async def test_a_bare_machine_is_told_each_program_and_how_to_get_it(tmp_path: Path) -> None:
    """The stranger's first run, before `make`."""
    diagnosis = await diagnose({"PATH": str(tmp_path), "HOME": str(tmp_path)})
    missing = {n.name for n in diagnosis.needs if n.verdict == "missing"}
    assert set(NAMES) <= missing
    assert diagnosis.exit_code == 1


async def test_no_world_is_missing_kernel_features_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where namespaces are forbidden the reason must be there, once per feature that needs them."""

    async def refuse() -> dict[str, str]:
        return dict.fromkeys(FEATURES, "no private world: user 1000 got no namespaces")

    monkeypatch.setattr(doctor, "probe_kernel", refuse)
    diagnosis = await diagnose()
    kernel = [n for n in diagnosis.needs if n.group == "kernel"]
    assert all("no private world" in n.found for n in kernel)
    assert {n.name for n in kernel if n.verdict == "warn"} == {"tc netem"}
    assert diagnosis.verdict == "missing"


async def test_ray_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    """A site needs none: its absence is a warning, never missing."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    ray = next(n for n in (await diagnose()).needs if n.name == "ray")
    assert (ray.verdict, "site needs none" in ray.remedy) == ("warn", True)


def test_the_command_line_speaks_json(capsys: pytest.CaptureFixture[str]) -> None:
    """And refuses what it does not know with code 2."""
    doctor.main(["--json"])
    assert json.loads(capsys.readouterr().out)["needs"]
    assert doctor.main(["--xml"]) == 2
