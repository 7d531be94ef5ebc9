"""Greeting and silence: who may go on, and when a link is lost."""

from __future__ import annotations

import pytest

from isthmus.federation import link_pb2 as pb
from isthmus.federation.errors import (
    ClaimRefused,
    LinkEnded,
    LinkLost,
    ProtocolViolation,
    VersionRefused,
)
from isthmus.federation.limits import LinkLimits
from isthmus.federation.session import Phase, Session


def session() -> Session:
    return Session("global", "site-a", LinkLimits(), 100.0)


def hello(**fields: object) -> pb.Frame:
    base = {"min_version": 1, "max_version": 1, "name": "site-a"}
    return pb.Frame(hello=pb.Hello(**{**base, **fields}))  # type: ignore[arg-type]


def test_peer_that_says_its_certified_name_is_let_in() -> None:
    """And the link is open with the common version."""
    one = session()
    one.greeted(hello(max_version=7))
    assert (one.phase, one.version) == (Phase.OPEN, 1)


@pytest.mark.parametrize("name", ["site-b", "", "SITE-A", "site-a ", "site-a\n"])
def test_name_other_than_the_certificates_is_refused(name: str) -> None:
    """Attack 3: the certificate alone says who it is."""
    with pytest.raises(ClaimRefused):
        session().greeted(hello(name=name))


@pytest.mark.parametrize(("low", "high"), [(2, 5), (0, 0)])
def test_versions_that_do_not_overlap_are_refused_by_name(low: int, high: int) -> None:
    """The message says which side to upgrade."""
    with pytest.raises(VersionRefused, match="upgrade the older side"):
        session().greeted(hello(min_version=low, max_version=high))


def test_first_frame_must_be_a_greeting() -> None:
    """Nothing is done for who has not said hello; a good-bye is taken as one."""
    with pytest.raises(ProtocolViolation) as refused:
        session().greeted(pb.Frame(beat=pb.Beat()))
    assert refused.value.code == "hello-first"
    with pytest.raises(LinkEnded):
        session().greeted(pb.Frame(bye=pb.Bye(code="claim-refused")))


def test_silence_is_judged_by_both_sides_of_the_limit() -> None:
    """Two late beats are no verdict, more than twelve seconds are."""
    one = session()
    one.check_alive(112.0)
    with pytest.raises(LinkLost, match="nothing heard"):
        one.check_alive(112.1)
    one.heard(110.0)
    one.check_alive(122.0)
