"""What a partner may do to a tier, and a tier to a partner: a right that ends, and a flood (G9, G11)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from isthmus.chaos.simulation.fault_base import FaultKind, fault_kind
from isthmus.chaos.simulation.schedule import Fault

if TYPE_CHECKING:
    from isthmus.chaos.simulation.world import World
    from isthmus.chaos.simulation.world_partners import PartnersWorld

MANY_KEYS, HUGE_VALUES, ONE_KEY = "many-keys", "huge-values", "one-key"


def _of(world: World) -> PartnersWorld:
    return cast("PartnersWorld", world)


def _revoked(world: World, fault: Fault) -> bool:
    return _of(world).end_right(fault.target, "revoked")


def _admitted(world: World, fault: Fault) -> None:
    _of(world).give_right(fault.target, "revoked")


def _expired(world: World, fault: Fault) -> bool:
    return _of(world).end_right(fault.target, "expired")


def _renewed(world: World, fault: Fault) -> None:
    _of(world).give_right(fault.target, "expired")


def _flood(world: World, fault: Fault) -> bool:
    return _of(world).begin_flood(fault.target, str(fault.detail["by"]))


def _ebb(world: World, fault: Fault) -> None:
    _of(world).end_flood(fault.target)


ONLY = ("partners",)
fault_kind(FaultKind("partner.revoked", "partner", _revoked, _admitted, (2.0, 9.0), worlds=ONLY))
fault_kind(FaultKind("partner.expired", "partner", _expired, _renewed, (2.0, 9.0), worlds=ONLY))
fault_kind(
    FaultKind(
        "partner.flood",
        "partner",
        _flood,
        _ebb,
        (1.5, 4.0),
        lambda chance: {"by": chance.choice((MANY_KEYS, HUGE_VALUES, ONE_KEY))},
        weight=8,
        worlds=ONLY,
    )
)
