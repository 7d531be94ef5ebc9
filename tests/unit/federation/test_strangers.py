"""Whoever else writes below a mirror's destination is noticed, exactly, and costs nothing while there is nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.federation.digest import DigestMap
from isthmus.federation.errors import LinkLost
from isthmus.federation.strangers import REPLAYED, Strangers
from isthmus.kv.errors import Compacted
from isthmus.kv.port import Event, EventKind, WatchBatch


class _Raw:
    """A store's range: its revision, and every batch since."""

    def __init__(self) -> None:
        self.at = 10
        self.log: list[WatchBatch] = []
        self.watches = 0
        self.broken: Exception | None = None
        self.more = asyncio.Event()

    def write(self, *keys: str) -> int:
        self.at += 1
        events = tuple(Event(EventKind.DELETE, key, self.at) for key in keys)
        self.log.append(WatchBatch(self.at, events))
        self.more.set()
        return self.at

    async def revision(self) -> int:
        return self.at

    async def watch(self, start_revision: int) -> AsyncIterator[WatchBatch]:
        self.watches += 1
        sent = 0
        while True:
            if self.broken is not None:
                raise self.broken
            while sent < len(self.log):
                batch, sent = self.log[sent], sent + 1
                if batch.revision >= start_revision:
                    yield batch
            self.more.clear()
            await self.more.wait()


def _strangers(raw: _Raw, held: Sequence[str] = ("a", "b", "c")) -> tuple[Strangers, DigestMap]:
    known = DigestMap()
    for key in held:
        known.put(key, b"v")
    made = Strangers(raw, lambda key: None if key.startswith("x/") else key.removeprefix("/k/"))  # type: ignore[arg-type]
    made.begin(known, raw.at)
    return made, known


def _spoilt(known: DigestMap, keys: Sequence[str] = ("a", "b", "c")) -> set[str]:
    """Keys of which something else is believed than was stored; and keys that nobody stored."""
    before = DigestMap()
    for key in keys:
        before.put(key, b"v")
    changed = {key for key in keys if key in known and known.put(key, b"v")}
    return changed | {key for key in known.keys_in(range(256)) if key not in before}


async def _settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_alone_it_asks_one_question_and_watches_nothing() -> None:
    """A watch would cost a message for each of our own writes: at 1,000 a second that is the mirror's latency."""
    raw = _Raw()
    strangers, known = _strangers(raw)
    for _ in range(50):
        strangers.wrote(raw.write("/k/a"))
        strangers.wrote(raw.write("/k/b"))
        await strangers.look()
    assert raw.watches == 0
    assert not _spoilt(known)


async def test_what_others_touch_is_believed_no_more() -> None:
    """Changed, removed, added: the digest must differ in each case, whatever the source has."""
    raw = _Raw()
    strangers, known = _strangers(raw)
    root = known.root()
    strangers.wrote(raw.write("/k/a"))
    raw.write("/k/b", "/k/new", "x/elsewhere")
    await strangers.look()  # finds a revision that is not ours
    await _settled()
    await strangers.look()
    assert known.root() != root
    assert _spoilt(known) == {"b", "new"}
    strangers.stop()


async def test_a_write_of_ours_that_is_heard_before_it_is_answered_is_no_strangers() -> None:
    """The watch may be faster than the answer; who takes that for a stranger repairs for ever."""
    raw = _Raw()
    strangers, known = _strangers(raw)
    raw.write("x/elsewhere")
    await strangers.look()
    ours = raw.write("/k/a")
    await _settled()  # heard
    strangers.wrote(ours)  # and only now answered
    await strangers.look()
    assert not _spoilt(known)
    strangers.stop()


async def test_others_elsewhere_in_the_store_spoil_nothing() -> None:
    """A shared store is no trouble; its revisions run on without us."""
    raw = _Raw()
    strangers, known = _strangers(raw)
    for _ in range(20):
        raw.write("x/elsewhere")
        strangers.wrote(raw.write("/k/c"))
        await strangers.look()
        await _settled()
    await strangers.look()
    assert not _spoilt(known)
    assert raw.watches == 1
    strangers.stop()


async def test_what_cannot_be_told_ends_the_link() -> None:
    """Compacted under the watch: the next link reads the store afresh."""
    raw = _Raw()
    strangers, _ = _strangers(raw)
    raw.broken = Compacted("gone", revision=9)
    raw.write("/k/a")
    await strangers.look()
    await _settled()
    with pytest.raises(LinkLost):
        await strangers.look()


async def test_a_whole_copy_is_not_watched_again() -> None:
    """To find one stranger among 50,000 keys that were just written, reading them is cheaper."""
    raw = _Raw()
    strangers, _ = _strangers(raw)
    for _ in range(REPLAYED + 1):
        strangers.wrote(raw.write("/k/a"))
    raw.write("/k/b")
    with pytest.raises(LinkLost):
        await strangers.look()
    assert raw.watches == 0


@given(
    st.lists(
        st.tuples(st.sampled_from(["ours", "theirs", "elsewhere", "look"]), st.sampled_from("abc")),
        max_size=40,
    )
)
def test_exactly_what_others_wrote_is_spoilt(steps: list[tuple[str, str]]) -> None:
    """In any order: nothing of theirs is missed, and nothing that only we touched is sent again."""

    async def run() -> None:
        raw = _Raw()
        strangers, known = _strangers(raw)
        theirs: set[str] = set()
        for who, key in steps:
            if who == "look":
                await strangers.look()
                await _settled()
                continue
            revision = raw.write("x/else" if who == "elsewhere" else f"/k/{key}")
            if who == "ours":
                strangers.wrote(revision)
            elif who == "theirs":
                theirs.add(key)
        for _ in range(2):
            await strangers.look()
            await _settled()
        await strangers.look()
        strangers.stop()
        assert _spoilt(known) == theirs

    asyncio.run(run())
