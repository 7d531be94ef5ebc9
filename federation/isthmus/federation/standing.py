"""Who a peer is and whether it still may be here: the federation's side of trust (G9, attacks 1 to 5).

Bundles and revocations are files that somebody else replaces; they are read again when they change, at every
handshake and every second for every open link. A stream outlives its certificate in gRPC (measured): cutting is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from isthmus.federation.errors import CutOff
from isthmus.identity import TrustDomain, Usage
from isthmus.trust import PeerRefused, RevocationList, TrustBundles, VerifiedPeer, verify_chain
from isthmus.trust.errors import TrustError
from isthmus.trust.files import read_public
from isthmus.trust.revocation import NONE_REVOKED, load, newer
from isthmus.trust.watchdog import judge

LOOK_AGAIN_S = 0.25
"""Far below the five seconds within which a revocation must act."""


class Standing:
    """``utc_s`` is the wall clock; certificates have no other."""

    def __init__(
        self,
        bundles: Mapping[str, Path],
        revocations: Path | None,
        utc_s: Callable[[], float],
        *,
        own_domain: TrustDomain,
        partner_list_max_age_s: float | None = None,
    ) -> None:
        self._paths = dict(bundles)
        self._revocations_path = revocations
        self._utc_s = utc_s
        self._own_domain = own_domain
        self._partner_list_max_age_s = partner_list_max_age_s
        self._seen: dict[Path, tuple[int, int]] = {}
        self._looked_at_s = float("-inf")
        self.last_refusal = ""
        self.revocations: RevocationList = NONE_REVOKED
        self.bundles = self._load_bundles(1)
        self.refresh()

    def refresh(self) -> None:
        """Read again what changed; what cannot be used leaves what we have in force. A thousand links ask every
        second, so the files are looked at a few times a second at most."""
        now_s = self._utc_s()
        if 0 <= now_s - self._looked_at_s < LOOK_AGAIN_S:
            return
        self._looked_at_s = now_s
        try:
            if self._changed(*self._paths.values()):
                self.bundles = self._load_bundles(self.bundles.version + 1)
            path = self._revocations_path
            if path is not None and path.exists() and self._changed(path):
                self.revocations = newer(self.revocations, load(path))
        except TrustError as refused:
            self.last_refusal = str(refused)

    def roots_pem(self) -> bytes:
        """All roots as the TLS layer wants them; which root vouches for whom is judged in :meth:`verify`."""
        return b"\n".join(read_public(path) for path in self._paths.values())

    def verify(self, chain_pem: bytes, policy_version: int) -> VerifiedPeer:
        """The peer behind a client certificate; raises isthmus.trust.PeerRefused."""
        self._looked_at_s = float("-inf")  # at a handshake the files count as they are now
        self.refresh()
        if not chain_pem:
            raise PeerRefused("malformed", "no certificate was presented")
        return verify_chain(
            chain_pem,
            self.bundles,
            self._utc_s(),
            usage=Usage.CLIENT,
            revocations=self.revocations,
            policy_version=policy_version,
        )

    def check(self, peer: VerifiedPeer, policy_version: int) -> None:
        """Raises CutOff when the stream of ``peer`` must end."""
        self.refresh()
        foreign = peer.identity.trust_domain != self._own_domain
        cut = judge(
            peer,
            self._utc_s(),
            self.revocations,
            policy_version,
            bundles=self.bundles,
            max_list_age_s=self._partner_list_max_age_s if foreign else None,
        )
        if cut is not None:
            raise CutOff(cut.code, cut.detail)

    def _load_bundles(self, version: int) -> TrustBundles:
        pems = {TrustDomain(name): read_public(path) for name, path in self._paths.items()}
        return TrustBundles.of_pem(version, pems)

    def _changed(self, *paths: Path) -> bool:
        changed = False
        for path in paths:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if self._seen.get(path) != stamp:
                self._seen[path] = stamp
                changed = True
        return changed
