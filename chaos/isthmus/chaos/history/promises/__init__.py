"""One pure validator a promise; :data:`VALIDATORS` is the registry, in the order of GUARANTEES.md."""

from isthmus.chaos.history.promises import (
    g01_autonomy,
    g03_intents,
    g04_convergence,
    g05_order,
    g06_resync,
    g07_memory,
    g08_scope,
    g09_cutoff,
    g11_flood,
    g12_staleness,
    g13_replay,
    g14_data_plane,
    not_judged,
)
from isthmus.chaos.history.verdict import Judge

VALIDATORS: dict[str, Judge] = {
    "G1": g01_autonomy.judge,
    "G2": not_judged.G2,
    "G2'": not_judged.G2_FENCING,
    "G3": g03_intents.judge,
    "G4": g04_convergence.judge,
    "G5": g05_order.judge,
    "G6": g06_resync.judge,
    "G7": g07_memory.judge,
    "G8": g08_scope.judge,
    "G9": g09_cutoff.judge,
    "G10": not_judged.G10,
    "G11": g11_flood.judge,
    "G12": g12_staleness.judge,
    "G13": g13_replay.judge,
    "G14": g14_data_plane.judge,
}

__all__ = ["VALIDATORS"]
