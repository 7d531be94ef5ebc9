"""Finding a process of a namespace below by the id it has there: exactly one, or none."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from isthmus.chaos.lookup import outer_pid

MARK = "isthmus-lookup-test"


def below(mark: str) -> subprocess.Popen[str]:
    """A shell in a pid namespace of its own, below ours; its command line holds ``mark``."""
    flags = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    script = f"echo ready; while :; do read -r line; done # {mark}"
    return subprocess.Popen(
        ["unshare", *flags, "--pid", "--fork", "--kill-child", "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def first() -> Iterator[subprocess.Popen[str]]:
    """One such process, running."""
    process = below(f"{MARK}-first")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate(timeout=10)


def test_the_process_is_found_by_its_inner_id(first: subprocess.Popen[str]) -> None:
    """Why: what Ray's actor calls itself is not what kill -9 needs from outside its namespace."""
    pid = outer_pid(1, f"{MARK}-first")
    assert pid is not None
    assert pid != first.pid, "the child, not the unshare that started it"
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    assert command.startswith(b"sh\0-c\0")


def test_nobody_and_a_stranger_are_none(first: subprocess.Popen[str]) -> None:
    """Why: a kill at a wrong process is worse than no kill."""
    assert outer_pid(1, "no such command line") is None
    assert outer_pid(2**22, f"{MARK}-first") is None
    ours = subprocess.Popen(
        ["sh", "-c", f"read -r line # {MARK}-ours"], stdin=subprocess.PIPE, text=True
    )
    try:
        none = outer_pid(ours.pid, f"{MARK}-ours")
        assert none is None, "a process of our own namespace has no inner id"
    finally:
        ours.communicate(timeout=10)


def test_two_that_fit_are_none(first: subprocess.Popen[str]) -> None:
    """Why: process 1 exists in every namespace; a guess would kill somebody's."""
    second = below(f"{MARK}-second")
    try:
        assert second.stdout is not None
        assert second.stdout.readline() == "ready\n"
        assert outer_pid(1, f"{MARK}-second") is not None
        assert outer_pid(1, f"{MARK}-") is None
    finally:
        second.kill()
        second.communicate(timeout=10)
