"""Which strangers are peers, under which name, within which scope (DESIGN section 6, GUARANTEES
attacks 3 and 19).

A certificate proves an identity; this table alone says what the identity is *here*. The name a
peer is stored under (``remote/<name>/``) comes from the table and the certificate, never from a
frame. An identity of a partner that calls its site like one of ours is a different identity, so
it is unknown here unless an operator listed it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from isthmus.identity import Identity
from isthmus.policy import keys
from isthmus.policy.errors import PeerUnknown, RuleRefused
from isthmus.policy.quotas import Quota
from isthmus.policy.scopes import Decision, Scope


@dataclass(frozen=True, slots=True)
class Peer:
    """``identity`` is known here as ``name``: what we take from it, what we send it, how much."""

    name: str
    identity: Identity
    accepts: Scope
    sends: Scope
    quota: Quota = field(default_factory=Quota)

    def __post_init__(self) -> None:
        keys.check_segment(self.name)

    @property
    def import_root(self) -> str:
        """The only prefix the importer of this peer writes below (relative)."""
        return f"remote/{self.name}/"


@dataclass(frozen=True, slots=True)
class PeerTable:
    """All peers of one store at one ``version``; each name and each identity once."""

    version: int
    peers: tuple[Peer, ...] = ()
    _by_identity: Mapping[Identity, Peer] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_identity = {peer.identity: peer for peer in self.peers}
        if len(by_identity) != len(self.peers):
            raise RuleRefused("peers", self.version, "list each identity once")
        if len({peer.name for peer in self.peers}) != len(self.peers):
            raise RuleRefused("peers", self.version, "give each peer a name of its own")
        object.__setattr__(self, "_by_identity", by_identity)

    @classmethod
    def of(cls, version: int, peers: Iterable[Peer]) -> PeerTable:
        """A table from any iterable."""
        return cls(version, tuple(peers))

    def find(self, identity: Identity) -> Peer:
        """The peer that ``identity`` is here, or :class:`PeerUnknown`."""
        peer = self._by_identity.get(identity)
        if peer is None:
            raise PeerUnknown(identity)
        return peer

    def check_claim(self, identity: Identity, claimed: str) -> Decision:
        """May frames of ``identity`` say they come from ``claimed``? Only from the name the
        table gives (attack 3).
        """
        try:
            peer = self.find(identity)
        except PeerUnknown as unknown:
            return Decision(False, unknown.code, str(unknown))
        if claimed != peer.name:
            return Decision(
                False, "claim-denied", f'the certificate says "{peer.name}", the frame another name'
            )
        return Decision(True, "allowed", f"peer {peer.name}")
