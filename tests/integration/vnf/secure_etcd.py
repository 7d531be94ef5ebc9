"""A site's store as it really is: mutual TLS, users by certificate, roles from the contract.

Instances get exactly the rights that ``contract.roles`` gives them, so these tests also prove that those suffice.
"""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.integration.kv.server import EtcdServer, serves

from isthmus.contract import Stamp, seal, unseal
from isthmus.contract.envelope import B, Body
from isthmus.contract.families import APPLIED, CONFIG, CONFIG_OWNERS, STATE, VNF_STATS
from isthmus.contract.instance import (
    Applied,
    ConfigOwner,
    InstanceConfig,
    InstanceState,
    InstanceStats,
)
from isthmus.contract.roles import instance_role
from isthmus.identity import Identity, LeafRequest, TrustDomain
from isthmus.kv.admin import EtcdAdmin
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.grants import Access, Grant
from isthmus.kv.settings import EtcdSettings
from isthmus.trust import ca
from isthmus.vnf.relay import Upstream

DOMAIN = TrustDomain("carrier.example")
SERVER_NAME = "etcd.a.site.carrier.example"
STAMP = Stamp(origin="spiffe://carrier.example/site/a/configurator", incarnation="test")


@dataclass
class Authority:
    """Signs leaves of site ``a`` into files. ``ca_file`` holds the tier's authority and its root."""

    folder: Path
    serials: Any = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        now_s = time.time()
        root = ca.create_root(DOMAIN, ca.new_key(), now_s=now_s, serial=next(self.serials))
        self.tier = ca.create_tier(
            root, "site/a", ca.new_key(), now_s=now_s, serial=next(self.serials)
        )
        self.ca_file = self.folder / "ca.pem"
        self.ca_file.write_bytes(ca.pem([self.tier.certificate, root.certificate]))

    def leaf(self, component: str, into: Path) -> tuple[Path, Path]:
        """``cert.pem`` and ``key.pem`` of a component, written into a folder."""
        identity = Identity.of_site(DOMAIN, "a", component)
        key = ca.new_key()
        certificate = ca.issue_leaf(
            self.tier,
            LeafRequest(identity, ip_addresses=("127.0.0.1",)),
            key.public_key(),
            now_s=time.time(),
            serial=next(self.serials),
        )
        into.mkdir(parents=True, exist_ok=True)
        cert_file, key_file = into / "cert.pem", into / "key.pem"
        cert_file.write_bytes(ca.pem([certificate, *self.tier.chain]))
        key_file.write_bytes(ca.key_pem(key))
        key_file.chmod(0o600)
        return cert_file, key_file


@dataclass
class SecureEtcd:
    """One member with auth on. ``root`` may do everything; everybody else what the contract says."""

    folder: Path

    async def start(self) -> SecureEtcd:
        self.authority = Authority(self.folder / "trust")
        cert, key = self.authority.leaf("etcd", self.folder / "etcd-tls")
        self.server = EtcdServer(
            self.folder / "data", tls=(self.authority.ca_file, cert, key), extra=()
        )
        await self.server.start()
        self.root = self.store_of("root")
        await serves(self.root)
        self.admin = EtcdAdmin(self.root)
        await self.admin.enable_auth()
        return self

    async def stop(self) -> None:
        await self.root.aclose()
        self.server.kill()

    @property
    def upstream(self) -> Upstream:
        return Upstream("127.0.0.1", self.server.port, SERVER_NAME, self.authority.ca_file)

    def files_of(self, component: str) -> tuple[Path, Path]:
        folder = self.folder / "leaves" / component
        if (folder / "cert.pem").exists():
            return folder / "cert.pem", folder / "key.pem"
        return self.authority.leaf(component, folder)

    def store_of(self, component: str) -> EtcdStore:
        """A store with the certificate of ``component``."""
        cert, key = self.files_of(component)
        return EtcdStore.connect(
            EtcdSettings(
                endpoints=(self.server.endpoint,),
                ca_file=self.authority.ca_file,
                cert_file=cert,
                key_file=key,
                server_name=SERVER_NAME,
            )
        )

    async def admit(self, instance: str, owner: str = "configurator") -> None:
        """Give an instance its user and exactly its role."""
        role = instance_role(instance, owner=owner)
        grants = [Grant.of(grant.target, Access[grant.access.name]) for grant in role.grants]
        await self.admin.ensure_role(role.name, grants)
        await self.admin.ensure_user(role.name, [role.name])

    def make_folder(
        self,
        instances: Path,
        instance: str,
        *,
        type_: str = "firewall",
        incarnation: int = 1,
        netns: str = "",
        form: str = "kernel",
    ) -> Path:
        """An instance folder as a launcher leaves it: whole, by one rename."""
        making = instances / f".{instance}.new"
        self.authority.leaf(f"instance.{instance}", making)
        (making / "ca.pem").write_bytes(self.authority.ca_file.read_bytes())
        document = {
            "instance": instance,
            "incarnation": incarnation,
            "type": type_,
            "version": "1",
            "form": form,
            "netns": netns or instance,
            "legs": {},
        }
        (making / "instance.json").write_text(json.dumps(document))
        return making.rename(instances / instance)

    async def configure(
        self,
        instance: str,
        parameters: dict[str, Any],
        *,
        type_: str = "firewall",
        owner: str = "configurator",
        generation: int = 1,
    ) -> int:
        """Put a configuration as its owner would; the revision."""
        body = InstanceConfig(type=type_, parameters=parameters)
        value = seal(body, STAMP, as_of=time.time(), generation=generation)
        return await self.root.put(CONFIG.key(owner=owner, instance=instance), value)

    async def hand_over(self, instance: str, owner: str) -> None:
        """Another owner for an instance's configuration."""
        value = seal(ConfigOwner(owner=owner), STAMP, as_of=time.time())
        await self.root.put(CONFIG_OWNERS.key(instance=instance), value)

    async def applied(self, instance: str) -> Applied | None:
        return await self._read(APPLIED.key(instance=instance), Applied)

    async def state(self, instance: str) -> InstanceState | None:
        return await self._read(STATE.key(instance=instance), InstanceState)

    async def stats(self, instance: str) -> InstanceStats | None:
        return await self._read(VNF_STATS.key(instance=instance), InstanceStats)

    async def _read(self, key: str, model: type[B]) -> B | None:
        entry = await self.root.get(key)
        return None if entry is None else unseal(entry.value, model).body


__all__ = ["STAMP", "Authority", "Body", "SecureEtcd"]
