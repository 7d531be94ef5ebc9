"""Whatever a person may configure, the ruleset is one the kernel takes; whatever he may smuggle, it is refused.

``nft --check`` is the judge: many rulesets are checked by one call in a private world, each as its own
command, because a world costs more than a ruleset.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isthmus.deploy.world import world_command
from isthmus.functions import Firewall, Limiter, Nat, shipped
from isthmus.vnf import ConfigRefused, KernelFunction, Mark
from isthmus.vnf.program import closed

MARK = Mark(2**63 - 1, 2**63 - 1, 2**63 - 1)
"""The widest one: a comment has a limit of 128 bytes in the kernel's own format."""

PORTS = st.one_of(
    st.integers(1, 65535),
    st.tuples(st.integers(1, 65535), st.integers(1, 65535)).map(
        lambda ends: f"{min(ends)}-{max(ends)}"
    ),
)
FOUR = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(
    lambda one: str(IPv4Network(one, strict=False))
)
SIX = st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 128)).map(
    lambda one: str(IPv6Network(one, strict=False))
)
UNICAST = st.integers(0x0B000001, 0x7EFFFFFF).map(lambda n: ".".join(str(b) for b in n.to_bytes(4)))
FAMILY = st.one_of(
    st.fixed_dictionaries({}),
    *(
        st.fixed_dictionaries(
            {
                "source": st.lists(one, max_size=3, min_size=1),
                "destination": st.lists(one, max_size=3),
            }
        )
        for one in (FOUR, SIX, st.one_of(FOUR, SIX).map(lambda net: net))
    ),
)


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "action": draw(st.sampled_from(["allow", "deny"])),
        "protocol": draw(st.sampled_from(["any", "tcp", "udp", "icmp"])),
        "direction": draw(st.sampled_from(["both", "forward", "reverse"])),
        "deny_with": draw(st.sampled_from(["reject", "drop"])),
        **draw(FAMILY),
    }
    if rule["protocol"] in ("tcp", "udp"):
        rule["ports"] = draw(st.lists(PORTS, max_size=5))
    return rule


FIREWALLS = st.fixed_dictionaries(
    {
        "default_policy": st.sampled_from(["accept", "drop"]),
        "rules": st.lists(rules(), max_size=6),
        "allow_ping": st.booleans(),
    }
)
FORWARDS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "protocol": st.sampled_from(["tcp", "udp"]),
        "port": st.integers(1, 65535),
        "to_address": UNICAST,
    },
    optional={"to_port": st.integers(1, 65535)},
)


def _slot(forward: dict[str, Any]) -> tuple[str, int]:
    """Two forwards of one port are refused."""
    return forward["protocol"], forward["port"]


FORWARD_LISTS: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
    FORWARDS, max_size=4, unique_by=_slot
)
NATS = st.fixed_dictionaries(
    {
        "address": UNICAST,
        "port_forwards": FORWARD_LISTS,
    }
)
LIMITERS = st.fixed_dictionaries(
    {"rate_kbps": st.integers(8, 100_000_000), "burst_kib": st.integers(10, 65_536)},
    optional={"reverse_rate_kbps": st.integers(8, 100_000_000)},
)

JUDGE = """
import json, subprocess, sys
subprocess.run("ip link add name in type veth peer name out", shell=True, check=True)
wrong = []
for nft, tc in json.load(sys.stdin):
    done = subprocess.run(["nft", "-c", "-f", "-"], input=nft, text=True, capture_output=True)
    if done.returncode:
        wrong.append([nft, done.stderr])
    if tc:
        done = subprocess.run(["tc", "-batch", "-"], input="\\n".join(tc) + "\\n", text=True, capture_output=True)
        if done.returncode:
            wrong.append([tc, done.stderr])
print(json.dumps(wrong))
"""


def judged_by_the_kernel(programs: list[tuple[str, tuple[str, ...]]]) -> list[Any]:
    """What nft and tc complain about; empty when all is well."""
    done = subprocess.run(
        world_command([sys.executable, "-I", "-c", JUDGE]),
        input=json.dumps(programs),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    wrong: list[Any] = json.loads(done.stdout)
    return wrong


def matchable(parameters: dict[str, Any]) -> dict[str, Any]:
    """Leave out rules whose source and destination have no IP version in common: refused, and tested below."""
    return parameters | {"rules": [rule for rule in parameters["rules"] if _common(rule)]}


def _common(rule: dict[str, Any]) -> bool:
    sides: list[list[str]] = [rule.get("source", []), rule.get("destination", [])]
    versions: list[set[bool]] = [{":" in net for net in side} for side in sides if side]
    return len(versions) < 2 or bool(versions[0] & versions[1])


@pytest.mark.world
@given(
    st.lists(FIREWALLS.map(matchable), min_size=15, max_size=20),
    st.lists(NATS, min_size=5, max_size=8),
    st.lists(LIMITERS, min_size=5, max_size=8),
)
@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_the_kernel_takes_every_valid_configuration(
    firewalls: list[dict[str, Any]], nats: list[dict[str, Any]], limiters: list[dict[str, Any]]
) -> None:
    """A ruleset that the kernel refuses at run time is a bug of the renderer, never of its user."""
    programs: list[tuple[str, tuple[str, ...]]] = [(closed(1).nft, ())]
    for function, configurations in (
        (Firewall(), firewalls),
        (Nat(), nats),
        (Limiter(), limiters),
    ):
        for parameters in configurations:
            program = function.render(function.descriptor.check(parameters), MARK)
            programs.append((program.nft, program.tc))
    assert judged_by_the_kernel(programs) == []


@given(FIREWALLS.map(matchable))
def test_the_same_configuration_gives_the_same_bytes(parameters: dict[str, Any]) -> None:
    """Replay and comparison of rulesets rest on it (G13)."""
    function = Firewall()
    one, other = (function.render(function.descriptor.check(parameters), MARK) for _ in range(2))
    assert one == other


HOSTILE = st.one_of(
    st.text(min_size=1),
    st.sampled_from(
        [
            "10.0.0.1; flush ruleset",
            "10.0.0.0/8 } accept #",
            "fe80::1%eth0",
            "fe80::1%x } drop\n",
            "fe80::%} flush ruleset/64",
            "6000-6010; accept",
            "6000\n",
            "\uff11\uff12\uff13",
            "1-2-3",
            "$x",
            'include "/etc/passwd"',
            "0x10",
            "010.0.0.1",
            "1e3",
        ]
    ),
)
WORDS = {
    "accept",
    "drop",
    "allow",
    "deny",
    "any",
    "tcp",
    "udp",
    "icmp",
    "both",
    "forward",
    "reverse",
}
PLACES: list[tuple[KernelFunction, Any]] = [
    (Firewall(), lambda text: {"default_policy": text}),
    (Firewall(), lambda text: {"rules": [{"action": text}]}),
    (Firewall(), lambda text: {"rules": [{"action": "deny", "protocol": text}]}),
    (
        Firewall(),
        lambda text: {"rules": [{"action": "deny", "protocol": "tcp", "ports": [text]}]},
    ),
    (Firewall(), lambda text: {"rules": [{"action": "deny", "source": [text]}]}),
    (Firewall(), lambda text: {"rules": [{"action": "deny", "destination": [text]}]}),
    (Firewall(), lambda text: {"rules": [{"action": "deny", "direction": text}]}),
    (Nat(), lambda text: {"address": text}),
    (
        Nat(),
        lambda text: {
            "address": "203.0.113.1",
            "port_forwards": [{"port": 80, "to_address": text}],
        },
    ),
    (
        Nat(),
        lambda text: {
            "address": "203.0.113.1",
            "port_forwards": [{"port": text, "to_address": "10.0.0.1"}],
        },
    ),
    (Limiter(), lambda text: {"rate_kbps": text}),
    (Limiter(), lambda text: {"rate_kbps": 1000, "burst_kib": text}),
]


@pytest.mark.parametrize(("function", "place"), PLACES)
@given(text=HOSTILE)
def test_no_text_of_a_configuration_reaches_the_ruleset(
    function: KernelFunction, place: Any, text: str
) -> None:
    """The agent is root: one brace let through is the host lost. Either refused, or gone through a type."""
    try:
        parameters = function.descriptor.check(place(text))
    except ConfigRefused:
        return
    assert text in WORDS or re.fullmatch(r"[0-9A-Fa-f.:/-]+", text, re.ASCII), text
    assert function.render(parameters, MARK).nft.isascii()


def test_a_rule_that_can_never_match_is_refused() -> None:
    """It is always a mistake, and silence would look like protection."""
    rule = {"action": "deny", "source": ["10.0.0.0/8"], "destination": ["2001:db8::/32"]}
    with pytest.raises(ConfigRefused, match="never matches"):
        shipped().find("firewall", "1").descriptor.check({"rules": [rule]})
