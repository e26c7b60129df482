"""A report as blocks, and what they look like in Markdown and on a page that opens offline."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2em auto; max-width: 72em;
  padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25em .7em; border-bottom: 1px solid #ddd; text-align: right;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.wide { overflow-x: auto; }
tr:hover { background: #f5f7fa; }
svg { max-width: 100%; height: auto; }
h2 { margin-top: 2.5em; border-top: 2px solid #ddd; padding-top: 1em; }
"""


@dataclass(frozen=True, slots=True)
class Heading:
    """A title; ``level`` 1 is the document's."""

    text: str
    level: int = 2


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of as many texts as ``header``; the first column is to the left."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture by its file name, and what it shows."""

    name: str
    caption: str


Block = Heading | Paragraph | Items | Table | Plot


def to_markdown(blocks: Sequence[Block], *, images: str = "", top: int = 1) -> str:
    """Write blocks as Markdown.

    Args:
        blocks: The report.
        images: Folder of the plots, as the Markdown file sees it.
        top: Level of headings of level 1.
    """
    return "\n\n".join(_markdown(block, images, top) for block in blocks) + "\n"


def _markdown(block: Block, images: str, top: int) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * (level + top - 1)} {text}"
        case Paragraph(text):
            return text
        case Items(texts):
            return "\n".join(f"- {text}" for text in texts)
        case Plot(name, caption):
            return f"![{caption}]({images + '/' if images else ''}{name})"
        case Table(header, rows):
            rule = ["---", *["---:"] * (len(header) - 1)]
            lines = [header, rule, *([_cell(t) for t in row] for row in rows)]
            return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def to_page(blocks: Sequence[Block], plots: Mapping[str, str]) -> str:
    """Write blocks as one HTML page without links.

    Args:
        blocks: The report.
        plots: SVG text of every plot by its name.
    """
    title = next((b.text for b in blocks if isinstance(b, Heading)), "Benchmark")
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n<body>\n"
        + "\n".join(_html(block, plots) for block in blocks)
        + "\n</body>\n</html>\n"
    )


def _html(block: Block, plots: Mapping[str, str]) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{html.escape(text)}</h{level}>"
        case Paragraph(text):
            return f"<p>{html.escape(text)}</p>"
        case Items(texts):
            return f"<ul>{''.join(f'<li>{html.escape(t)}</li>' for t in texts)}</ul>"
        case Plot(name, caption):
            label = html.escape(caption, quote=True)
            return f'<figure role="img" aria-label="{label}">{plots[name]}</figure>'
        case Table(header, rows):
            body = "\n".join(_row("td", row) for row in rows)
            return f'<div class="wide"><table>\n{_row("th", header)}\n{body}\n</table></div>'


def _row(kind: str, texts: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{kind}>{html.escape(t)}</{kind}>" for t in texts) + "</tr>"


def insert_between(text: str, start: str, end: str, section: str) -> Iterator[str]:
    """Yield a document's parts with a new text between two markers.

    Raises:
        ValueError: The markers are not there, once each and in order.
    """
    before, found, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed or start in after or end in after:
        raise ValueError(f"the markers '{start}' and '{end}' are not there, once each in order")
    yield from (before, start, "\n\n", section, "\n", end, after)
