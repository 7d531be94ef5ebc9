"""One source, two machines: numba when it is installed, plain Python when it is not.

The kernels are written once, in the subset of Python that numba compiles, over flat arrays. With
the extra ``[fast]`` the arrays are numpy's and the functions compiled; without, the arrays are
lists and the functions run as they stand. Both give the same bytes: integers are exact in both,
the floats see the same operations in the same order (no fast-math, no powers), and heaps pop in a
total order (cost, item) whatever their shape. So a site needs no numba (issue point 2), and what
the global tier computed can be replayed on a laptop.
"""

from __future__ import annotations

import hashlib
import heapq
import importlib
import importlib.util
import os
import tempfile
from array import array
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

KERNELS = ("accel", "walks", "labels", "kernel", "passes", "pricing", "moves", "ruin")


class Tools(NamedTuple):
    """What a kernel module takes from here: the decorator and a heap over two scratch arrays."""

    jit: Callable[[Any], Any]
    reset: Callable[..., int]
    push: Callable[..., int]
    pop: Callable[..., Any]


def numba_available() -> bool:
    """Whether the compiled kernels can be had on this machine."""
    return all(importlib.util.find_spec(name) is not None for name in ("numba", "numpy"))


def _reset(costs: Any, items: Any) -> int:
    costs.clear()
    return 0


def _push(costs: Any, items: Any, size: int, cost: float, item: int) -> int:
    heapq.heappush(costs, (cost, item))
    return size + 1


def _pop(costs: Any, items: Any, size: int) -> Any:
    return heapq.heappop(costs)


def _flat_reset(costs: Any, items: Any) -> int:
    return 0


def _flat_push(costs: Any, items: Any, size: int, cost: float, item: int) -> int:
    at = size
    while at > 0:
        up = (at - 1) >> 1
        if costs[up] < cost or (costs[up] == cost and items[up] <= item):
            break
        costs[at] = costs[up]
        items[at] = items[up]
        at = up
    costs[at] = cost
    items[at] = item
    return size + 1


def _flat_pop(costs: Any, items: Any, size: int) -> Any:
    top_cost, top_item = costs[0], items[0]
    last = size - 1
    cost, item = costs[last], items[last]
    at = 0
    while True:
        down = 2 * at + 1
        if down >= last:
            break
        other = down + 1
        if other < last and (
            costs[other] < costs[down]
            or (costs[other] == costs[down] and items[other] < items[down])
        ):
            down = other
        if cost < costs[down] or (cost == costs[down] and item <= items[down]):
            break
        costs[at] = costs[down]
        items[at] = items[down]
        at = down
    costs[at] = cost
    items[at] = item
    return top_cost, top_item


@cache
def tools(plain: bool) -> Tools:
    """The decorator and heap for compiled (``plain=False``) or plain kernels; plain ones where numba is missing."""
    if plain or importlib.util.find_spec("numba") is None:
        return Tools(lambda function: function, _reset, _push, _pop)
    return Tools(_compiled, _compiled(_flat_reset), _compiled(_flat_push), _compiled(_flat_pop))


def _compiled(function: Any) -> Any:
    """``njit`` with a cache that is keyed by the sources of *all* kernels.

    numba keys a function's cache by its own file alone, so after a change in one kernel file the
    callers in another go on with the old code inlined (seen: compiled and plain gave different
    bytes). Hence a folder per hash of all sources; what was configured before is put back.
    """
    import numba

    before = numba.config.CACHE_DIR
    try:
        if not before:
            numba.config.CACHE_DIR = kernel_cache()
        return numba.njit(cache=True)(function)
    finally:
        numba.config.CACHE_DIR = before


@cache
def kernel_cache() -> str:
    """Folder of the compiled kernels of exactly these sources; the user's cache or a private one."""
    here = Path(__file__).parent
    sources = b"".join((here / f"{name}.py").read_bytes() for name in KERNELS)
    name = f"isthmus-kernels-{hashlib.sha256(sources).hexdigest()[:16]}"
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    for folder in (Path(base) / name, Path(tempfile.gettempdir()) / f"{name}-{os.getuid()}"):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        if folder.stat().st_uid == os.getuid() and os.access(folder, os.W_OK):
            return str(folder)
    return tempfile.mkdtemp(prefix=name)


def warm() -> bool:
    """Whether the kernels are already compiled: the first time takes about a minute."""
    return numba_available() and any(Path(kernel_cache()).rglob("ruin.recreate*.nbc"))


@cache
def kernels(name: str, plain: bool) -> ModuleType:
    """A kernel module, as it stands (``plain``) or compiled.

    Two copies of one source file: a module whose name ends in ``_plain`` decorates nothing, so
    both can live in one process, which is how their equality is tested.
    """
    full = f"{__package__}.{name}"
    if not plain:
        return importlib.import_module(full)
    found = importlib.util.find_spec(full)
    assert found is not None, f"no kernel module {full}"
    assert found.origin is not None
    spec = importlib.util.spec_from_file_location(f"{full}_plain", found.origin)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Arrays:
    """Makes the arrays that the kernels of one kind take."""

    def __init__(self, plain: bool) -> None:
        self.plain = plain

    def ints(self, values: Iterable[int]) -> Any:
        """A flat array of 64-bit integers (never empty: kernels may look at index 0)."""
        if not self.plain and isinstance(values, array):
            return self._shared(values)
        listed = list(values) or [0]
        if self.plain:
            return listed
        import numpy as np

        return np.array(listed, dtype=np.int64)

    def _shared(self, values: array[Any]) -> Any:
        """numpy's view of a packed array, which stays where it is; the caller adds nothing more."""
        import numpy as np

        if not values:
            values.append(0)
        return np.frombuffer(values, dtype=np.int64 if values.typecode == "q" else np.float64)

    def filled(self, size: int, value: int) -> Any:
        """So many times the same integer, without a list in between."""
        if self.plain:
            return [value] * max(1, size)
        import numpy as np

        if value == 0:
            return np.zeros(max(1, size), dtype=np.int64)  # pages that nobody touches are not taken
        return np.full(max(1, size), value, dtype=np.int64)

    def floats(self, values: Iterable[float]) -> Any:
        """A flat array of doubles."""
        if not self.plain and isinstance(values, array):
            return self._shared(values)
        listed = [float(v) for v in values] or [0.0]
        if self.plain:
            return listed
        import numpy as np

        return np.array(listed, dtype=np.float64)

    def zeros(self, size: int) -> Any:
        """So many doubles, 0.0."""
        if self.plain:
            return [0.0] * max(1, size)
        import numpy as np

        return np.zeros(max(1, size))

    def within(self, there: list[Any], back: list[Any], budget: float) -> Any:
        """1 where the least of ``there`` and the least of ``back`` together keep the budget."""
        if self.plain:
            pairs = zip(zip(*there, strict=True), zip(*back, strict=True), strict=True)
            return [int(min(a) + min(b) <= budget) for a, b in pairs]
        import numpy as np

        least = np.minimum.reduce(there) + np.minimum.reduce(back)
        return (least <= budget).astype(np.int64)

    def heap(self, size: int) -> tuple[Any, Any]:
        """Scratch for a heap of at most ``size`` entries."""
        if self.plain:
            return [], []
        import numpy as np

        return np.zeros(size, dtype=np.float64), np.zeros(size, dtype=np.int64)
