"""Numbers as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a table; columns after the first are aligned to the right if they hold numbers.

    >>> print(table(["set", "F1"], [["a", 0.5]]))
    | set | F1 |
    |---|--:|
    | a | 0.5 |
    """
    listed = [[_cell(value) for value in row] for row in rows]
    marks = ["---"] + ["--:" if _is_numeric(listed, i) else "---" for i in range(1, len(header))]
    lines = [f"| {' | '.join(header)} |", f"|{'|'.join(marks)}|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in listed)])


def points(share: float) -> str:
    """Write an F1 in points: 0.4567 -> 45.7."""
    return f"{100 * share:.1f}"


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _is_numeric(rows: Sequence[Sequence[str]], column: int) -> bool:
    return bool(rows) and all(row[column][:1].isdigit() or row[column][:1] in "-+" for row in rows)
