"""The firewall: first matching rule decides, then the default policy (DESIGN section 5, "VNFs").

A change takes effect on connections that are open already, not on new ones alone: packets of the side that opened
a connection are judged by the rules each time, only their answers pass as answers. So closing a port on a
live firewall ends what runs over it, with a reset. ICMP errors of an accepted connection always pass (path MTU
discovery, RFC 1191, breaks otherwise); echo requests pass under either policy unless a rule or ``allow_ping`` says no.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from isthmus.functions.fields import Ports, Prefixes, Protocol, family_matches, nft_set, port_items
from isthmus.vnf.descriptor import Descriptor, Parameters
from isthmus.vnf.program import ONLY_TRACKED, Mark, Program, ruleset

_LEG = {"both": "", "forward": 'iifname "in" ', "reverse": 'iifname "out" '}


class FirewallRule(Parameters):
    """One line of policy. ``ports`` are destination ports (numbers or ``"6000-6010"``), empty lists mean any.

    ``forward`` packets enter at leg ``in``. ``deny_with: reject`` tells the sender (TCP: a reset), ``drop`` does not.
    """

    action: Literal["allow", "deny"]
    protocol: Protocol = "any"
    ports: Ports = ()
    source: Prefixes = ()
    destination: Prefixes = ()
    direction: Literal["both", "forward", "reverse"] = "both"
    deny_with: Literal["reject", "drop"] = "reject"

    @model_validator(mode="after")
    def _can_match(self) -> FirewallRule:
        if self.ports and self.protocol not in ("tcp", "udp"):
            raise ValueError(f"ports need protocol tcp or udp, not {self.protocol}")
        if not family_matches(self.source, self.destination):
            raise ValueError(
                "source and destination have no IP version in common: it never matches"
            )
        return self


class FirewallParameters(Parameters):
    """Configuration of a firewall."""

    default_policy: Literal["accept", "drop"] = "drop"
    rules: tuple[FirewallRule, ...] = Field(default=(), max_length=256)
    allow_ping: bool = True


class Firewall:
    """Renderer of the firewall."""

    descriptor = Descriptor(
        type="firewall",
        version="1",
        summary="stateful packet filter: allow or deny by protocol, ports and prefixes",
        forms=("kernel",),
        parameters=FirewallParameters,
    )

    def render(self, parameters: Parameters, mark: Mark) -> Program:
        """One nft transaction; rules in the order they are given."""
        assert isinstance(parameters, FirewallParameters)
        lines = [ONLY_TRACKED, "ct direction reply accept", "ct state related accept"]
        for rule in parameters.rules:
            lines += _rule_lines(rule)
        if parameters.allow_ping:
            lines += ["icmp type echo-request accept", "icmpv6 type echo-request accept"]
        if parameters.default_policy == "accept":
            lines.append("accept")
        return Program(mark, ruleset(mark, lines))


def _rule_lines(rule: FirewallRule) -> list[str]:
    """One line per IP version that the rule's prefixes need; one line when it has none."""
    matches = family_matches(rule.source, rule.destination)
    head, tail = _LEG[rule.direction], f"{_protocol_match(rule)}{_verdict(rule)}"
    return [f"{head}{match}{tail}" for match in matches]


def _protocol_match(rule: FirewallRule) -> str:
    if rule.protocol == "any":
        return ""
    if rule.protocol == "icmp":
        return "meta l4proto { icmp, icmpv6 } "
    if not rule.ports:
        return f"meta l4proto {rule.protocol} "
    return f"{rule.protocol} dport {nft_set(port_items(rule.ports))} "


def _verdict(rule: FirewallRule) -> str:
    if rule.action == "allow":
        return "accept"
    return "jump refuse" if rule.deny_with == "reject" else "jump discard"
