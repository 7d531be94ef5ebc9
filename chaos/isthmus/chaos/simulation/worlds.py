"""The worlds by name; imported when they are asked for, since the carrier needs half of the house."""

from __future__ import annotations

from collections.abc import Callable

from isthmus.chaos.simulation.world import World


def _links() -> type[World]:
    from isthmus.chaos.simulation.world_links import LinksWorld

    return LinksWorld


WORLDS: dict[str, Callable[[], type[World]]] = {"links": _links}
