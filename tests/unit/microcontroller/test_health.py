"""What operators and Prometheus are told."""

from __future__ import annotations

import re

from isthmus.microcontroller import Health, prometheus_text


def test_health_tells_what_fails_now() -> None:
    """Why: a problem that is over and still shown teaches people to look away."""
    health = Health("placer")
    health.failed("a", ValueError("no room"), conflict=False)
    health.waiting("b", "no host yet")
    assert health.problems == {"a": "ValueError: no room", "b": "no host yet"}
    health.settled("a", 0.5, 7)
    assert health.problems == {"b": "no host yet"}
    assert (health.settled_total, health.failed_total, health.waiting_total) == (1, 1, 1)
    assert (health.slowest_s, health.queue_depth_high) == (0.5, 7)


def test_a_new_life_clears_the_end_of_the_last() -> None:
    """Why: "life: Unavailable" beside ready=true for days is green that is not true, upside down."""
    health = Health("placer")
    health.failed("life", ConnectionError("gone"))
    health.alive(leading=True)
    assert health.problems == {}
    assert (health.ready, health.leading, health.lives_total) == (True, True, 1)


def test_problems_are_bounded() -> None:
    """Why: ten thousand failing chains must not make a report of ten thousand lines."""
    health = Health("placer")
    for number in range(1000):
        health.waiting(str(number), "x")
    assert len(health.problems) == 50
    assert "999" in health.problems


def test_prometheus_text_has_one_family_per_figure() -> None:
    """Why: a scraper refuses a text that repeats TYPE lines or breaks a label."""
    nasty = Health('pla"cer\\\n')
    nasty.alive(leading=True)
    nasty.settled("a", 0.25, 3)
    text = prometheus_text([nasty, Health("api")])
    assert text.endswith("\n")
    lines = text.splitlines()
    types = [line for line in lines if line.startswith("# TYPE")]
    assert len(types) == len(set(types))
    sample = re.compile(r'[a-z_]+\{component="(?:[^"\\\n]|\\["\\n])*"\} [0-9.e+-]+')
    samples = [line for line in lines if not line.startswith("#")]
    assert len(samples) == 2 * len(types)
    assert all(sample.fullmatch(line) for line in samples)
    assert 'isthmus_microcontroller_ready{component="api"} 0' in lines
    assert 'isthmus_microcontroller_slowest_seconds{component="pla\\"cer\\\\\\n"} 0.25' in lines
    counters = {line.split()[2] for line in types if line.endswith("counter")}
    assert counters
    assert all(name.endswith("_total") for name in counters)
