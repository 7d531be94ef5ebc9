"""Whom a conformance run judges: a component of the table, a VNF instance, or a vendor's own component.

What it may write and read follows from its name alone, so a run needs nothing but the name and the certificate.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from isthmus.contract.families import APPLIED, FAMILIES
from isthmus.contract.family import Family, Tier
from isthmus.contract.lint import known
from isthmus.contract.roles import Access, Role, instance_role, role, vendor_role
from isthmus.kv import grants as store_grants
from isthmus.kv.ranges import KeyRange
from isthmus.policy.keys import ROOT, check_prefix, check_segment

_ACCESS = {
    Access.READ: store_grants.Access.READ,
    Access.WRITE: store_grants.Access.WRITE,
    Access.READ_WRITE: store_grants.Access.READ_WRITE,
}
SAMPLE = "conformance"
"""Fills the variables of keys that a probe names but never writes."""


class Kind(StrEnum):
    """Which parts of the specification are for it."""

    COMPONENT = "component"
    INSTANCE = "instance"
    VENDOR = "vendor"


@dataclass(frozen=True, slots=True)
class Subject:
    """``user`` is its etcd user; ``name`` the component, the vendor, or the id of the instance."""

    kind: Kind
    tier: Tier
    name: str
    role: Role

    @classmethod
    def of_component(cls, tier: Tier, name: str, may_read: Iterable[str] = ()) -> Subject:
        """A component of the table, or else a vendor whose agreement lets it read ``may_read``."""
        check_segment(name)
        if known(tier, name):
            return cls(Kind.COMPONENT, tier, name, role(tier, name))
        agreed = [prefix if prefix.startswith(ROOT) else ROOT + prefix for prefix in may_read]
        for prefix in agreed:
            check_prefix(prefix)
        return cls(Kind.VENDOR, tier, name, vendor_role(tier, name, reads=agreed))

    @classmethod
    def of_instance(cls, instance: str, owner: str = "configurator") -> Subject:
        """A VNF instance; ``owner`` configures it."""
        check_segment(instance)
        return cls(Kind.INSTANCE, Tier.SITE, instance, instance_role(instance, owner=owner))

    @property
    def user(self) -> str:
        """As in the certificate's common name."""
        return self.role.name

    @property
    def writes(self) -> tuple[str, ...]:
        """Its own prefixes and keys."""
        held = (grant.target for grant in self.role.grants if grant.access is not Access.READ)
        return tuple(held)

    @property
    def grants(self) -> tuple[store_grants.Grant, ...]:
        """As the store decides by them."""
        return tuple(
            store_grants.Grant.of(grant.target, _ACCESS[grant.access]) for grant in self.role.grants
        )

    def may(self, keys: KeyRange, access: store_grants.Access) -> bool:
        """Is all of ``keys`` granted?"""
        return store_grants.covered(keys, access, self.grants)

    def own_keys(self) -> tuple[str, ...]:
        """One key in each of its own ranges."""
        if self.kind is Kind.INSTANCE:
            return (APPLIED.key(instance=self.name),)
        return tuple(target + SAMPLE if target.endswith("/") else target for target in self.writes)

    def foreign_keys(self) -> tuple[str, ...]:
        """One key of every family of the tier that it may not write, one of another vendor, one outside."""
        samples = [sample_key(family) for family in FAMILIES[self.tier]]
        samples += [f"{ROOT}x/another-vendor/{SAMPLE}", f"{ROOT}{SAMPLE}"]
        return tuple(
            key for key in samples if not self.may(KeyRange.of_key(key), store_grants.Access.WRITE)
        )

    def neighbours(self) -> tuple[str, ...]:
        """Keys right beside its own prefixes, where a role without a slash would reach."""
        found = []
        for target in self.writes:
            if target.endswith("/"):
                stem = target.rstrip("/")
                found += [f"{stem}0/{SAMPLE}", f"{stem}-{SAMPLE}", stem]
            else:
                found += [f"{target}0", f"{target}/{SAMPLE}"]
        return tuple(
            key for key in found if not self.may(KeyRange.of_key(key), store_grants.Access.READ)
        )


def sample_key(family: Family) -> str:
    """A key of ``family`` that nobody uses."""
    key = family.key(**dict.fromkeys(family.variables, SAMPLE))
    return key + SAMPLE if family.tail else key
