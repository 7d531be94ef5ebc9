"""The outside of the site's ports: the authority's key, the store's users, the folders of instances."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from isthmus.contract.roles import Access as ContractAccess
from isthmus.contract.roles import Role
from isthmus.identity import Identity, LeafRequest, TrustDomain
from isthmus.kv.admin import Access, EtcdAdmin, Grant
from isthmus.site.ports import InstanceFolder, SignedCertificate
from isthmus.trust import ca, files
from isthmus.trust.errors import FileRefused

_ACCESS = {
    ContractAccess.READ: Access.READ,
    ContractAccess.WRITE: Access.WRITE,
    ContractAccess.READ_WRITE: Access.READ_WRITE,
}


@dataclass(slots=True)
class AuthoritySigner:
    """Signs with the tier authority in ``folder`` (``key.pem``, ``cert.pem``, and the roots in ``ca.pem``)."""

    site: str
    trust_domain: str
    folder: Path
    now: Callable[[], float]
    new_serial: Callable[[], int]

    def sign(self, csr_pem: str, component: str) -> SignedCertificate:
        """A leaf for ``component`` of this site; raises IssueRefused when the request names anybody else."""
        roots = files.read_public(self.folder / "ca.pem")
        certificate = x509.load_pem_x509_certificate(files.read_public(self.folder / "cert.pem"))
        key = serialization.load_pem_private_key(files.read_secret(self.folder / "key.pem"), None)
        assert isinstance(key, ca.PrivateKey)
        domain = TrustDomain(self.trust_domain)
        root = x509.load_pem_x509_certificates(roots)[0]
        authority = ca.Authority(domain, f"site/{self.site}", certificate, key, (root,))
        identity = Identity.of_site(domain, self.site, component)
        leaf = ca.issue_from_csr(
            authority,
            csr_pem.encode(),
            LeafRequest(identity),
            now_s=self.now(),
            serial=self.new_serial(),
        )
        chain = ca.pem([leaf, *authority.chain]).decode()
        return SignedCertificate(chain, roots.decode())


@dataclass(slots=True)
class EtcdUsers:
    """Users of one etcd, named by certificate CN, each with one role of its own name."""

    admin: EtcdAdmin

    async def ensure(self, role: Role) -> None:
        """User and role exist with exactly these grants."""
        grants = [Grant.of(grant.target, _ACCESS[grant.access]) for grant in role.grants]
        if not role.root:
            await self.admin.ensure_role(role.name, grants)
        await self.admin.ensure_user(role.name, ["root" if role.root else role.name])

    async def remove(self, name: str) -> None:
        """Both are gone."""
        await self.admin.ensure_no_user(name)
        if name in await self.admin.roles():
            await self.admin.delete_role(name)


@dataclass(slots=True)
class FileShares:
    """Instance folders of one host below ``base``; keys are kept beside them, mode 0600, for the next life."""

    site: str
    trust_domain: str
    base: Path
    _keys: Path = field(init=False)

    def __post_init__(self) -> None:
        self._keys = self.base.parent / "keys"
        for folder in (self.base, self._keys):
            files.make_directory(folder)

    def path(self, instance: str) -> str:
        """The folder of ``instance``."""
        return str(self.base / instance)

    def signing_request(self, instance: str) -> str:
        """The request for the kept key; the same key gives the same names, so it is asked once."""
        request = self._keys / f"{instance}.csr"
        if request.exists() and (self._keys / f"{instance}.pem").exists():
            return files.read_public(request).decode()
        key = ca.new_key()
        identity = Identity.of_site(self.trust_domain, self.site, f"instance.{instance}")
        pem = ca.make_csr(identity, key)
        files.write_secret(self._keys / f"{instance}.pem", ca.key_pem(key))
        files.write_public(request, pem)
        return pem.decode()

    def publish(self, instance: str, folder: InstanceFolder) -> bool:
        """Make the folder whole in one rename; an earlier life's is moved away first.

        A certificate that was renewed for the same life goes into the folder as it stands: a new folder is a new life
        to the agent.
        """
        place = self.base / instance
        document = self._document(folder)
        if self._lives(place, document, instance):
            return self._renew(place, folder)
        staged = files.make_directory(self.base / f".new-{instance}")
        (staged / "instance.json").write_text(document)
        files.write_secret(staged / "key.pem", files.read_secret(self._keys / f"{instance}.pem"))
        files.write_public(staged / "cert.pem", folder.certificate_pem.encode())
        files.write_public(staged / "ca.pem", folder.ca_pem.encode())
        self._move_away(instance)
        os.rename(staged, place)
        shutil.rmtree(self.base / f".old-{instance}", ignore_errors=True)
        return True

    def withdraw(self, instance: str) -> None:
        """Remove the folder, keep the key."""
        self._move_away(instance)
        shutil.rmtree(self.base / f".old-{instance}", ignore_errors=True)

    def forget(self, instance: str) -> None:
        """Remove folder and key."""
        self.withdraw(instance)
        for suffix in ("csr", "pem"):  # a request without its key would be asked for ever
            (self._keys / f"{instance}.{suffix}").unlink(missing_ok=True)

    def published(self) -> set[str]:
        """Instances with a folder."""
        return {entry.name for entry in self.base.iterdir() if not entry.name.startswith(".")}

    def _move_away(self, instance: str) -> None:
        old = self.base / f".old-{instance}"
        shutil.rmtree(old, ignore_errors=True)
        if (self.base / instance).exists():
            os.rename(self.base / instance, old)

    @staticmethod
    def _document(folder: InstanceFolder) -> str:
        runtime = folder.runtime
        return json.dumps(
            {
                "instance": runtime.instance,
                "incarnation": runtime.incarnation,
                "type": folder.type,
                "version": folder.version,
                "form": folder.form,
                "netns": runtime.netns,
                "legs": dict(runtime.legs),
            },
            sort_keys=True,
        )

    def _lives(self, place: Path, document: str, instance: str) -> bool:
        """Is this very life there, with the key that requests are made with?"""
        try:
            return (place / "instance.json").read_text() == document and files.read_secret(
                place / "key.pem"
            ) == files.read_secret(self._keys / f"{instance}.pem")
        except (OSError, FileRefused):
            return False

    @staticmethod
    def _renew(place: Path, folder: InstanceFolder) -> bool:
        """Write what differs, each file whole; whom to believe before whom to be."""
        changed = False
        for name, pem in (("ca.pem", folder.ca_pem), ("cert.pem", folder.certificate_pem)):
            path = place / name
            if not path.exists() or path.read_text() != pem:
                files.write_public(path, pem.encode())
                changed = True
        return changed
