"""Source NAT, and port forwards the other way (RFC 3022; DESIGN section 5, "VNFs").

Whatever leaves at leg ``out`` carries one address. The mask has no holes: a packet that connection tracking cannot
read would leave with the client's address, so it is discarded, and so is IPv6. From outside only answers and
declared port forwards come in; a forward that is taken out of the configuration stops at once.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from isthmus.functions.fields import PortNumber, UnicastV4
from isthmus.vnf.descriptor import Descriptor, Parameters
from isthmus.vnf.program import ONLY_TRACKED, Mark, Program, ruleset


class PortForward(Parameters):
    """``port`` of the public address leads to ``to_address:to_port`` (``to_port`` left out: the same port)."""

    protocol: Literal["tcp", "udp"] = "tcp"
    port: PortNumber
    to_address: UnicastV4
    to_port: PortNumber | None = None


class NatParameters(Parameters):
    """Configuration of a NAT: ``address`` replaces the clients' own."""

    address: UnicastV4
    port_forwards: tuple[PortForward, ...] = Field(default=(), max_length=128)

    @model_validator(mode="after")
    def _ports_differ(self) -> NatParameters:
        seen: set[tuple[str, int]] = set()
        for forward in self.port_forwards:
            name = (forward.protocol, forward.port)
            if name in seen:
                raise ValueError(f"port_forwards: {forward.protocol} port {forward.port} twice")
            seen.add(name)
        return self


class Nat:
    """Renderer of the NAT."""

    descriptor = Descriptor(
        type="nat",
        version="1",
        summary="source NAT to one address, with port forwards",
        forms=("kernel",),
        parameters=NatParameters,
    )

    def render(self, parameters: Parameters, mark: Mark) -> Program:
        """One nft transaction: two nat chains beside the common frame."""
        assert isinstance(parameters, NatParameters)
        lines = ["meta nfproto != ipv4 jump discard", ONLY_TRACKED, 'iifname "in" accept']
        lines += [_admit(parameters.address, forward) for forward in parameters.port_forwards]
        lines += ["ct direction reply accept", "ct state related accept"]
        return Program(mark, ruleset(mark, lines, chains=_nat_chains(parameters)))


def _admit(address: UnicastV4, forward: PortForward) -> str:
    return (
        f"meta l4proto {forward.protocol} ct direction original "
        f"ct original ip daddr {address!s} ct original proto-dst {forward.port:d} accept"
    )


def _nat_chains(parameters: NatParameters) -> str:
    forwards = "".join(
        f'    iifname "out" ip daddr {parameters.address!s} {forward.protocol} dport '
        f"{forward.port:d} dnat ip to {forward.to_address!s}:{forward.to_port or forward.port:d}\n"
        for forward in parameters.port_forwards
    )
    return f"""  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
{forwards}  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "out" snat ip to {parameters.address!s}
  }}
"""
