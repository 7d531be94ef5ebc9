"""Two pictures of an answer: the map with the load of sites and links, and the gap over time.

Drawn by hand as SVG or as a small PNG (own rasteriser, standard library only): a plot is no reason
for a site to carry a plotting library. The problem file has no coordinates, so the map is laid out
from latencies: three far-apart sites are landmarks, the rest falls where its distances say.
"""

from __future__ import annotations

import itertools
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from isthmus.placement.batch import Solution
from isthmus.placement.model import Network

WIDTH, HEIGHT, MARGIN = 1200, 640, 30
MAP = 800  # the map's width; the rest is the gap
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Stroke:
    """A line."""

    x0: float
    y0: float
    x1: float
    y1: float
    colour: Colour
    width: float


@dataclass(frozen=True)
class Dot:
    """A disc with what it is."""

    x: float
    y: float
    radius: float
    colour: Colour
    text: str


def heat(share: float) -> Colour:
    """Blue when idle, yellow at half, red when full."""
    share = min(1.0, max(0.0, share))
    if share < 0.5:
        t = share * 2
        return (int(70 + 180 * t), int(110 + 90 * t), int(200 - 140 * t))
    t = (share - 0.5) * 2
    return (int(250 - 30 * t), int(200 - 160 * t), int(60 - 20 * t))


def layout(network: Network) -> dict[str, tuple[float, float]]:
    """Positions 0..1 from latencies: landmark distances, axes by the two farthest sites."""
    names = [site.name for site in network.sites]
    a = _farthest(_latencies(network, names[0]))
    from_a = _latencies(network, a)
    b = _farthest(from_a)
    from_b = _latencies(network, b)
    base = max(1e-9, from_a.get(b, 1.0))
    raw = {}
    for name in names:
        da, db = from_a.get(name, base), from_b.get(name, base)
        x = (da * da - db * db + base * base) / (2 * base)
        raw[name] = (x, math.sqrt(max(0.0, da * da - x * x)))
    c = max(names, key=lambda n: (raw[n][1], n))
    from_c = _latencies(network, c)
    for name, (x, y) in raw.items():
        up = math.hypot(x - raw[c][0], y - raw[c][1])
        down = math.hypot(x - raw[c][0], y + raw[c][1])
        far = from_c.get(name, base)
        if abs(down - far) < abs(up - far):
            raw[name] = (x, -y)
    xs, ys = [x for x, _ in raw.values()], [y for _, y in raw.values()]
    wide, high = max(xs) - min(xs) or 1.0, max(ys) - min(ys) or 1.0
    return {n: ((x - min(xs)) / wide, (y - min(ys)) / high) for n, (x, y) in raw.items()}


def _latencies(network: Network, start: str) -> dict[str, float]:
    import heapq

    out: dict[str, list[tuple[str, int]]] = {site.name: [] for site in network.sites}
    for link in network.links:
        out[link.source].append((link.target, link.latency_ns))
    best: dict[str, float] = {}
    heap = [(0.0, start)]
    while heap:
        far, at = heapq.heappop(heap)
        if at in best:
            continue
        best[at] = far
        for there, step in out[at]:
            heapq.heappush(heap, (far + step, there))
    return best


def _farthest(latencies: dict[str, float]) -> str:
    return max(latencies, key=lambda n: (latencies[n], n))


def picture(network: Network, solution: Solution) -> tuple[list[Stroke], list[Dot]]:
    """Everything to draw, in pixels."""
    at = layout(network)
    strokes, dots = [], []
    usage = solution.usage

    def pixel(name: str) -> tuple[float, float]:
        x, y = at[name]
        return MARGIN + x * (MAP - 2 * MARGIN), MARGIN + y * (HEIGHT - 2 * MARGIN)

    load: dict[tuple[str, str], float] = {}
    for link in network.links:
        used = 1 - usage.free_link(link.id) / link.capacity_kbps if link.capacity_kbps else 0.0
        ends = (min(link.source, link.target), max(link.source, link.target))
        load[ends] = max(load.get(ends, 0.0), used)
    for (a, b), share in sorted(load.items(), key=lambda row: row[1]):
        strokes.append(Stroke(*pixel(a), *pixel(b), heat(share), 1 + 2 * share))
    for site in network.sites:
        shares = [1 - usage.free(site.name, r) / v for r, v in site.capacity.items() if v]
        share = max(shares, default=0.0)
        size = 2.5 + 0.6 * math.log10(1 + sum(site.capacity.values()) / 1e6)
        dots.append(Dot(*pixel(site.name), size, heat(share), f"{site.name}: {share:.0%} used"))
    return strokes + _gap_curve(solution), dots


def gaps(solution: Solution) -> list[tuple[float, float]]:
    """(seconds or work, gap in percent) of the run."""
    timed = any(p.seconds > 0 for p in solution.history)
    return [
        (p.seconds if timed else p.work, 100 * (p.bound - p.objective) / p.bound)
        for p in solution.history
        if p.bound > 0
    ]


def _gap_curve(solution: Solution) -> list[Stroke]:
    left, right, top, bottom = MAP + MARGIN, WIDTH - MARGIN, MARGIN, HEIGHT - MARGIN
    axis: Colour = (120, 120, 120)
    strokes = [
        Stroke(left, top, left, bottom, axis, 1),
        Stroke(left, bottom, right, bottom, axis, 1),
    ]
    points = gaps(solution)
    if not points:
        return strokes
    last, most = max(t for t, _ in points) or 1.0, max(g for _, g in points) or 1.0
    placed = [
        (left + t / last * (right - left), bottom - g / most * (bottom - top)) for t, g in points
    ]
    for (x0, y0), (x1, y1) in itertools.pairwise(placed):
        strokes.append(Stroke(x0, y0, x1, y0, (200, 40, 40), 2))
        strokes.append(Stroke(x1, y0, x1, y1, (200, 40, 40), 2))
    return strokes


def svg(strokes: Sequence[Stroke], dots: Sequence[Dot], caption: str, label: str) -> str:
    """The picture as SVG; hovering a site tells its name and load."""
    rows = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    rows += [
        f'<line x1="{s.x0:.1f}" y1="{s.y0:.1f}" x2="{s.x1:.1f}" y2="{s.y1:.1f}" '
        f'stroke="rgb{s.colour}" stroke-width="{s.width:.1f}"/>'
        for s in strokes
    ]
    rows += [
        f'<circle cx="{d.x:.1f}" cy="{d.y:.1f}" r="{d.radius:.1f}" fill="rgb{d.colour}" '
        f'stroke="#333" stroke-width="0.5"><title>{_escape(d.text)}</title></circle>'
        for d in dots
    ]
    rows.append(f'<text x="{MARGIN}" y="20">{_escape(caption)}</text>')
    rows.append(f'<text x="{MAP + MARGIN}" y="20">{_escape(label)}</text>')
    return "\n".join([*rows, "</svg>\n"])


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def png(strokes: Sequence[Stroke], dots: Sequence[Dot]) -> bytes:
    """The picture as PNG, without text."""
    rows = [bytearray(b"\xff" * (3 * WIDTH)) for _ in range(HEIGHT)]

    def disc(x: float, y: float, radius: float, colour: Colour) -> None:
        for py in range(max(0, int(y - radius)), min(HEIGHT, int(y + radius) + 1)):
            for px in range(max(0, int(x - radius)), min(WIDTH, int(x + radius) + 1)):
                if math.hypot(px - x, py - y) <= radius:
                    rows[py][3 * px : 3 * px + 3] = bytes(colour)

    for s in strokes:
        steps = max(1, int(max(abs(s.x1 - s.x0), abs(s.y1 - s.y0))))
        for i in range(steps + 1):
            t = i / steps
            x, y = s.x0 + t * (s.x1 - s.x0), s.y0 + t * (s.y1 - s.y0)
            disc(x, y, max(0.8, s.width / 2), s.colour)
    for d in dots:
        disc(d.x, d.y, d.radius, d.colour)
    raw = b"".join(b"\0" + bytes(row) for row in rows)

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(raw, 6))
        + chunk(b"IEND", b"")
    )


def draw(path: Path, network: Network, solution: Solution) -> None:
    """Write the picture; the file's ending decides the kind."""
    strokes, dots = picture(network, solution)
    if path.suffix == ".png":
        path.write_bytes(png(strokes, dots))
        return
    caption = f"load of sites and links, {len(solution.placements)} chains"
    points = gaps(solution)
    label = f"gap {points[0][1]:.2f} % to {points[-1][1]:.2f} %" if points else "no gap recorded"
    path.write_text(svg(strokes, dots, caption, label))
