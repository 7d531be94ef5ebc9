"""A supervised process is data first: its line, its secrets, its pauses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.deploy.errors import SecretInArguments
from isthmus.deploy.process_spec import ProcessSpec, RestartPolicy


def test_the_line_enters_the_namespace_and_dies_with_its_owner() -> None:
    """One process, one id: each step replaces itself by the next."""
    spec = ProcessSpec(name="etcd.a", argv=("etcd", "--name=a"), netns="a")
    assert spec.command() == (
        "nsenter",
        "--net=/run/netns/a",
        "setpriv",
        "--pdeathsig",
        "KILL",
        "--",
        "etcd",
        "--name=a",
    )
    assert ProcessSpec(name="x", argv=("x",)).command()[0] == "setpriv"


def test_a_secret_in_the_arguments_is_refused_without_being_told() -> None:
    """Every user of a machine reads every argument list; the refusal must not repeat the secret."""
    with pytest.raises(SecretInArguments, match="TOKEN") as caught:
        ProcessSpec(name="ray", argv=("ray", "--token=hunter2"), secret_env={"TOKEN": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_a_secret_is_not_shown_by_the_spec() -> None:
    """Specs end up in logs and assertion messages."""
    spec = ProcessSpec(name="ray", argv=("ray",), secret_env={"TOKEN": "hunter2"})
    assert "hunter2" not in repr(spec)


def test_a_spec_without_a_program_is_refused() -> None:
    """Better here than as an odd message of setpriv."""
    with pytest.raises(ValueError, match="'x': argv is empty"):
        ProcessSpec(name="x", argv=())


@pytest.mark.parametrize(
    ("when", "code", "returns"),
    [
        ("always", 0, True),
        ("always", -9, True),
        ("on-failure", 0, False),
        ("on-failure", 1, True),
        ("on-failure", -9, True),
        ("never", 1, False),
    ],
)
def test_who_comes_back(when: str, code: int, returns: bool) -> None:
    """A one-shot task that succeeded must not run again; a killed one must."""
    assert RestartPolicy(when=when).returns(code) is returns  # type: ignore[arg-type]


@given(lives=st.integers(0, 10_000), roll=st.floats(0, 1, exclude_max=True))
def test_pauses_are_capped_and_never_nothing(lives: int, roll: float) -> None:
    """However often it dies: neither a busy loop, nor a wait beyond the cap, nor an overflow."""
    policy = RestartPolicy()
    pause_s = policy.delay_s(lives, roll)
    assert policy.first_delay_s * (1 - policy.jitter) <= pause_s <= policy.cap_s


def test_pauses_grow_and_jitter_spreads_them() -> None:
    """Processes killed together must not return in step."""
    policy = RestartPolicy()
    assert [policy.delay_s(n, 0.0) for n in range(4)] == [0.1, 0.2, 0.4, 0.8]
    assert policy.delay_s(3, 0.9) < policy.delay_s(3, 0.1)
