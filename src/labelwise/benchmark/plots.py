"""Plots of a benchmark as SVG text, and a page that holds tables and plots and opens offline."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
_WIDTH, _HEIGHT, _LEFT, _TOP = 640, 320, 50, 30
_PLOT_WIDTH, _PLOT_HEIGHT = 400, 240


def f1_over_shots(target: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Draw a line of mean F1 with a band of one standard deviation for every method.

    Args:
        target: Its name, for the title.
        rows: Of ``report.summarise``, of this target and the variant "names".
    """
    shots = list(dict.fromkeys(r["shots"] for r in rows))
    shots.sort(key=lambda s: float("inf") if s == "full" else int(s))
    parts = [_text(_LEFT, 18, f"F1 over shots: {target}")]
    parts += [
        _text(_x(i, len(shots)) - 6, _TOP + _PLOT_HEIGHT + 18, s) for i, s in enumerate(shots)
    ]
    for tick in range(0, 101, 20):
        y = _y(tick / 100)
        parts.append(f'<path d="M{_LEFT},{y:.1f}h{_PLOT_WIDTH}" stroke="#ddd"/>')
        parts.append(_text(16, y + 4, str(tick)))
    for i, method in enumerate(dict.fromkeys(r["method"] for r in rows)):
        own = sorted((shots.index(r["shots"]), r["f1"], r["sd"]) for r in rows
                     if r["method"] == method)  # fmt: skip
        colour = _COLOURS[i % len(_COLOURS)]
        dash = "" if i < len(_COLOURS) else ' stroke-dasharray="5 3"'
        upper = [(_x(s, len(shots)), _y(min(f1 + sd, 1.0))) for s, f1, sd in own]
        lower = [(_x(s, len(shots)), _y(max(f1 - sd, 0.0))) for s, f1, sd in own]
        middle = [(_x(s, len(shots)), _y(f1)) for s, f1, _ in own]
        band = _points([*upper, *reversed(lower)])
        parts.append(f'<polygon points="{band}" fill="{colour}" opacity="0.12"/>')
        parts.append(
            f'<polyline points="{_points(middle)}" fill="none" stroke="{colour}" '
            f'stroke-width="2"{dash}/>'
        )
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in middle]
        parts.append(_text(_LEFT + _PLOT_WIDTH + 16, _TOP + 14 + 18 * i, method, colour))
    return _svg(parts)


def _x(i: int, n: int) -> float:
    return _LEFT + _PLOT_WIDTH * (i + 0.5) / n


def _y(f1: float) -> float:
    return _TOP + _PLOT_HEIGHT * (1 - f1)


def _points(pairs: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)


def _text(x: float, y: float, text: str, colour: str = "#222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}">{html.escape(text)}</text>'


def _svg(parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" font-family="sans-serif" font-size="13">{"".join(parts)}</svg>'
    )


def page(markdown: str, plots: Mapping[str, str]) -> str:
    """Join the Markdown report, as text, and the plots into one page without links."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Benchmark</title>'
        '<body style="font-family: sans-serif; margin: 2em">'
        f"{''.join(plots.values())}<pre>{html.escape(markdown)}</pre></body></html>\n"
    )
