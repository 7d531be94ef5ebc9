"""Failpoints: off they do nothing, armed they do exactly what was ordered, and the table says the truth."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from isthmus.cli.main import cli
from isthmus.deploy.doctor import diagnose
from isthmus.failpoint import (
    FAILPOINTS,
    VARIABLE,
    FailpointError,
    FailpointRefused,
    Orders,
    afailpoint,
    arm,
    arm_from_environment,
    armed,
    disarm,
    failpoint,
    parse,
)

HOUSE = Path(__file__).resolve().parents[3]
ROOMS = ("federation", "site", "global", "security", "deploy", "chaos")
POINT, OTHER = "launcher.port_made", "placer.plan_written"


@pytest.fixture(autouse=True)
def _off() -> Iterator[None]:
    yield
    disarm()


def placed() -> set[str]:
    """Every name that code passes to a failpoint; anything but a literal is a mistake of its own."""
    found: set[str] = set()
    for room in ROOMS:
        for path in (HOUSE / room).rglob("*.py"):
            if "/isthmus/failpoint/" in str(path) or path.name == "proving.py":
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                    continue
                if node.func.id in ("failpoint", "afailpoint"):
                    assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}"
                    found.add(str(node.args[0].value))
    return found


def test_the_table_names_what_is_placed_and_nothing_else() -> None:
    """Why: a name nobody reaches is coverage that lies; a place without a name cannot be found."""
    there = placed()
    assert there, "no failpoint was found at all: this test looks in the wrong place"
    assert there - FAILPOINTS.keys() == set(), "placed, but not declared"
    assert FAILPOINTS.keys() - there == set(), "declared, but reached by no code"


def test_each_sentence_is_one() -> None:
    """Why: the list is read by people who choose where to kill."""
    for name, sentence in FAILPOINTS.items():
        assert name.count(".") == 1, name
        assert len(sentence) > 15, name


async def test_off_is_silent_and_armed_hears_every_name() -> None:
    """Why: a simulation counts what it covered by these names."""
    heard: list[str] = []
    failpoint(POINT)
    await afailpoint(POINT)
    assert not armed()
    before = arm(heard.append)
    failpoint(POINT)
    await afailpoint(OTHER)
    disarm(before)
    failpoint(POINT)
    assert heard == [POINT, OTHER]


def test_an_undeclared_name_is_an_error_once_anybody_hears() -> None:
    """Why: a misspelt name would otherwise be a point that never fires."""
    arm(lambda name: None)
    with pytest.raises(KeyError, match=r"launcher\.prot_made"):
        failpoint("launcher.prot_made")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("launcher.port_made", "no '='"),
        ("launcher.no_such=kill", "no failpoint"),
        (f"{POINT}=explode", "no action"),
        (f"{POINT}=delay", "no action"),
        (f"{POINT}=kill:1", "no action"),
        (f"{POINT}=delay:soon", "bad number"),
        (f"{POINT}=x*kill", "bad number"),
        (f"{POINT}=*kill", "bad number"),
        (f"{POINT}=0*kill", "out of range"),
        (f"{POINT}=delay:-1", "out of range"),
        (f"{POINT}=delay:nan", "out of range"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(text: str, words: str) -> None:
    """Why: an experiment that arms nothing proves nothing."""
    with pytest.raises(FailpointRefused, match=words):
        parse(text)


def test_orders_are_read_as_written() -> None:
    """Why: three runs of the same words must mean the same."""
    text = f"{POINT}=2*delay:0.5@3; {OTHER}=kill\n# a remark; with a semicolon\nhealer.request_written=stop"
    assert [order.text() for order in parse(text)] == [
        f"{POINT}=2*delay:0.5@3",
        f"{OTHER}=kill",
        "healer.request_written=stop",
    ]


def test_counts_and_passes() -> None:
    """Why: "the third time" is where half of all bugs sit."""
    orders = Orders(parse(f"{POINT}=2*error@1"))
    done = []
    for _ in range(5):
        try:
            orders(POINT)
            done.append("passed")
        except FailpointError:
            done.append("failed")
    assert done == ["passed", "failed", "failed", "passed", "passed"]


def test_signals_and_delays() -> None:
    """Why: the four actions, without dying here."""
    sent: list[int] = []
    orders = Orders(parse(f"{POINT}=kill;{OTHER}=stop;healer.request_written=delay:0.25"), None,
                    sent.append)  # fmt: skip
    assert (orders(POINT), orders(OTHER), orders("healer.request_written")) == (None, None, 0.25)
    assert sent == [signal.SIGKILL, signal.SIGSTOP]


def test_a_file_is_read_again_and_struck_out_before_it_is_carried_out(tmp_path: Path) -> None:
    """Why: a process that comes back must not be killed for ever by the order that killed it."""
    file, sent = tmp_path / "orders", list[int]()
    first = Orders(file=file, send=sent.append)
    first(POINT)
    file.write_text(f"{POINT}=kill")
    first(POINT)
    assert sent == [signal.SIGKILL]
    assert file.read_text() == ""
    second = Orders(file=file, send=sent.append)
    second(POINT)
    assert sent == [signal.SIGKILL]
    file.write_text("launcher.no_such=kill")
    second(POINT)
    assert sent == [signal.SIGKILL]


@pytest.mark.parametrize(("action", "code"), [("kill", -signal.SIGKILL), ("1*kill@1", 0)])
def test_a_real_process_obeys_its_environment(action: str, code: int) -> None:
    """Why: the whole way, from the variable to the death of a process, and loudly."""
    done = subprocess.run(
        [sys.executable, "-c", f"from isthmus.failpoint import failpoint; failpoint({POINT!r})"],
        env={**os.environ, VARIABLE: f"{POINT}={action}"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "FAILPOINTS ARMED" in done.stderr


def test_a_bad_order_ends_the_process_without_a_trace() -> None:
    """Why: whoever misspelt it is told so in one line."""
    with pytest.raises(SystemExit, match="no failpoint"):
        arm_from_environment({VARIABLE: "nonsense=kill"})
    assert arm_from_environment({}) is None


def test_the_command_lists_them() -> None:
    """Why: nobody reads a table in the source to choose where to kill."""
    runner = CliRunner()
    text = runner.invoke(cli, ["failpoints"])
    assert text.exit_code == 0
    assert all(name in text.output and says in text.output for name, says in FAILPOINTS.items())
    assert "none is armed here" in text.output
    document = json.loads(runner.invoke(cli, ["failpoints", "--json"]).output)
    assert document == {"failpoints": FAILPOINTS, "armed": None}


async def test_the_doctor_tells_what_is_armed() -> None:
    """Why: a variable left in a unit file kills a site at the worst moment."""
    diagnosis = await diagnose({**os.environ, VARIABLE: f"{POINT}=kill"})
    need = next(need for need in diagnosis.needs if need.name == "failpoints")
    assert need.verdict == "warn"
    assert f"{POINT}=kill" in need.found
