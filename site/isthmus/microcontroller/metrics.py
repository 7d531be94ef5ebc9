"""Health as Prometheus reads it: the text exposition format, version 0.0.4, and nothing that must be installed.

Pure: whoever serves or stores the text decides where it goes. A problem's text may hold anything, so only their number
is told here; the texts are in the health report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from isthmus.microcontroller.health import Health

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_METRICS: tuple[tuple[str, str, str, Callable[[Health], float]], ...] = (
    ("ready", "gauge", "1 when synced, and leading where a leader is needed", lambda h: h.ready),
    ("leading", "gauge", "1 when this life holds the leader's key", lambda h: h.leading),
    ("lives_total", "counter", "lives that became ready", lambda h: h.lives_total),
    ("settled_total", "counter", "items settled", lambda h: h.settled_total),
    ("failed_total", "counter", "reconciles that failed", lambda h: h.failed_total),
    ("conflicts_total", "counter", "failures that were lost races", lambda h: h.conflicts_total),
    ("waiting_total", "counter", "reconciles that asked to come back", lambda h: h.waiting_total),
    ("queue_depth", "gauge", "items waiting or in flight", lambda h: h.queue_depth),
    ("queue_depth_high", "gauge", "largest depth of this process", lambda h: h.queue_depth_high),
    ("slowest_seconds", "gauge", "longest reconcile of this process", lambda h: h.slowest_s),
    ("problems", "gauge", "items that fail or wait now", lambda h: len(h.problems)),
)


def prometheus_text(reports: Iterable[Health]) -> str:
    """One family per figure, one line per component, sorted by component."""
    ordered = sorted(reports, key=lambda health: health.component)
    lines: list[str] = []
    for name, kind, doc, read in _METRICS:
        full = f"isthmus_microcontroller_{name}"
        lines += [f"# HELP {full} {doc}", f"# TYPE {full} {kind}"]
        lines += [
            f'{full}{{component="{_escaped(health.component)}"}} {float(read(health)):.10g}'
            for health in ordered
        ]
    return "\n".join(lines) + "\n"


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
