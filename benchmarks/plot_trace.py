#!/usr/bin/env python3
"""Draw traces of transfers: congestion window, round-trip time and rate over time, as one SVG for each file.

    pychat get HOST NAME --trace out.qlog
    python benchmarks/plot_trace.py out.qlog --title '100 Mbit/s, 20 ms, 1 % loss'

writes ``out.svg``.  It takes the qlog 0.3 that pychat writes, and that of others with the same events.  Of a trace with
several transfers the largest is drawn, or the one that ``--group`` names.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

Point = tuple[float, float]

WIDTH, PANEL, GAP, LEFT, RIGHT, TOP, BOTTOM = 760, 130, 34, 62, 16, 46, 40
POINTS = 700
"""Points of a curve at most: of more, each pixel shows the largest."""
MARK = 24
"""Height of the mark where most was lost."""
BINS = 120
"""Bars of the rate, at most; none is shorter than `BIN_SECONDS`."""
BIN_SECONDS = 0.05
STRONG, WEAK, FAINT, INK, RULE, LOSS = "#0b62a4", "#d9822b", "#9aa7b1", "#30363d", "#dfe3e8", "#c9302c"


@dataclass
class Curve:
    """A line in a panel, and what it is called there."""

    name: str
    colour: str
    points: list[Point]


@dataclass
class Panel:
    """A diagram of its own above the time that all share."""

    heading: str
    unit: str
    curves: list[Curve]
    losses: list[tuple[float, int]] = field(default_factory=list)
    """Datagrams that were found lost, and when."""


@dataclass
class Drawn:
    """What is known of one transfer; times in seconds from its beginning."""

    name: str = ""
    size: int = 0
    metrics: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    trains: list[tuple[float, int]] = field(default_factory=list)
    losses: list[tuple[float, int]] = field(default_factory=list)


def read(events: Iterable[dict[str, Any]], sends: bool) -> Drawn:
    """Gather what is drawn of the events of one transfer.

    :param sends: the file leaves this end.
    """
    drawn, start = Drawn(), None
    data_event = "transport:packet_sent" if sends else "transport:packet_received"
    for event in events:
        seconds, data = event["time"] / 1000, event["data"]
        start = seconds if start is None else start
        at = seconds - start
        match event["name"]:
            case "transport:parameters_set":
                drawn.name, drawn.size = str(data.get("file", "")), int(data.get("size", 0))
            case "recovery:metrics_updated":
                drawn.metrics.append((at, data))
            case "recovery:packet_lost":
                drawn.losses.append((at, int(data.get("packets", 1))))
            case name if name == data_event:
                drawn.trains.append((at, int(data["raw"]["length"])))
    return drawn


def choose(trace: dict[str, Any], group: str | None) -> Drawn:
    """The transfer to draw."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for event in trace["events"]:
        groups.setdefault(str(event.get("group_id", "")), []).append(event)
    if group is not None and group not in groups:
        sys.exit(f"There is no group {group} in it, only {', '.join(groups)}.")
    best = Drawn()
    for name, events in groups.items():
        if group in (None, name):
            first = events[0]["data"] if events[0]["name"] == "transport:parameters_set" else {}
            drawn = read(events, bool(first.get("sends", False)))
            if sum(size for _, size in drawn.trains) >= sum(size for _, size in best.trains):
                best = drawn
    return best


def series(drawn: Drawn, key: str, factor: float) -> list[Point]:
    """One of the metrics over time."""
    return [(at, data[key] * factor) for at, data in drawn.metrics if key in data]


def rate(drawn: Drawn) -> list[Point]:
    """Mbit/s that went over the wire, in bars of equal length."""
    if not drawn.trains:
        return []
    end = drawn.trains[-1][0]
    seconds = max(end / BINS, BIN_SECONDS)
    bins = [0] * (int(end / seconds) + 1)
    for at, size in drawn.trains:
        bins[int(at / seconds)] += size
    # The last one is rarely whole.
    lengths = [seconds] * (len(bins) - 1) + [max(end - seconds * (len(bins) - 1), seconds / 4)]
    return [
        ((index + 0.5) * seconds, size * 8 / 1e6 / length)
        for index, (size, length) in enumerate(zip(bins, lengths, strict=True))
    ]


def thin(points: Sequence[Point], count: int = POINTS) -> list[Point]:
    """At most about so many points: the largest of each stretch of time."""
    if len(points) <= count:
        return list(points)
    step = math.ceil(len(points) / count)
    return [max(points[at : at + step], key=lambda point: point[1]) for at in range(0, len(points), step)]


def nice(most: float, ticks: int = 4) -> list[float]:
    """Round numbers from 0 on, the last of which is not below `most`."""
    if most <= 0:
        return [0.0, 1.0]
    rough = most / ticks
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    return [step * index for index in range(math.ceil(most / step * 0.999) + 1)]


def panels(drawn: Drawn) -> list[Panel]:
    """The three diagrams."""
    return [
        Panel(
            "congestion window",
            "KB",
            [
                Curve("in flight", WEAK, series(drawn, "bytes_in_flight", 1e-3)),
                Curve("window", STRONG, series(drawn, "congestion_window", 1e-3)),
            ],
        ),
        Panel(
            "round-trip time",
            "ms",
            [
                Curve("latest", WEAK, series(drawn, "latest_rtt", 1)),
                Curve("smoothed", STRONG, series(drawn, "smoothed_rtt", 1)),
                Curve("least", FAINT, series(drawn, "min_rtt", 1)),
            ],
        ),
        Panel(
            "rate",
            "Mbit/s",
            [
                Curve("pacing", FAINT, series(drawn, "pacing_rate", 1e-6)),
                Curve("on the wire", STRONG, rate(drawn)),
            ],
            drawn.losses,
        ),
    ]


def svg(drawn: Drawn, title: str) -> str:
    """The picture."""
    shown = panels(drawn)
    times = [at for panel in shown for curve in panel.curves for at, _ in curve.points]
    ticks = nice(max(times, default=1.0), 8)
    end = max(times, default=1.0) or 1.0
    height = TOP + len(shown) * (PANEL + GAP) - GAP + BOTTOM
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="11" fill="{INK}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="18" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    for index, panel in enumerate(shown):
        out += draw(panel, TOP + index * (PANEL + GAP), end, ticks)
    bottom = height - BOTTOM
    for tick in ticks:
        if tick <= end * 1.001:
            out.append(text(across(tick, end), bottom + 15, f"{tick:g}", "middle"))
    out.append(text((LEFT + WIDTH - RIGHT) / 2, bottom + 32, "seconds", "middle"))
    return "\n".join([*out, "</svg>", ""])


def draw(panel: Panel, top: float, end: float, ticks: Sequence[float]) -> list[str]:
    """One diagram, with its rules, its curves and their names."""
    most = max((value for curve in panel.curves for _, value in curve.points), default=0.0)
    scale = nice(spared(panel, most))
    out = [f'<text x="{LEFT}" y="{top - 8}" font-weight="bold">{escape(panel.heading)}, {panel.unit}</text>']
    for value in scale:
        y = top + PANEL * (1 - value / scale[-1])
        out.append(line(LEFT, y, WIDTH - RIGHT, y, RULE))
        out.append(text(LEFT - 6, y + 4, f"{value:g}", "end"))
    for tick in ticks:
        if tick <= end * 1.001:
            x = across(tick, end)
            out.append(line(x, top, x, top + PANEL, RULE))
    x = WIDTH - RIGHT
    for curve in reversed(panel.curves):
        out.append(text(x, top - 8, curve.name, "end", curve.colour))
        x -= 7 * len(curve.name) + 14
    for curve in panel.curves:
        path = " ".join(
            f"{across(at, end):.1f},{top + PANEL * (1 - min(value / scale[-1], 1)):.1f}"
            for at, value in thin(curve.points)
        )
        if path:
            out.append(
                f'<polyline points="{path}" fill="none" stroke="{curve.colour}" stroke-width="1.4" '
                'stroke-linejoin="round"/>'
            )
    if panel.losses:
        out.append(text(x, top - 8, "lost", "end", LOSS))
        base = top + PANEL
        highest = max(count for _, count in panel.losses)
        path = "".join(
            f"M{across(at, end):.1f} {base}v{-MARK * count / highest:.1f}" for at, count in thin(panel.losses)
        )
        out.append(f'<path d="{path}" stroke="{LOSS}" stroke-width="1"/>')
    return out


def spared(panel: Panel, most: float) -> float:
    """The largest value that has to be seen: a start that looks for the rate does not flatten all the rest."""
    values = sorted(value for curve in panel.curves for _, value in curve.points)
    if not values:
        return most
    usual = values[int(len(values) * 0.95)]
    return min(most, max(values[-1], usual) if values[-1] <= 1.5 * usual else 1.2 * usual)


def across(seconds: float, end: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * seconds / end


def line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def text(x: float, y: float, words: str, anchor: str, colour: str = INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def main() -> None:
    """Draw what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("trace", nargs="+", type=Path, help="a qlog file")
    parser.add_argument(
        "--title", help="stands above the picture; otherwise the name of the file that was moved"
    )
    parser.add_argument("--group", help="the transfer to draw; the largest, unless this is given")
    parser.add_argument("--output", type=Path, help="the picture; otherwise beside the trace, with .svg")
    given = parser.parse_args()
    if given.output is not None and len(given.trace) > 1:
        parser.error("--output takes one trace")
    for path in given.trace:
        content = json.loads(path.read_bytes())
        drawn = choose(content["traces"][0], given.group)
        picture = given.output or path.with_suffix(".svg")
        picture.write_text(svg(drawn, given.title or drawn.name or path.stem))
        print(picture)


if __name__ == "__main__":
    main()
