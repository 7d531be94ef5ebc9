"""What an instance has to say, while the store may be away: the newest of each kind, and nothing waits for it.

Watching over the kernel must go on when nobody can be told, so the logic only leaves values here. One pending value
per kind is kept: memory is bounded, and after an outage the store gets what is true now.
"""

from __future__ import annotations

import asyncio

from isthmus.contract.instance import Applied, InstanceState, InstanceStats
from isthmus.vnf.client import VnfClient


class Outbox:
    """Leave values at any time; :meth:`run` carries them to the store in order of weight until cancelled."""

    def __init__(self, client: VnfClient) -> None:
        self._client = client
        self._applied: Applied | None = None
        self._state: InstanceState | None = None
        self._stats: InstanceStats | None = None
        self._something = asyncio.Event()

    def leave(self, value: Applied | InstanceState | InstanceStats) -> None:
        """Replace the pending value of this kind."""
        if isinstance(value, Applied):
            self._applied = value
        elif isinstance(value, InstanceState):
            self._state = value
        else:
            self._stats = value
        self._something.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._something.wait()
            self._something.clear()
            if self._applied is not None:
                applied, self._applied = self._applied, None
                await self._client.publish_applied(applied)
            if self._state is not None:
                state, self._state = self._state, None
                await self._client.publish_state(state)
            if self._stats is not None:
                stats, self._stats = self._stats, None
                await self._client.publish_stats(stats)
