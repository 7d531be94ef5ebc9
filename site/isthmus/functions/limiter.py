"""The rate limiter: a token bucket on either leg (tc-tbf; DESIGN section 5, "VNFs").

A queue shapes what leaves a device, so there is one on ``out`` for packets on their way there and one on ``in``
for packets on their way back (one alone leaves the other direction unlimited: measured). The queues are
replaced before the ruleset opens, so no packet ever passes unlimited.
"""

from __future__ import annotations

from pydantic import Field

from isthmus.vnf.descriptor import Descriptor, Parameters
from isthmus.vnf.program import Mark, Program, ruleset

QUEUE_MS = 50
"""How long a packet may wait for tokens: enough to ride out a burst, short enough not to bloat."""


class LimiterParameters(Parameters):
    """Configuration of a rate limiter: 1 kbps is 1000 bit/s, 1 KiB is 1024 bytes.

    ``burst_kib`` is the bucket. Devices carry packets up to 9000 bytes, and one larger than the bucket never passes:
    hence at least 10. ``reverse_rate_kbps`` left out: as ``rate_kbps``.
    """

    rate_kbps: int = Field(ge=8, le=100_000_000)
    burst_kib: int = Field(default=64, ge=10, le=65_536)
    reverse_rate_kbps: int | None = Field(default=None, ge=8, le=100_000_000)


class Limiter:
    """Renderer of the rate limiter."""

    descriptor = Descriptor(
        type="limiter",
        version="1",
        summary="token bucket on both directions",
        forms=("kernel",),
        parameters=LimiterParameters,
    )

    def render(self, parameters: Parameters, mark: Mark) -> Program:
        """Two queues and a ruleset that lets everything pass between the legs."""
        assert isinstance(parameters, LimiterParameters)
        reverse = parameters.reverse_rate_kbps or parameters.rate_kbps
        queues = (
            _queue("out", parameters.rate_kbps, parameters.burst_kib),
            _queue("in", reverse, parameters.burst_kib),
        )
        return Program(mark, ruleset(mark, ("accept",)), tc=queues)


def _queue(leg: str, rate_kbps: int, burst_kib: int) -> str:
    return (
        f"qdisc replace dev {leg} root handle 1: tbf rate {rate_kbps:d}kbit "
        f"burst {burst_kib * 1024:d} latency {QUEUE_MS}ms"
    )
