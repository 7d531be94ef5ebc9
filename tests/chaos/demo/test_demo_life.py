"""One demo at a time, and nothing of it stays: not after ctrl-C, not after a kill (issue 3, "Bad input and faults")."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.chaos.demo import kit

MOMENTS = {
    "before anything is said": "",
    "while the stores come up": "certificates",
    "in the middle of traffic": "Real packets pass",
}


@pytest.mark.parametrize(
    "moment",
    [pytest.param(m, marks=pytest.mark.slow if "traffic" in m else ()) for m in MOMENTS],
)
def test_ctrl_c_ends_everything(home: Path, moment: str) -> None:
    """Why: the first thing an impatient stranger does; it must leave neither a process nor a folder, and say so."""
    with kit.demo(home) as demo:
        demo.until(lambda: (home / "isthmus" / "lab.json").exists(), "it began")
        base = demo.state()["base"]
        demo.said(MOMENTS[moment])
        demo.interrupt()
        assert demo.ended() == 130, demo.text()
        last = demo.text().strip().splitlines()[-1]
        assert last == "demo: FAILED (interrupted)", demo.text()
        assert "Traceback" not in demo.text()
        assert kit.gone(base) == []
        assert not (home / "isthmus" / "lab.json").exists()


def test_a_second_demo_is_refused_with_the_way_out(home: Path) -> None:
    """Why: two at once would fight for the machine; the second must not touch the first (ports, folders, state)."""
    with kit.demo(home) as demo:
        demo.until(lambda: (home / "isthmus" / "lab.json").exists(), "it began")
        before = demo.state()
        for arguments in (("demo", "--runtime", "in-process"), ("lab", "up")):
            done = kit.isthmus(home, *arguments, timeout_s=60)
            assert done.returncode not in (0, 130)
            assert f"pid {before['pid']}" in done.stdout
            assert "isthmus lab down" in done.stdout
            assert len(done.stdout.strip().splitlines()) <= 3, "a message, not a trace"
        assert demo.state() == before
        assert Path(before["base"]).exists()
        assert demo.process.poll() is None
        ended = kit.isthmus(home, "lab", "down", timeout_s=90)
        assert ended.returncode == 0, ended.stdout
        demo.ended()
        assert kit.gone(before["base"]) == []


LEFTOVER = """
import sys, time
from isthmus.deploy.lab.home import Home
home = Home.of()
lock = home.acquire("lab")
base = home.new_base()
(base / "milan").mkdir()
(base / "milan" / "key.pem").write_text("secret")
home.write({"what": "the lab", "pid": 1, "base": str(base)})
print(base, flush=True)
time.sleep(600)
"""


def test_what_a_killed_lab_left_is_found_and_cleaned(home: Path) -> None:
    """Why: kill -9 leaves files that nobody owns; the next start must neither trip over them nor keep the secrets."""
    process = subprocess.Popen(
        [sys.executable, "-c", LEFTOVER],
        env=kit.environment(home),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    base = Path(process.stdout.readline().strip())
    assert (base / "milan" / "key.pem").exists()
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    assert base.exists(), "a killed process cleans nothing"
    done = kit.isthmus(home, "lab", "down", timeout_s=60)
    assert done.returncode == 0, done.stdout
    assert not base.exists()
    assert not (home / "isthmus" / "lab.json").exists()


def test_a_demo_that_was_killed_takes_its_world_along_and_the_next_cleans_its_folder(
    home: Path,
) -> None:
    """Why: kill -9 of the starter gives it no chance to clean; its world must die with it, its folder with the next."""
    with kit.demo(home) as demo:
        demo.said("certificates")
        base = demo.state()["base"]
        demo.process.kill()
        demo.ended()
        assert kit.gone(base) == [f"folder {base}"], "every process is gone, its folder is left"
    with kit.demo(home) as second:
        second.said("certificates")
        assert not Path(base).exists(), "the leftover is gone"
        assert second.state()["base"] != base
        second.interrupt()
        assert second.ended() == 130
