"""Reading the kernel: which namespaces, legs and attachments carry our mark; pure but for a listing.

``list_*`` after a restart is nothing but this: names below the namespace folder and aliases of
links, joined. A name without its legs, or legs without their name, is a sandbox that was lost.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from isthmus.infrastructure.linux.names import Leg, Sandbox
from isthmus.infrastructure.ports import InstanceState
from isthmus.vswitch.observed import Link

__all__ = ["instance_states", "pids_inside", "sandbox_names", "sandbox_token"]


def sandbox_names(netns_dir: Path, scope: str) -> dict[Sandbox, str]:
    """Every namespace of ours with the token of its present life."""
    found: dict[Sandbox, str] = {}
    try:
        entries = sorted(os.listdir(netns_dir))
    except FileNotFoundError:
        return found
    for entry in entries:
        sandbox = Sandbox.of(entry, scope)
        if sandbox is not None:
            found[sandbox] = sandbox_token(netns_dir / entry)
    return found


def sandbox_token(path: Path) -> str:
    """Tell one life of a namespace from the next: inode and time (inodes alone are reused)."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return ""
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}"


def legs_of(links: Mapping[str, Link], scope: str) -> dict[tuple[str, int], dict[str, Link]]:
    """Node-side legs by (instance, incarnation) and leg name."""
    found: dict[tuple[str, int], dict[str, Link]] = {}
    for link in links.values():
        leg = Leg.of(link.alias, scope)
        if leg is not None:
            found.setdefault((leg.instance_id, leg.incarnation), {})[leg.name] = link
    return found


def instance_states(
    names: Mapping[Sandbox, str], links_by_node: Mapping[str, Mapping[str, Link]], scope: str
) -> tuple[InstanceState, ...]:
    """Join namespaces and legs into states."""
    keys = set(names)
    legs_by_key: dict[Sandbox, dict[str, Link]] = {}
    for node, links in links_by_node.items():
        for (instance_id, incarnation), legs in legs_of(links, scope).items():
            key = Sandbox(instance_id, incarnation, node)
            legs_by_key[key] = legs
            keys.add(key)
    return tuple(
        _state(key, names.get(key), legs_by_key.get(key, {}), scope)
        for key in sorted(keys)
        if key.node in links_by_node
    )


def _state(key: Sandbox, token: str | None, legs: Mapping[str, Link], scope: str) -> InstanceState:
    reason = _fault(token, legs, scope)
    return InstanceState(
        instance_id=key.instance_id,
        incarnation=key.incarnation,
        node=key.node,
        phase="lost" if reason else "running",
        netns=key.netns(scope) if token else "",
        legs={name: link.name for name, link in sorted(legs.items())},
        sandbox=token or "",
        reason=reason,
    )


def _fault(token: str | None, legs: Mapping[str, Link], scope: str) -> str:
    if not token:
        return "its network namespace is gone"
    if not legs:
        return "it has no legs on its node"
    for name, link in legs.items():
        leg = Leg.of(link.alias, scope)
        if leg is not None and leg.partner and leg.partner not in legs:
            return f"leg {leg.partner!r} is gone"
        if not link.up:
            return f"leg {name!r} is down"
    return ""


def pids_inside(netns: Path, proc: Path = Path("/proc")) -> tuple[int, ...]:
    """Processes that live in a namespace: they keep it and its legs alive (pitfall 3)."""
    try:
        inode = netns.stat().st_ino
    except FileNotFoundError:
        return ()
    found = []
    for entry in os.listdir(proc):
        if not entry.isdigit():
            continue
        try:
            if (proc / entry / "ns" / "net").stat().st_ino == inode:
                found.append(int(entry))
        except OSError:  # it ended, or is not ours to look at
            continue
    return tuple(found)
