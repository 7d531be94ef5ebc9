"""Links as Prometheus reads them: the text exposition format, as the microcontrollers' (issue 7, point 8).

Written beside the status file, with the suffix ``.prom``, for a node exporter's textfile collector. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from isthmus.federation.status import LinkStatus

Labels = Mapping[str, str]
Read = Callable[[LinkStatus], Iterable[tuple[Labels, float]]]


def _one(read: Callable[[LinkStatus], float]) -> Read:
    return lambda link: [({}, float(read(link)))]


def _ways(read: Callable[[LinkStatus], tuple[float, float]]) -> Read:
    def both(link: LinkStatus) -> list[tuple[Labels, float]]:
        out, back = read(link)
        return [({"direction": "out"}, out), ({"direction": "in"}, back)]

    return both


def _denied(link: LinkStatus) -> list[tuple[Labels, float]]:
    found: list[tuple[Labels, float]] = []
    for why, count in sorted(link.denied.items()):
        direction, _, reason = why.partition(":")
        found.append(({"direction": direction, "reason": reason}, float(count)))
    return found


_METRICS: tuple[tuple[str, str, str, Read], ...] = (
    ("up", "gauge", "1 when frames can cross", _one(lambda link: link.connected)),
    ("synced", "gauge", "1 when the peer's whole set was here once", _one(lambda link: link.synced)),
    ("quarantined", "gauge", "1 when what is held of the peer is marked", _one(lambda link: bool(link.quarantined))),
    ("digests_differ", "gauge", "1 when both ends compared and differ", _one(lambda link: link.digests_equal is False)),
    ("silent_seconds", "gauge", "since the last frame was heard", _one(lambda link: link.silent_s)),
    ("lag_seconds", "gauge", "age of the newest change stored", _one(lambda link: link.lag_ms / 1000)),
    ("pending_keys", "gauge", "changes that wait to be sent", _one(lambda link: link.pending_keys)),
    ("in_flight_bytes", "gauge", "sent and not acknowledged", _one(lambda link: link.in_flight_bytes)),
    ("keys", "gauge", "keys exported and imported", _ways(lambda link: (link.keys_exported, link.keys_imported))),
    ("bytes_total", "counter", "bytes of frames", _ways(lambda link: (link.bytes_sent, link.bytes_received))),
    ("frames_total", "counter", "frames", _ways(lambda link: (link.frames_sent, link.frames_received))),
    ("items_total", "counter", "changes", _ways(lambda link: (link.items_sent, link.items_received))),
    ("resyncs_total", "counter", "whole sets that crossed anew", _one(lambda link: link.resyncs)),
    ("repairs_total", "counter", "repairs of what differed", _one(lambda link: link.repairs)),
    ("reconnects_total", "counter", "links of this peer but the first", _one(lambda link: link.reconnects)),
    ("slowed_seconds_total", "counter", "how long the peer was made to wait", _one(lambda link: link.slowed_s)),
    ("denied_total", "counter", "keys denied, by reason", _denied),
)  # fmt: skip


def link_metrics(links: Sequence[LinkStatus], refused: Mapping[str, int]) -> str:
    """One family per figure, one line per peer, sorted by peer; who was ``refused`` by reason."""
    lines: list[str] = []
    for name, kind, doc, read in _METRICS:
        full = f"isthmus_link_{name}"
        lines += [f"# HELP {full} {doc}", f"# TYPE {full} {kind}"]
        for link in sorted(links, key=lambda one: one.peer):
            lines += [_line(full, {"peer": link.peer, **more}, value) for more, value in read(link)]
    full = "isthmus_gateway_refused_total"
    lines += [f"# HELP {full} callers that got no link, by reason", f"# TYPE {full} counter"]
    lines += [_line(full, {"reason": why}, count) for why, count in sorted(refused.items())]
    return "\n".join(lines) + "\n"


def _line(name: str, labels: Labels, value: float) -> str:
    told = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{told}}} {float(value):.10g}"


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
