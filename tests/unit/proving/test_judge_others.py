"""G1, G7, G12, G13, G14: planted mutants, and the honest histories next to them."""

from __future__ import annotations

import pytest
from tests.unit.proving.tale import Tale

from isthmus.chaos.history import Header, Memory
from isthmus.chaos.history.judge import UnknownPromise, judge_all
from isthmus.chaos.history.promises import VALIDATORS
from isthmus.chaos.history.record import Record
from isthmus.chaos.history.verdict import Outcome

MIB = 1024 * 1024


def _local(
    tale: Tale, took_s: float, *, cut: bool, ok: bool = True, calls: int = 0, other: bool = False
) -> None:
    tale.say.local(
        "probe",
        site="milan",
        op="place",
        ok=ok,
        took_s=took_s,
        cut=cut,
        outside_calls=calls,
        other_fault=other or None,
    )


def _autonomous() -> Tale:
    tale = Tale()
    for cut in (False, True):
        for number in range(100):
            _local(tale, 0.1 + number / 1000, cut=cut)
    return tale


def test_autonomy_kept() -> None:
    """The same with and without a cut; only the cut ones are samples."""
    assert _autonomous().kept("G1").samples == 100


def test_a_failure_under_cut() -> None:
    """One is enough."""
    tale = _autonomous()
    _local(tale, 0.1, cut=True, ok=False)
    tale.broken("G1", "failed while the site was cut off")


def test_a_call_outside_under_cut() -> None:
    """Also when the operation went well: the call will hang one day."""
    tale = _autonomous()
    _local(tale, 0.1, cut=True, calls=1)
    tale.broken("G1", "needed somebody outside")


def test_a_slower_tail_under_cut() -> None:
    """Two in a hundred wait for a time-out: the median is the same, the p99 is not."""
    tale = _autonomous()
    for _ in range(3):
        _local(tale, 5.0, cut=True)
    tale.broken("G1", "p99 5000.0 ms when cut off")


def test_what_another_fault_did_is_not_the_cuts() -> None:
    """Left out, and said so; and alone it is no data."""
    tale = _autonomous()
    _local(tale, 9.0, cut=True, ok=False, other=True)
    assert "1 left out" in tale.kept("G1").text
    alone = Tale()
    _local(alone, 9.0, cut=True, ok=False, other=True)
    alone.no_data("G1")


def test_few_samples_have_no_tail_but_can_fail() -> None:
    """Chance must not judge; a failure is no chance."""
    tale = Tale()
    _local(tale, 0.1, cut=False)
    _local(tale, 0.9, cut=True)
    assert "too few samples" in tale.kept("G1").text
    _local(tale, 0.1, cut=True, ok=False)
    tale.broken("G1")


def test_no_cut_is_no_data() -> None:
    """A fair-weather run says nothing of autonomy."""
    tale = Tale()
    _local(tale, 0.1, cut=False)
    tale.no_data("G1")


def _memory(
    tale: Tale,
    pending: int,
    *,
    bound: int = 8 * MIB,
    slow: bool = False,
    latency_s: float | None = None,
    peer: str = "p",
    rss: int | None = None,
) -> None:
    tale.say.memory(
        "gateway",
        peer=peer,
        pending_keys=1,
        pending_bytes=pending,
        bound_bytes=bound,
        slow=slow,
        latency_s=latency_s,
        rss_bytes=rss,
    )


def test_memory_within_bounds() -> None:
    """A slow peer at B, a healthy one at 2 MiB."""
    tale = Tale()
    _memory(tale, 8 * MIB, slow=True)
    _memory(tale, 2 * MIB)
    assert tale.kept("G7").samples == 2


@pytest.mark.parametrize(
    ("pending", "bound", "slow", "rss", "text"),
    [
        (MIB + 1, MIB, True, None, "over the bound"),
        (0, 9 * MIB, False, None, "over 8 MiB"),
        (3 * MIB, 8 * MIB, False, None, "not slow"),
        (MIB, 8 * MIB, True, 9 * MIB, "resident"),
    ],
)
def test_memory_over_a_bound(
    pending: int, bound: int, slow: bool, rss: int | None, text: str
) -> None:
    """Each bound by itself; a generous bound of its own is no excuse."""
    tale = Tale()
    _memory(tale, pending, bound=bound, slow=slow, rss=rss)
    tale.broken("G7", text)


def test_healthy_peers_suffer() -> None:
    """Bounded memory is not enough when everybody waits for the slow one."""
    for slowed_s, kept in ((0.12, True), (0.5, False)):
        tale = Tale()
        for _ in range(30):
            _memory(tale, 10, latency_s=0.1)
        _memory(tale, 10, slow=True, peer="dead")
        for _ in range(30):
            _memory(tale, 10, latency_s=slowed_s)
        tale.kept("G7") if kept else tale.broken("G7", "healthy peers")


def test_idle_links_are_no_data() -> None:
    """Nothing waited, so nothing was bounded."""
    tale = Tale()
    _memory(tale, 0)
    tale.no_data("G7")


def _fact(tale: Tale, age_s: float, treated: str, *, used: bool = True, ttl_s: float = 30) -> None:
    tale.say.fact(
        "placer",
        by="placer",
        fact="remote/x",
        as_of=1000 - age_s,
        ttl_s=ttl_s,
        now=1000,
        used=used,
        treated_as="known" if treated == "known" else "unknown",
    )


def test_stale_facts_are_unknown() -> None:
    """Fresh ones may be known; at the very limit, too."""
    tale = Tale()
    _fact(tale, 5, "known")
    _fact(tale, 30, "known")
    tale.no_data("G12")
    _fact(tale, 31, "unknown")
    assert tale.kept("G12").samples == 1


@pytest.mark.parametrize("used", [True, False])
def test_a_stale_fact_taken_as_known(used: bool) -> None:
    """Shown as known is broken, used or not."""
    tale = Tale()
    _fact(tale, 30.5, "known", used=used)
    tale.broken("G12", "used as known" if used else "shown as known", "30.5 s old")


def test_a_fact_from_the_future() -> None:
    """A source whose clock is an hour ahead would stay known for an hour after it died."""
    tale = Tale()
    _fact(tale, -3600, "known")
    tale.broken("G12", "in the future")


def test_facts_without_an_age() -> None:
    """They never grow old, so they prove nothing."""
    tale = Tale()
    _fact(tale, 1e6, "known", ttl_s=0)
    tale.no_data("G12")


def _run(seed: int, digest: str, commit: str = "c") -> list[Record]:
    memory = Memory(Header("simulation", seed, commit, "w"), lambda: 0.0)
    memory.recorder.trace("sim", sha256=digest)
    return list(memory.records)


def test_replay() -> None:
    """Equal runs of one seed; other seeds and commits are other runs; one run alone is no data."""
    same, other, alone = (
        _run(1, "a") + _run(1, "a") + _run(2, "b"),
        _run(1, "a") + _run(1, "b"),
        _run(1, "a") + _run(2, "b") + _run(1, "c", "d"),
    )
    outcomes = [judge_all(one, ["G13"])[0].outcome for one in (same, other, alone)]
    assert outcomes == [Outcome.KEPT, Outcome.BROKEN, Outcome.NO_DATA]


def _probe(tale: Tale, phase: str, *, sent: int = 500, lost: int = 0, gap_ms: float = 2.0) -> None:
    assert phase in ("baseline", "fault", "heal", "planned")
    tale.say.note(
        "probe",
        "probe",
        {"path": "a/b", "sent": sent, "lost": lost, "longest_gap_ms": gap_ms, "phase": phase},
    )


def test_traffic_kept() -> None:
    """Loss during the fault is the fault's; a gap while healing has its bound."""
    tale = Tale()
    _probe(tale, "baseline")
    _probe(tale, "fault", lost=400, gap_ms=9000)
    _probe(tale, "heal", lost=200, gap_ms=400)
    _probe(tale, "planned")
    assert tale.kept("G14").samples == 2


@pytest.mark.parametrize(
    ("phase", "sent", "lost", "gap_ms", "text"),
    [
        ("heal", 500, 300, 501.0, "a gap of 501 ms"),
        ("heal", 500, 500, 0.0, "none of 500"),
        ("planned", 500, 1, 4.0, "1 of 500 lost"),
        ("baseline", 500, 1, 4.0, "without any fault"),
        ("heal", 500, 501, 4.0, "the probe is wrong"),
    ],
)
def test_traffic_lost(phase: str, sent: int, lost: int, gap_ms: float, text: str) -> None:
    """One mutant a rule."""
    tale = Tale()
    _probe(tale, phase, sent=sent, lost=lost, gap_ms=gap_ms)
    tale.broken("G14", text)


def test_a_probe_that_sent_nothing_is_no_data() -> None:
    """Nothing lost of nothing sent."""
    tale = Tale()
    _probe(tale, "planned", sent=0)
    _probe(tale, "heal", sent=0)
    tale.no_data("G14")


def test_every_promise_has_its_place() -> None:
    """In the order of GUARANTEES.md; an empty history fails each that is judged."""
    verdicts = judge_all([])
    assert [verdict.promise.id for verdict in verdicts] == list(VALIDATORS)
    waiting = {v.promise.id for v in verdicts if v.outcome is Outcome.NOT_JUDGED}
    assert waiting == {"G2", "G2'", "G10"}
    assert all(verdict.failed for verdict in verdicts if verdict.promise.id not in waiting)
    assert not any(verdict.failed for verdict in verdicts if verdict.promise.id in waiting)


def test_an_unknown_promise_is_refused() -> None:
    """A misspelt one would pass for ever."""
    with pytest.raises(UnknownPromise, match="G15"):
        judge_all([], ["G15"])
