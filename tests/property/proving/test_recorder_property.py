"""Whatever a recorder is told comes back from the file, and an hour of it stays small."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from isthmus.chaos.history import KINDS, Field, Header, History, Memory, Record, encode
from isthmus.chaos.history.kinds import problem_of
from isthmus.chaos.history.record import encode_header, read_lines

HOUR_S = 3600
LIMIT_BYTES = 200_000_000
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)


def _values(field: Field) -> st.SearchStrategy[object]:
    if field.one_of:
        return st.sampled_from(field.one_of)
    if bool in field.types:
        return st.booleans()
    if float in field.types:
        return st.floats(allow_nan=False, allow_infinity=False) | st.integers()
    return st.integers() if int in field.types else TEXT


@st.composite
def _fields(draw: st.DrawFn, name: str) -> dict[str, object]:
    fields = KINDS[name].fields
    return {f.name: draw(_values(f)) for f in fields if f.required or draw(st.booleans())}


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Any history a recorder could have written; times are whole microseconds, as on disk."""
    header = Header(
        draw(st.sampled_from(("simulation", "processes"))),
        draw(st.integers()),
        draw(TEXT),
        draw(TEXT),
        draw(st.dictionaries(TEXT, TEXT, max_size=3)),
        draw(TEXT),
        draw(TEXT),
        tuple(draw(st.lists(TEXT, max_size=2))),
    )
    records = []
    for n in range(1, draw(st.integers(1, 6))):
        what = draw(st.sampled_from(sorted(KINDS)))
        clock = draw(st.sampled_from((header.clock, "other")))
        t = draw(st.integers(0, 10**10)) / 1_000_000
        records.append(Record(n, t, clock, draw(TEXT), what, draw(_fields(what))))
    return History(header, records)


def _file(history: History) -> str:
    lines = [encode_header(history.header)]
    lines += [encode(record, history.header.clock) for record in history.records]
    return "".join(line + "\n" for line in lines)


@given(histories())
def test_round_trip(history: History) -> None:
    """A judge reads exactly what was seen, whatever bytes were in it (line breaks, too)."""
    assert read_lines(io.StringIO(_file(history), newline="\n")) == history


@given(histories(), st.integers(min_value=0))
def test_a_file_cut_anywhere_keeps_its_whole_lines(history: History, cut: int) -> None:
    """The writer may be killed at any byte: nothing but the unfinished line is missing."""
    text = _file(history)
    head = len(encode_header(history.header)) + 1
    part = text[: head + cut % (len(text) - head + 1)]
    found = read_lines(io.StringIO(part, newline="\n"))
    assert list(found.records) == list(history.records)[: part.count("\n") - 1]
    assert found.torn == (not part.endswith("\n"))


@given(st.sampled_from(sorted(KINDS)).flatmap(lambda k: st.tuples(st.just(k), _fields(k))))
def test_what_the_table_allows_is_allowed(case: tuple[str, dict[str, object]]) -> None:
    """The table of the docs and the check of the reader are one."""
    assert problem_of(*case) is None


LINES_A_SECOND = {
    "ask": 20, "effect": 30, "held": 30, "shown": 90, "digest": 6, "memory": 3, "local": 20, "fact": 20, "probe": 6,
}  # fmt: skip
"""Of each kind: three sites under the load of the proving runner."""

_CHAIN, _VALUE, _INC = "tenant-12/chain-0123", "0123456789abcdef", "0123456789ab"
_KEY = "intents/tenant-12/chain-0123"
_NOW_S = 1234567.123456


def _typical() -> dict[str, int]:
    """Kind -> bytes of a typical line."""
    header = Header("processes", 123456, "0" * 40, "carrier", {}, "", "runner.boot")
    memory = Memory(header, lambda: _NOW_S)
    r = memory.recorder
    r.ask(
        "client.12", op="put-001234", verb="put", tier="global", chain=_CHAIN, phase="acked",
        key="tenant-12-0001234", revision=1234567,
    )  # fmt: skip
    r.effect("reader.milan", tier="milan", chain=_CHAIN, phase="running", count=1, revision=1234567)
    r.held(
        "store.global", store="global", verb="put", key=_KEY, value=_VALUE, rev=1234567, inc=_INC
    )
    r.shown(
        "reader.milan", store="global", peer="milan", verb="put", key=_KEY, value=_VALUE,
        rev=1234567, inc=_INC,
    )  # fmt: skip
    r.digest("runner", link="global-milan/down", source="0" * 64, target="0" * 64, keys=1234)
    r.memory(
        "gateway", peer="milan", pending_keys=123, pending_bytes=123456, bound_bytes=8388608,
        rss_bytes=123456789, slow=True, latency_s=0.123456,
    )  # fmt: skip
    r.local(
        "probe.milan", site="milan", op="forward", ok=True, took_s=0.001234, cut=True,
        outside_calls=0,
    )  # fmt: skip
    r.fact(
        "placer.milan", by="placer.milan", fact="remote/global/summary/torino", as_of=123456.123456,
        ttl_s=30.0, now=123456.123456, used=True, treated_as="unknown",
    )  # fmt: skip
    r.probe(
        "probe.milan", path="milan-a/milan-b", sent=500, lost=3, longest_gap_ms=12.25, phase="fault"
    )
    return {record.what: len(encode(record, "runner.boot")) + 1 for record in memory.records}


def test_an_hour_is_below_200_mb() -> None:
    """Ten intents a second over three sites, every change seen by three readers: the figure of issue 5."""
    typical = _typical()
    assert typical.keys() == LINES_A_SECOND.keys()
    bytes_an_hour = HOUR_S * sum(size * LINES_A_SECOND[kind] for kind, size in typical.items())
    assert 0 < bytes_an_hour <= LIMIT_BYTES, f"{bytes_an_hour / 1e6:.0f} MB, {typical}"
