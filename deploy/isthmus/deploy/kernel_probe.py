"""What this kernel really does, tried in a throw-away world, not read from a version number.

Kernels of the same version are built differently (one here has no netem, no flowtable, no GRE),
and a container may forbid what its kernel can. So each feature is used once, for real, in a world
of its own that vanishes afterwards; the kernel's own words are kept when it refuses.

    python -m isthmus.deploy.world -- python -m isthmus.deploy.kernel_probe

prints one JSON object: feature -> "" (works) or the reason it does not.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Mapping
from typing import Final

from isthmus.deploy.command import run
from isthmus.deploy.errors import DeployError
from isthmus.deploy.world import in_world, world_command

_STEP_S: Final = 15.0
_ALL_S: Final = 90.0

# feature -> shell lines that use it once. Earlier features lay the ground for later ones.
_STEPS: Final[Mapping[str, str]] = {
    "network namespaces": "ip netns add probe",
    "veth": "ip link add p0 type veth peer name p1 && ip link set p0 up && ip link set p1 up",
    "vxlan": "ip link add vx0 type vxlan id 7 remote 127.0.0.1 dstport 4789",
    "tc clsact, u32, mirred": (
        "tc qdisc add dev p0 clsact && tc filter replace dev p0 ingress prio 1 handle 800::800 "
        "protocol all u32 match u32 0 0 action mirred egress redirect dev p1"
    ),
    "tc tbf": "tc qdisc add dev p1 root tbf rate 10mbit burst 32kb latency 50ms",
    "nft filter, counter, limit": (
        "nft 'table inet f { chain c { type filter hook forward priority 0; "
        "ct state established accept; limit rate 10/second counter drop; }; }'"
    ),
    "nft nat": (
        "nft 'table ip n { chain c { type nat hook postrouting priority 100; "
        'oifname "p0" snat to 192.0.2.1; }; }\''
    ),
    "nft ct zones": (
        "nft 'table inet z { chain c { type filter hook prerouting priority -300; "
        'iifname "p0" ct zone set 7; }; }\''
    ),
    "nft netdev fwd, sets with timeout": (
        "nft 'table netdev g { set alive { type mark; flags timeout; }; "
        'chain c { type filter hook ingress device "p0" priority 0; '
        "meta mark @alive fwd to p1; }; }' && nft add element netdev g alive '{ 1 timeout 3s }'"
    ),
    "nft tproxy": (
        "nft 'table ip t { chain c { type filter hook prerouting priority -150; "
        "udp dport 4789 tproxy to 127.0.0.1:4790; }; }'"
    ),
    "tc netem": "ip link add n0 type veth peer name n1 && tc qdisc add dev n0 root netem delay 1ms",
}
FEATURES: Final = (*_STEPS, "transparent sockets")


async def probe_kernel() -> dict[str, str]:
    """Feature -> "" or why not. NoWorld's text for all of them when there can be no world."""
    command = world_command([sys.executable, "-m", "isthmus.deploy.kernel_probe"])
    try:
        done = await run(command, timeout_s=_ALL_S)
        answers = json.loads(done.output)
    except (DeployError, ValueError) as error:
        reason = str(error).strip().splitlines()[-1]
        return dict.fromkeys(FEATURES, reason)
    return {feature: str(answers.get(feature, "not tried")) for feature in FEATURES}


async def _try_all() -> dict[str, str]:
    answers = {feature: await _try(script) for feature, script in _STEPS.items()}
    return answers | {"transparent sockets": _transparent_socket()}


async def _try(script: str) -> str:
    try:
        done = await run(["sh", "-ec", script], timeout_s=_STEP_S, check=False)
    except DeployError as error:
        return str(error)
    if done.code == 0:
        return ""
    lines = [line.strip() for line in done.output.splitlines() if line.strip()]
    return lines[0] if lines else f"exit code {done.code}"


def _transparent_socket() -> str:
    """A socket that may receive, and send from, addresses that are not ours (the delay relay)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        try:
            handle.setsockopt(socket.SOL_IP, getattr(socket, "IP_TRANSPARENT", 19), 1)
            handle.bind(("198.51.100.1", 0))
        except OSError as error:
            return error.strerror or str(error)
    return ""


def main() -> int:
    """Print the answers; refuses to touch the machine's own network."""
    if not in_world():
        print("usage: python -m isthmus.deploy.world -- python -m ...", file=sys.stderr)
        return 2
    print(json.dumps(asyncio.run(_try_all())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
