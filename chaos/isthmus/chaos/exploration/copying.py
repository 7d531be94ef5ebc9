"""Copies of worlds by pickle; what never changes is shared, which makes it several times cheaper."""

from __future__ import annotations

import copyreg
import io
import pickle
from typing import Any

from isthmus.chaos.exploration.explorer import Saved, World
from isthmus.contract.envelope import Stamp
from isthmus.federation.filters import DenialLog, ExportFilter
from isthmus.federation.limits import LinkLimits

_SHARED: dict[int, Any] = {}


def _shared(number: int) -> Any:
    return _SHARED[number]


def _share(found: Any) -> tuple[Any, tuple[int]]:
    _SHARED[id(found)] = found
    return _shared, (id(found),)


class _Pickler(pickle.Pickler):
    dispatch_table = {  # noqa: RUF012 (the C pickler reads it from the class)
        **copyreg.dispatch_table,
        **dict.fromkeys((LinkLimits, ExportFilter, DenialLog, Stamp), _share),
    }


def by_pickle(world: World, moves: tuple[str, ...]) -> Saved:
    """See :data:`isthmus.chaos.exploration.explorer.Save`."""
    stream = io.BytesIO()
    _Pickler(stream, protocol=pickle.HIGHEST_PROTOCOL).dump(world)
    image = stream.getvalue()

    def again() -> World:
        found: World = pickle.loads(image)
        return found

    return again
