"""A gateway's own certificate and the roots it asks callers for, read again when their files change (G10)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc

from isthmus.federation.standing import Standing
from isthmus.trust.errors import TrustError
from isthmus.trust.workload import CERT, load


class ServerTls:
    """``watched`` are the files of roots, which ``standing`` reads."""

    def __init__(self, credentials: Path, watched: tuple[Path, ...], standing: Standing) -> None:
        self._credentials = credentials
        self._watched = watched
        self._standing = standing
        self._seen: tuple[tuple[int, int], ...] = ()

    def credentials(self) -> Any:
        """As gRPC's server wants them."""
        self._seen = self._files_seen()
        return grpc.dynamic_ssl_server_credentials(
            self._now(), self.fresh_or_keep, require_client_authentication=True
        )

    def fresh_or_keep(self) -> Any:
        """Asked at each handshake: rotation of leaf, authority and bundles needs no restart (G10).

        None (keep) unless a file changed: gRPC replaces its handshaker factory without a lock against handshakes
        that are under way; a new one at every handshake crashed the process under 200 dialling sites (measured).
        """
        try:
            seen = self._files_seen()
            if seen == self._seen:
                return None
            fresh = self._now()
        except (TrustError, OSError):
            return None
        self._seen = seen
        return fresh

    def _now(self) -> Any:
        held = load(self._credentials)
        return grpc.ssl_server_certificate_configuration(
            [(held.key_pem, held.cert_pem)], root_certificates=self._standing.roots_pem()
        )

    def _files_seen(self) -> tuple[tuple[int, int], ...]:
        paths = (self._credentials / CERT, *self._watched)
        return tuple((status.st_mtime_ns, status.st_ino) for status in (p.stat() for p in paths))
