"""What the site's microcontrollers need from outside the store, as narrow ports next to their consumer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from isthmus.contract.instance import InstanceRuntime
from isthmus.contract.roles import Role


@dataclass(frozen=True, slots=True)
class SignedCertificate:
    """PEM of a leaf with its intermediates, and of the authorities that a peer is checked against."""

    certificate_pem: str
    ca_pem: str


class Signer(Protocol):
    """Signs instances' certificates with the site's authority (only ``credentials`` has one)."""

    def sign(self, csr_pem: str, component: str) -> SignedCertificate:
        """A certificate for ``component`` of this site; raises ValueError when the request is unsound."""
        ...


class StoreUsers(Protocol):
    """Users of the site's store (only ``credentials`` may edit them)."""

    async def ensure(self, role: Role) -> None:
        """User and role ``role.name`` exist with exactly these grants."""
        ...

    async def remove(self, name: str) -> None:
        """User and role are gone; absent is fine."""
        ...


@dataclass(frozen=True, slots=True)
class InstanceFolder:
    """What an instance's share contains, besides its private key which never leaves the host."""

    runtime: InstanceRuntime
    type: str
    version: str
    form: str
    certificate_pem: str
    ca_pem: str


class Shares(Protocol):
    """The folders that are mounted into instances on one host: the way to the key-value store goes through them."""

    def signing_request(self, instance: str) -> str:
        """PEM of the instance's request; its key is made once and kept with mode 0600."""
        ...

    def path(self, instance: str) -> str:
        """The folder's path on the host."""
        ...

    def publish(self, instance: str, folder: InstanceFolder) -> bool:
        """Put the folder in place atomically, replacing an earlier life; False when it was there unchanged."""
        ...

    def withdraw(self, instance: str) -> None:
        """Remove the folder; absent is fine. The key stays for the next life."""
        ...

    def forget(self, instance: str) -> None:
        """Remove folder and key; absent is fine."""
        ...

    def published(self) -> set[str]:
        """Instances with a folder in place."""
        ...
