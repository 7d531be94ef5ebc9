"""From the contract to etcd users and roles: exact half-open ranges, one user per component (R13, attack 7).

A component's writes are the families it writes, with the variables its name binds filled in; its reads are
its writes and the families that list it. What is not listed is refused by the store. ``credentials`` is the
only editor of users (etcd's ``root`` role); the janitor may delete what it retains.
``maintenance`` is ``root``, too, because etcd frees space for nobody else (ADR 0006).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from isthmus.contract.errors import ComponentUnknown
from isthmus.contract.families import APPLIED, CONFIG, CONFIG_OWNERS, FAMILIES
from isthmus.contract.family import Family, Tier
from isthmus.contract.lint import COMPONENTS, FREE_WRITERS, known
from isthmus.policy.keys import ROOT

ROOT_COMPONENTS = frozenset({"credentials", "maintenance", "admin"})
"""Components that carry etcd's ``root`` role: to edit users, or to free space. ``admin`` is the operator's key,
kept off line."""


class Access(StrEnum):
    """What a grant allows."""

    READ = "read"
    WRITE = "write"
    READ_WRITE = "readwrite"


@dataclass(frozen=True, slots=True)
class Grant:
    """``target`` is an absolute prefix when it ends in ``/``, else exactly one key."""

    access: Access
    target: str

    @property
    def is_prefix(self) -> bool:
        """True for the half-open range of everything below ``target``."""
        return self.target.endswith("/")


@dataclass(frozen=True, slots=True)
class Role:
    """A component's rights: user and role have the component's name; ``root`` adds etcd's own root role."""

    name: str
    grants: tuple[Grant, ...]
    root: bool = False


def role(tier: Tier, component: str) -> Role:
    """The rights of ``component`` in a store of ``tier``; raises ComponentUnknown for what is none of ours: a name with
    a typing mistake must not get a user that may lead and tell, and nothing else, as it would by the families that
    everybody has below its own name."""
    if not known(tier, component) and component not in ROOT_COMPONENTS:
        raise _unknown(tier, component)
    writes: set[str] = set()
    reads: set[str] = set()
    for family in FAMILIES[tier]:
        _add(family, family.writer, component, writes)
        for reader in family.readers:
            _add(family, reader, component, reads)
        if component == "janitor" and family.retention == "janitor":
            writes.add(family.prefix())
    if not writes and not reads and component not in ROOT_COMPONENTS:
        raise _unknown(tier, component)
    return Role(component, _grants(writes, reads), root=component in ROOT_COMPONENTS)


def guest_role(tier: Tier, component: str) -> Role:
    """The rights that a microcontroller of another maker needs to be run by our runtime: its own leadership, events and
    explanations. Its own keys and what it reads are agreed upon apart (:func:`vendor_role`)."""
    if known(tier, component) or component in ROOT_COMPONENTS:
        raise ComponentUnknown(
            f"component {component[:64]!r} is one of ours at the {tier.value} tier: "
            "give a guest another name"
        )
    writes: set[str] = set()
    for family in FAMILIES[tier]:
        if family.writer in FREE_WRITERS:
            _add(family, family.writer, component, writes)
    return Role(component, _grants(writes, ()))


def _unknown(tier: Tier, component: str) -> ComponentUnknown:
    there = ", ".join((*COMPONENTS[tier], *sorted(ROOT_COMPONENTS - set(COMPONENTS[tier]))))
    return ComponentUnknown(
        f"component {component[:64]!r} is none of the {tier.value} tier; there are: {there}; "
        "a microcontroller of another maker has a guest_role"
    )


def shadow_role(tier: Tier, component: str) -> Role:
    """The rights of a second implementation that runs in shadow (R9): whatever ``component`` sees, and no write."""
    grants = tuple(Grant(Access.READ, grant.target) for grant in role(tier, component).grants)
    return Role(f"shadow.{component}", grants)


def instance_role(instance: str, *, owner: str = "configurator") -> Role:
    """The rights of one VNF instance: its own sub-tree to write, its configuration and owner to read (R24, R25)."""
    own = APPLIED.prefix(instance=instance).rsplit("/", 1)[0] + "/"
    reads = {
        CONFIG.key(owner=owner, instance=instance),
        CONFIG.key(owner="configurator", instance=instance),
        CONFIG_OWNERS.key(instance=instance),
    }
    return Role(f"instance.{instance}", _grants({own}, reads))


def vendor_role(tier: Tier, vendor: str, *, reads: Iterable[str] = ()) -> Role:
    """A foreign component's rights: everything below ``x/<vendor>/``, and the prefixes its agreement lets it read."""
    return Role(vendor, _grants({f"{ROOT}x/{vendor}/"}, set(reads)))


def _add(family: Family, template: str, component: str, into: set[str]) -> None:
    bound = family.bind(template, component)
    if bound is not None:
        known: Mapping[str, str] = {k: v for k, v in bound.items() if k in family.variables}
        into.add(family.prefix(**known))


def _grants(writes: Iterable[str], reads: Iterable[str]) -> tuple[Grant, ...]:
    writes, reads = set(writes), set(reads)
    grants = [Grant(Access.READ_WRITE, target) for target in sorted(writes)]
    covered = [target for target in writes if target.endswith("/")]
    grants += [
        Grant(Access.READ, target)
        for target in sorted(reads - writes)
        if not any(target.startswith(prefix) for prefix in covered)
    ]
    return tuple(grants)
