"""The worlds by name; imported when they are asked for, since the carrier needs half of the house."""

from __future__ import annotations

from collections.abc import Callable

from isthmus.chaos.simulation.world import World


def _links() -> type[World]:
    from isthmus.chaos.simulation.world_links import LinksWorld

    return LinksWorld


def _carrier() -> type[World]:
    from isthmus.chaos.simulation.world_carrier import CarrierWorld

    return CarrierWorld


def _partners() -> type[World]:
    from isthmus.chaos.simulation.world_partners import PartnersWorld

    return PartnersWorld


WORLDS: dict[str, Callable[[], type[World]]] = {
    "links": _links,
    "carrier": _carrier,
    "partners": _partners,
}
