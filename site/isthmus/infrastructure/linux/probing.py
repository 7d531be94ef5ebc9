"""Finding out by trying: what may this process do with the kernel it runs on?

A version number or a capability bit says little (containers filter calls, distributions restrict
user namespaces), so the essentials are built in a namespace that vanishes with the shell that
made it. A packet chain is refused with the reason found here; nothing ever falls back silently.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from isthmus.infrastructure.ports import Capability
from isthmus.vswitch import CommandFailed, CommandTimedOut, Node

__all__ = ["STEPS", "capability_of", "probe_kernel"]

STEPS: dict[str, str] = {
    "veth pair": "ip link add name pa type veth peer name pb && ip link set pa up",
    "vxlan tunnel": "ip link add name px type vxlan id 7 local 127.0.0.1 remote 127.0.0.2 "
    "dstport 4789 nolearning",
    "tc redirect": "tc qdisc add dev pa clsact && tc filter add dev pa ingress prio 1 protocol all "
    "u32 match u32 0 0 action mirred egress redirect dev pb",
    "policy routing": "ip link set lo up && ip rule add iif pa lookup 101 && "
    "ip route add default via 169.254.1.1 dev pa onlink table 101",
    "forwarding switches": "echo 1 >/proc/sys/net/ipv4/ip_forward && "
    "echo 1 >/proc/sys/net/ipv4/fwmark_reflect",
    "nft rules": 'nft "add table inet p; add chain inet p c { type filter hook forward priority 0 ;'
    ' }; add rule inet p c ct state new accept"',
}
FENCE_STEP = (
    'nft "add table netdev p; add set netdev p l { type mark; flags timeout; }; add chain netdev p '
    "c { type filter hook ingress device pa priority 0 ; }; add rule netdev p c meta mark @l fwd "
    'to pb; add element netdev p l { 7 timeout 1s }"'
)
_TIMEOUT_S = 10.0
_NAMED = "named network namespaces"


def _script() -> str:
    lines = [
        f"({command}) 2>&1 >/dev/null | head -1 | sed 's/^/{name}: /'"
        for name, command in {**STEPS, "fence": FENCE_STEP}.items()
    ]
    return "\n".join(lines) + "\n"


async def _try(*unshare: str) -> tuple[str, ...]:
    """Return the complaints of all steps inside a throw-away namespace."""
    try:
        text = await Node().run(*unshare, "sh", stdin=_script(), timeout_s=_TIMEOUT_S)
    except CommandFailed as error:
        return (f"network namespace: {error.stderr.strip() or 'refused'}",)
    except CommandTimedOut as error:
        return (f"network namespace: {error}",)
    return tuple(line for line in text.splitlines() if line.strip())


async def probe_kernel(proc: Path = Path("/proc")) -> Capability:
    """Try as we are; if that fails, tell whether a user namespace would help."""
    mapped = _in_user_namespace(proc)
    complaints = await _try("unshare", "--net")
    capability = capability_of(complaints, mapped=mapped)
    if capability.dataplane == "none" and not mapped:
        inner = await _try("unshare", "--user", "--map-root-user", "--net")
        if capability_of(inner, mapped=True).dataplane != "none":
            hint = "it would work in a user namespace: run the site below `unshare --user`"
            return Capability("none", "none", (*capability.reasons, hint))
    if capability.dataplane != "none":
        return await _with_named(capability)
    return capability


async def _with_named(capability: Capability) -> Capability:
    """Named namespaces need a folder to mount them in; read-only systems refuse it."""
    name = "isthmus-probe"
    try:
        await Node().ip([f"netns add {name}", f"netns del {name}"])
    except (CommandFailed, CommandTimedOut) as error:
        if "File exists" in str(error):  # somebody else probes at this moment
            return capability
        return Capability("none", "none", (f"{_NAMED}: {error}",))
    return capability


def capability_of(complaints: tuple[str, ...], *, mapped: bool) -> Capability:
    """Judge the complaints: the fence alone may fail, everything else is needed."""
    fatal = tuple(line for line in complaints if not line.startswith("fence:"))
    if fatal:
        return Capability("none", "none", complaints)
    plane: Literal["kernel", "kernel-userns"] = "kernel-userns" if mapped else "kernel"
    return Capability(plane, "none" if complaints else "kernel", complaints)


def _in_user_namespace(proc: Path) -> bool:
    """A full map of ids is the initial user namespace (user_namespaces(7))."""
    try:
        words = (proc / "self" / "uid_map").read_text().split()
    except OSError:
        return False
    return words != ["0", "0", "4294967295"]
