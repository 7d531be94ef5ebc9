"""A mirror's root is any prefix: the rules for our own roots (a slash at the end, or exactly one key) must not meet it.

Over the budget of waiting values only the key waits and its value is read again: then the root is asked for the key.
"""

from __future__ import annotations

import pytest

from isthmus.contract.scopes import ExportRoot
from isthmus.federation.coalescing import Change
from isthmus.federation.exporter import Exporter
from isthmus.federation.filters import DenialLog, ExportFilter
from isthmus.federation.limits import LinkLimits
from isthmus.federation.raw_ends import RawCheck
from isthmus.kv.port import Entry, Event, EventKind, WatchBatch
from isthmus.policy.errors import KeyRefused

PREFIXES = pytest.mark.parametrize("prefix", ["", "Src", "/k/", "/k"])


def _exporter(prefix: str) -> tuple[Exporter, ExportFilter]:
    export = ExportFilter((ExportRoot(prefix, "", raw=True),), RawCheck(prefix, ()), DenialLog())
    return Exporter(export, LinkLimits(pending_bytes=0)), export


@PREFIXES
def test_a_key_finds_its_way_back_to_the_source(prefix: str) -> None:
    """There and back, also the key that is the prefix itself."""
    _, export = _exporter(prefix)
    for rest in ("", "1", "/deep/er"):
        if prefix + rest:
            assert export.relative(0, prefix + rest) == rest
            assert export.source_key(rest) == prefix + rest


@PREFIXES
def test_a_value_that_is_read_again_crosses(prefix: str) -> None:
    """Nothing may be kept here: each value is fetched."""
    exporter, _ = _exporter(prefix)
    exporter.forget([1])
    entry = Entry(f"{prefix}a", b"v", 2, 2, 1)
    exporter.changed(0, WatchBatch(2, (Event(EventKind.PUT, entry.key, 2, entry),)))
    (taken,) = exporter.take()
    assert taken.fetch
    assert exporter.fetched(taken, entry, 3) == Change("a", b"v", 2)


def test_our_own_roots_are_as_strict_as_ever() -> None:
    """Without a slash it is one key, never the beginning of others (attack 7)."""
    export = ExportFilter((ExportRoot("/isthmus/v1/one", "one"),), RawCheck("", ()), DenialLog())
    assert export.source_key("one") == "/isthmus/v1/one"
    with pytest.raises(KeyRefused):
        export.source_key("onerous")
