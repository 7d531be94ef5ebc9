"""The recorder: what was seen survives the end of the one who saw it, and a bad line names itself."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from isthmus.chaos.history import (
    Header,
    HeaderError,
    HistoryFileError,
    Memory,
    RecordError,
    open_recorder,
    read,
    save,
)

HEADER = Header("simulation", 7, "abc1234", "links", {"python": "3.11"}, "isthmus simulate")


def _ticks() -> float:
    return 1.5


def _write(path: Path, *lines: object) -> Path:
    head = {
        "schema": "isthmus.history/1",
        "source": "simulation",
        "seed": 1,
        "commit": "c",
        "versions": {},
        "world": "w",
    }
    texts = [line if isinstance(line, str) else json.dumps(line) for line in (head, *lines)]
    path.write_text("".join(text + "\n" for text in texts))
    return path


def _step(n: int) -> dict[str, object]:
    return {"n": n, "t": 0.5, "who": "sim", "what": "step", "name": "launcher.port_made"}


def test_a_file_says_what_memory_says(tmp_path: Path) -> None:
    """Simulation keeps a list, real runs a file: the same calls must give the same history."""
    memory = Memory(HEADER, _ticks)
    with open_recorder(tmp_path / "h", HEADER, _ticks) as recorder:
        for one in (recorder, memory.recorder):
            one.fault("chaos", kind="cut", target="a-b", phase="begin")
            one.on("hub.boot", lambda: 9.25).heal("chaos", link="a-b", backlog=3)
            one.ask("c", op="1", verb="put", tier="global", chain="t/c", phase="sent")
    save(memory.history, tmp_path / "m")
    assert read(tmp_path / "h") == read(tmp_path / "m") == memory.history
    assert [record.n for record in memory.records] == [1, 2, 3]
    assert [record.c for record in memory.records] == ["virtual", "hub.boot", "virtual"]
    assert memory.records[1].t == 9.25


def test_the_clock_of_the_header_is_not_repeated_in_each_line(tmp_path: Path) -> None:
    """An hour's history must stay small."""
    with open_recorder(tmp_path / "h", HEADER, _ticks) as recorder:
        recorder.step("sim", name="x")
    line = json.loads((tmp_path / "h").read_text().splitlines()[1])
    assert line == {"n": 1, "t": 1.5, "who": "sim", "what": "step", "name": "x"}


def test_a_killed_writer_loses_nothing_it_had_written(tmp_path: Path) -> None:
    """The runner itself may be killed with -9: each line is out before the next thing happens."""
    program = (
        "import sys\n"
        "from isthmus.chaos.history import Header, open_recorder\n"
        "header = Header('processes', 1, 'c', 'w')\n"
        "with open_recorder(sys.argv[1], header, lambda: 0.0) as recorder:\n"
        "    for n in range(100): recorder.step('sim', name=str(n))\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "h")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        os.kill(child.pid, signal.SIGKILL)
    history = read(tmp_path / "h")
    assert len(history.records) == 100
    assert history.torn == 0


def test_a_torn_last_line_is_left_out_and_counted(tmp_path: Path) -> None:
    """Killed in the middle of a line: at every byte of it the rest stays readable."""
    path = _write(tmp_path / "h", _step(1), _step(2))
    whole = path.read_bytes()
    start = whole.rindex(b'{"n"')
    for length in range(start + 1, len(whole)):
        path.write_bytes(whole[:length])
        history = read(path)
        assert (len(history.records), history.torn) == (1, 1)
    path.write_bytes(whole[:start])
    assert (len(read(path).records), read(path).torn) == (1, 0)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "a record is a JSON object"),
        ({**_step(2), "what": "stepp"}, "what='stepp' is no kind"),
        ({**_step(2), "names": "x"}, "step.names is no field"),
        ({**_step(2), "name": 3}, "step.name is 3; it must be a str"),
        ({**_step(2), "t": "soon"}, "t is 'soon'"),
        ({**_step(2), "t": True}, "t is True"),
        ('{"n":2,"t":NaN,"who":"a","what":"step","name":"x"}', "not JSON (NaN is no number"),
        ({**_step(2), "who": None}, "c, who and what must be texts"),
        ({"n": 2, "t": 0, "who": "a", "what": "step"}, "step.name is missing"),
        (_step(3), "n is 3; 2 was next"),
        (_step(1), "n is 1; 2 was next"),
        ({**_step(2), "n": True}, "n is True"),
        (
            {"n": 2, "t": 0, "who": "a", "what": "heal", "link": "l", "backlog": True},
            "heal.backlog is True",
        ),
        (
            {**_step(2), "what": "fault", "kind": "cut", "target": "l", "phase": "middle"},
            "fault.name is no field",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: object, problem: str) -> None:
    """A judge that reads what it does not understand would judge nonsense."""
    path = _write(tmp_path / "h", _step(1), line, _step(3))
    with pytest.raises(RecordError) as caught:
        read(path)
    assert str(caught.value).startswith(f"line 3: {problem}")
    assert caught.value.line == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}\n",
        "x\n",
        "[]\n",
        '{"schema":"isthmus.history/2"}\n',
        '{"schema":"isthmus.history/1","source":"rumour"}\n',
        '{"schema":"isthmus.history/1","source":"simulation","seed":"7"}\n',
        '{"schema":"isthmus.history/1"',
    ],
)
def test_a_file_without_a_header_is_refused(tmp_path: Path, text: str) -> None:
    """Without seed and commit nobody could run it again."""
    (tmp_path / "h").write_text(text)
    with pytest.raises(HeaderError):
        read(tmp_path / "h")


def test_an_absent_file_is_one_sentence(tmp_path: Path) -> None:
    """And no stack trace."""
    with pytest.raises(HistoryFileError, match="No such file"):
        read(tmp_path / "none")


def test_one_number_counts_for_all_clocks() -> None:
    """The order of observation is the order of n, whatever the clocks say."""
    memory = Memory(HEADER, _ticks)
    other = memory.recorder.on("x.boot", lambda: 0.0)
    for recorder in itertools.islice(itertools.cycle((memory.recorder, other)), 6):
        recorder.step("sim", name="x")
    assert [record.n for record in memory.records] == [1, 2, 3, 4, 5, 6]
