"""``isthmus judge``: scripts decide by its exit code, people by its text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isthmus.chaos.history import Header, open_recorder
from isthmus.cli.main import main

Capture = pytest.CaptureFixture[str]


def _history(path: Path, *, lost: int = 0, promises: tuple[str, ...] = (), sha: str = "") -> Path:
    command = "isthmus simulate --seeds 7"
    header = Header("simulation", 7, "abc1234", "links", {"python": "3"}, command, "v", promises)
    with open_recorder(path, header, lambda: 1.25) as recorder:
        recorder.fault("chaos", kind="kill", target="milan.fw", phase="begin")
        recorder.probe("p", path="a/b", sent=10, lost=lost, longest_gap_ms=2, phase="planned")
        if sha:
            recorder.trace("sim", sha256=sha)
    return path


def test_kept(tmp_path: Path, capsys: Capture) -> None:
    """One promise has data and is kept; the others are named, and fail nothing."""
    assert main(["judge", str(_history(tmp_path / "h"))]) == 0
    text = capsys.readouterr().out
    assert "world links, seed 7, commit abc1234" in text
    assert "fault t=1.250 begin kill milan.fw" in text
    assert "G14 kept" in text
    assert "G2 not judged here yet" in text
    assert "1 kept, 11 no data, 3 not judged here yet" in text


def test_broken(tmp_path: Path, capsys: Capture) -> None:
    """The promise's own sentence, the record, and how to see it again."""
    assert main(["judge", str(_history(tmp_path / "h", lost=2))]) == 1
    text = capsys.readouterr().out
    assert "G14 broken: healing, upgrade, scale-out and re-placement of a VNF keep traffic" in text
    assert "2 of 10 lost in a planned change" in text
    assert "#2 t=1.250 p probe" in text
    assert "reproduce: isthmus simulate --seeds 7" in text


def test_json(tmp_path: Path, capsys: Capture) -> None:
    """The fields GUARANTEES.md asks for."""
    assert main(["judge", str(_history(tmp_path / "h", lost=2)), "--json", "--only", "G14"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["schema"] == "isthmus.judgement/1"
    assert (report["commit"], report["seed"]) == ("abc1234", 7)
    assert report["versions"] == {"python": "3"}
    assert report["reproduce"] == "isthmus simulate --seeds 7"
    assert report["faults"][0]["target"] == "milan.fw"
    (promise,) = report["promises"]
    assert promise["outcome"] == "broken"
    assert promise["bound"] == "heal <= 500 ms; make-before-break: 0 lost"
    assert promise["offences"][0]["record"]["n"] == 2
    assert {"samples", "figure", "notes", "promise"} <= promise.keys()


def test_no_data_for_what_was_asked(tmp_path: Path) -> None:
    """Asked by the option, or promised by the header."""
    assert main(["judge", str(_history(tmp_path / "h")), "--only", "G14"]) == 0
    assert main(["judge", str(_history(tmp_path / "h")), "--only", "G14, G3"]) == 1
    assert main(["judge", str(_history(tmp_path / "i", promises=("G14", "G3")))]) == 1
    assert main(["judge", str(_history(tmp_path / "j", promises=("G14",)))]) == 0


def test_a_history_that_keeps_nothing_fails(tmp_path: Path) -> None:
    """An empty run must not be green."""
    with open_recorder(tmp_path / "h", Header("simulation", 1, "c", "w"), lambda: 0.0):
        pass
    assert main(["judge", str(tmp_path / "h")]) == 1


def test_runs_are_compared_over_files(tmp_path: Path, capsys: Capture) -> None:
    """Two files of one seed must tell the same trace."""
    files = [str(_history(tmp_path / name, sha=sha)) for name, sha in (("a", "1"), ("b", "1"))]
    assert main(["judge", *files, "--only", "G13"]) == 0
    other = str(_history(tmp_path / "c", sha="2"))
    capsys.readouterr()
    assert main(["judge", files[0], other, "--json"]) == 1
    assert len(json.loads(capsys.readouterr().out)) == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [("x\n", "line 1 is not JSON"), ("{}\n", "line 1 is not a header"), (None, "No such file")],
)
def test_bad_files(tmp_path: Path, capsys: Capture, text: str | None, problem: str) -> None:
    """One sentence with the file's name, exit code 2."""
    if text is not None:
        (tmp_path / "h").write_text(text)
    assert main(["judge", str(tmp_path / "h")]) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert str(tmp_path / "h") in error
    assert error.count("\n") == 1


def test_bad_usage(tmp_path: Path, capsys: Capture) -> None:
    """A misspelt promise, and no file at all."""
    assert main(["judge", str(_history(tmp_path / "h")), "--only", "G99"]) == 2
    assert "--only: there is no promise 'G99'; there are: G1, G2" in capsys.readouterr().err
    assert main(["judge", str(_history(tmp_path / "h", promises=("G0",)))]) == 2
    assert "header.promises" in capsys.readouterr().err
    assert main(["judge"]) == 2


def test_a_torn_line_is_told(tmp_path: Path, capsys: Capture) -> None:
    """Whoever reads the verdict must know that the run was killed."""
    path = _history(tmp_path / "h")
    path.write_text(path.read_text() + '{"n":3,"t"')
    assert main(["judge", str(path)]) == 0
    assert "the last line was not finished" in capsys.readouterr().out
