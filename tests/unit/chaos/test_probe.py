"""The witness of the data plane must not lie: what it counts, and what it does not count."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from tests.support import eventually

from isthmus.chaos.probe import Answer, ProbeReport, judge, main, run_client, run_server


def run_of(*rtts: int | None, step_us: int = 2000) -> list[Answer]:
    """One answer each ``step_us`` with these round trips."""
    return [Answer(n * step_us, rtt, "" if rtt is None else "b") for n, rtt in enumerate(rtts)]


def test_a_clean_run_has_no_gap() -> None:
    """All answered: no loss, no gap."""
    report = judge(run_of(100, 200, 300, 400), interval_us=2000)
    assert (report.sent, report.received, report.lost) == (4, 4, 0)
    assert (report.longest_gap_ms, report.longest_lost_run) == (0, 0)
    assert (report.rtt_ms_p50, report.rtt_ms_max) == (0.3, 0.4)
    assert report.servers == {"b": 4}


def test_a_gap_spans_from_the_first_lost_to_the_next_answered() -> None:
    """Two separate outages: the longer one is told, with where it begins."""
    rtts = (100, None, 100, 100, None, None, None, 100)
    report = judge(run_of(*rtts), interval_us=2000)
    assert (report.lost, report.longest_lost_run) == (4, 3)
    assert (report.longest_gap_ms, report.gap_from_us) == (6.0, 8000)


def test_an_outage_that_lasts_is_a_gap_up_to_the_end() -> None:
    """A line that never came back must not look better than one that did."""
    report = judge(run_of(100, None, None, None), interval_us=2000)
    assert report.longest_gap_ms == 4.0


def test_a_stall_of_the_probe_is_no_gap() -> None:
    """A busy machine that lets the probe wait is not an outage of the network, but it is told."""
    answers = [Answer(0, 100), Answer(2000, 100), Answer(502_000, 100)]
    report = judge(answers, interval_us=2000)
    assert (report.longest_gap_ms, report.longest_stall_ms) == (0, 500.0)


def test_a_run_without_an_answer() -> None:
    """Nothing came back: no round trip is invented."""
    report = judge(run_of(None, None), interval_us=2000)
    assert (report.received, report.rtt_ms_p50, report.servers) == (0, None, {})
    assert "rtt -" in report.summary()
    assert judge([], interval_us=2000).sent == 0


def test_the_record_keeps_every_packet() -> None:
    """Validators judge the timeline, not the summary."""
    record = json.loads(judge(run_of(100, None), interval_us=2000).as_json())
    assert record["timeline"] == [[0, 100, "b"], [2000, None, ""]]
    assert record["lost"] == 1


async def test_answers_name_their_server() -> None:
    """Which site answered is the question of an exclusive chain (G2)."""
    stop = asyncio.Event()
    port = await _free_port()
    server = asyncio.create_task(run_server(("127.0.0.1", port), name="site-b", stop=stop))
    report = await _until_answered(port)
    assert report.servers == {"site-b": report.received}
    assert report.lost == 0
    stop.set()
    await server


async def _until_answered(port: int) -> ProbeReport:
    reports: list[ProbeReport] = []

    async def answered() -> bool:
        reports.append(await run_client(("127.0.0.1", port), seconds=0.1))
        return reports[-1].received == reports[-1].sent

    attempt: Callable[[], Awaitable[bool]] = answered
    await eventually(attempt, "the server answers")
    return reports[-1]


async def _free_port() -> int:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
    )
    port: int = transport.get_extra_info("sockname")[1]
    transport.close()
    return port


async def test_strangers_are_not_answered() -> None:
    """An echo that answers anybody would be an amplifier."""
    stop, port = asyncio.Event(), await _free_port()
    server = asyncio.create_task(run_server(("127.0.0.1", port), stop=stop))
    await _until_answered(port)
    heard: list[bytes] = []

    class Stranger(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            heard.append(data)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Stranger, remote_addr=("127.0.0.1", port))
    transport.sendto(b"hello?")
    await _until_answered(port)  # answered after the stranger's word was read
    assert heard == []
    transport.close()
    stop.set()
    await server


def test_a_client_without_answers_says_so_by_its_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Scripts and the demo read the exit code."""
    port = asyncio.run(_free_port())
    assert main(["client", "--to", "127.0.0.1", "--port", str(port), "--seconds", "0.05"]) == 1
    assert "lost" in capsys.readouterr().out
