"""The life of one link, pure: greeting, heartbeats, the verdict "lost" (DESIGN section 6, attack 3).

    greeting --hello of the peer--> open --bye, silence, violation, watchdog--> closed

The dialler greets first and both sides judge: the name in a greeting must be the one that the certificate proves, and
the versions must overlap. Time comes in as an argument.
"""

from __future__ import annotations

from enum import StrEnum

from isthmus.federation import link_pb2 as pb
from isthmus.federation.errors import (
    ClaimRefused,
    LinkEnded,
    LinkLost,
    ProtocolViolation,
    VersionRefused,
)
from isthmus.federation.limits import MIN_PROTOCOL_VERSION, PROTOCOL_VERSION, LinkLimits
from isthmus.identity.text import visible


class Phase(StrEnum):
    """Where a link stands."""

    GREETING = "greeting"
    OPEN = "open"
    CLOSED = "closed"


class Session:
    """``name`` is ours, ``peer`` the name that the other side's certificate proves."""

    def __init__(self, name: str, peer: str, limits: LinkLimits, now_s: float) -> None:
        self._name = name
        self._peer = peer
        self._limits = limits
        self._heard_at_s = now_s
        self.phase = Phase.GREETING
        self.version = 0

    def hello(self) -> pb.Frame:
        """Our first frame."""
        return pb.Frame(
            hello=pb.Hello(
                min_version=MIN_PROTOCOL_VERSION,
                max_version=PROTOCOL_VERSION,
                name=self._name,
                beat_ms=round(self._limits.beat_s * 1000),
                lost_after_ms=round(self._limits.lost_after_s * 1000),
            )
        )

    def heard(self, now_s: float) -> None:
        """Any frame is a sign of life."""
        self._heard_at_s = now_s

    def greeted(self, frame: pb.Frame) -> None:
        """The peer's first frame; raises PeerRefused leaves or ProtocolViolation."""
        if frame.WhichOneof("kind") == "bye":
            raise LinkEnded(frame.bye.code[:64], visible(frame.bye.detail))
        if frame.WhichOneof("kind") != "hello":
            raise ProtocolViolation("hello-first", "the first frame must be a greeting")
        hello = frame.hello
        if hello.name != self._peer:
            raise ClaimRefused(
                f'the certificate says "{self._peer}", the frame says "{visible(hello.name)}"'
            )
        version = min(hello.max_version, PROTOCOL_VERSION)
        if version < max(hello.min_version, MIN_PROTOCOL_VERSION):
            raise VersionRefused(
                f"peer speaks {hello.min_version} to {hello.max_version}, "
                f"we speak {MIN_PROTOCOL_VERSION} to {PROTOCOL_VERSION}: upgrade the older side"
            )
        self.version = version
        self.phase = Phase.OPEN

    def check_alive(self, now_s: float) -> None:
        """Raises LinkLost after too long a silence."""
        silent_s = now_s - self._heard_at_s
        if silent_s > self._limits.lost_after_s:
            raise LinkLost(f"nothing heard for {silent_s:.1f} s")

    def silent_s(self, now_s: float) -> float:
        """Seconds since the last frame."""
        return now_s - self._heard_at_s
