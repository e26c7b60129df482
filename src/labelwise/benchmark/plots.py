"""Plots of a benchmark as SVG text: curves over shots, and kinds of errors as bars."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8c6d31", "#56b4e9", "#e69f00", "#555555")
_DASHES = ("", "6 3", "2 3")
_INK, _GREY, _FAINT = "#222222", "#6b6b6b", "#e3e3e3"
_LEFT, _TOP, _WIDTH, _HEIGHT, _LEGEND = 52, 46, 400, 250, 245
_KINDS = {
    "boundary": "#0072b2", "type": "#e69f00", "boundary_and_type": "#cc79a7",
    "spurious": "#d55e00", "missed": "#9a9a9a",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Curve:
    """F1 over shots.

    Attributes:
        name: For the legend.
        points: Shots ("0", "5", "full"), mean F1 and standard deviation, 0 to 1.
        style: Number of its colour, so that a method has the same one everywhere.
    """

    name: str
    points: Sequence[tuple[str, float, float]]
    style: int = 0


def curves(title: str, lines: Sequence[Curve]) -> str:
    """Draw a line with a band of one standard deviation for every curve.

    Args:
        title: What is drawn.
        lines: The curves, of which the first is drawn thick; the legend has them with their last
            points, the best first.
    """
    shots = sorted({p[0] for line in lines for p in line.points}, key=shots_order)
    peak = max((f1 + sd for line in lines for _, f1, sd in line.points), default=1.0)
    top = min(1.0, (int(peak * 10) + 1) / 10)
    drawn = [_curve(line, shots, top, i == 0) for i, line in enumerate(lines)]
    bands, marks = [band for band, _ in drawn], [mark for _, mark in reversed(drawn)]
    by_last = sorted(range(len(lines)), key=lambda i: -lines[i].points[-1][1])
    legend = [_legend_line(row, lines[i], i == 0) for row, i in enumerate(by_last)]
    height = max(_TOP + _HEIGHT + 48, _TOP + 20 * len(lines) + 10)
    return _svg([_title(title), *_axes(shots, top), *bands, *marks, *legend], height=height)


def _curve(line: Curve, shots: Sequence[str], top: float, is_thick: bool) -> tuple[str, str]:
    """Draw the band and the line of a curve."""
    points = sorted((_x(shots.index(s), len(shots)), f1, sd) for s, f1, sd in line.points)
    upper = [(x, _y(min(f1 + sd, top), top)) for x, f1, sd in points]
    lower = [(x, _y(max(f1 - sd, 0.0), top)) for x, f1, sd in points]
    middle = [(x, _y(f1, top)) for x, f1, _ in points]
    colour, width = _PALETTE[line.style % len(_PALETTE)], 3.0 if is_thick else 1.6
    band = f'<polygon points="{_path([*upper, *reversed(lower)])}" fill="{colour}" opacity="0.10"/>'
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{width + 0.8:.1f}" fill="{colour}" '
        'stroke="white" stroke-width="1"/>'
        for x, y in middle
    )
    stroke = _stroke(line.style, width)
    path = f'<polyline points="{_path(middle)}" fill="none" stroke-linejoin="round" {stroke}/>'
    return band, path + dots


def _stroke(i: int, width: float) -> str:
    """Attributes of the i-th line: colours first, then dashes too."""
    dash = _DASHES[i // len(_PALETTE) % len(_DASHES)]
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'stroke="{_PALETTE[i % len(_PALETTE)]}" stroke-width="{width}"{dashes}'


def shots_order(shots: str) -> float:
    """Sort numbers of shots; "full" comes last."""
    return float("inf") if shots == "full" else float(shots)


def _axes(shots: Sequence[str], top: float) -> list[str]:
    parts = []
    step = 20 if top > 0.6 else 10
    for tick in range(0, round(top * 100) + 1, step):
        y = _y(tick / 100, top)
        parts.append(f'<path d="M{_LEFT},{y:.1f}h{_WIDTH}" stroke="{_FAINT}"/>')
        parts.append(_text(_LEFT - 8, y + 4, str(tick), _GREY, anchor="end"))
    base = _TOP + _HEIGHT
    parts += [
        _text(_x(i, len(shots)), base + 20, s, _GREY, anchor="middle") for i, s in enumerate(shots)
    ]
    parts.append(_text(_LEFT + _WIDTH / 2, base + 40, "shots: mentions of each label", _GREY,
                       anchor="middle"))  # fmt: skip
    middle = _TOP + _HEIGHT / 2
    turned = f' transform="rotate(-90 14 {middle:.0f})"'
    parts.append(_text(14, middle, "micro-F1 (%)", _GREY, anchor="middle", extra=turned))
    return parts


def _legend_line(row: int, line: Curve, is_thick: bool) -> str:
    x, y = _LEFT + _WIDTH + 18, _TOP + 10 + 20 * row
    stroke = f'<path d="M{x},{y}h24" {_stroke(line.style, 3.0 if is_thick else 2.0)}/>'
    value = _text(x + 54, y + 4, f"{100 * line.points[-1][1]:.0f}", _GREY, anchor="end")
    weight = ' font-weight="bold"' if is_thick else ""
    return stroke + value + _text(x + 64, y + 4, line.name, _INK, extra=weight)


def error_bars(title: str, errors: Mapping[str, Mapping[str, float]]) -> str:
    """Draw the kinds of errors of every method as one bar.

    Args:
        title: What is drawn.
        errors: Mean number of errors by method and kind.
    """
    left, width, pitch = 190, 430, 27
    longest = max((sum(kinds.values()) for kinds in errors.values()), default=0) or 1
    parts = [_title(title)]
    x = left
    for kind, colour in _KINDS.items():
        parts.append(f'<rect x="{x}" y="34" width="11" height="11" fill="{colour}"/>')
        label = kind.replace("_and_", " + ")
        parts.append(_text(x + 16, 44, label, _GREY))
        x += 36 + 7.0 * len(label)
    for row, (method, kinds) in enumerate(errors.items()):
        y, x = 58 + pitch * row, float(left)
        parts.append(_text(left - 10, y + 14, method, _INK, anchor="end"))
        for kind, colour in _KINDS.items():
            size = width * kinds.get(kind, 0.0) / longest
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{size:.1f}" height="19" fill="{colour}">'
                f"<title>{html.escape(kind)}: {kinds.get(kind, 0.0):.0f}</title></rect>"
            )
            x += size
        parts.append(_text(x + 6, y + 14, f"{sum(kinds.values()):.0f}", _GREY))
    return _svg(parts, height=58 + pitch * len(errors) + 12)


def _x(i: int, n: int) -> float:
    return _LEFT + _WIDTH * (i + 0.5) / n


def _y(f1: float, top: float) -> float:
    return _TOP + _HEIGHT * (1 - f1 / top)


def _path(pairs: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)


def _title(text: str) -> str:
    return _text(_LEFT - 40, 20, text, _INK, extra=' font-weight="bold" font-size="15"')


def _text(
    x: float, y: float, text: str, colour: str, *, anchor: str = "start", extra: str = ""
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}"{extra}>'
        f"{html.escape(text)}</text>"
    )


def _svg(parts: Sequence[str], *, height: float) -> str:
    width = _LEFT + _WIDTH + _LEGEND + 20
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0f}" '
        f'width="{width}" height="{height:.0f}" font-family="system-ui, sans-serif" '
        f'font-size="13">\n<rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )
