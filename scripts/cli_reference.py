"""Write ``docs/cli.md`` from the commands themselves: ``python scripts/cli_reference.py``."""

from __future__ import annotations

import inspect
import typing
from pathlib import Path
from typing import Any

from typer.models import ArgumentInfo

from labelwise.apps.cli import app

PAGE = Path(__file__).resolve().parents[1] / "docs" / "cli.md"
INTRODUCTION = """\
# Command line

Every command takes `--help`. Results go to stdout, as JSON with `--json`; progress and remarks go
to stderr. Exit codes: 0 done, 1 a fault of labelwise, 2 bad input or usage, 3 a batch job
that is done but for lines it could not read, 130 interrupted.
Settings come from the preset, then the `--config` file, then the flags; a trained model keeps its
resolved settings as `settings.json`, which `--config` reads.

This page is written by `make docs`; change the help texts instead.
"""


def reference() -> str:
    """Return the text of the page."""
    functions = [command.callback for command in app.registered_commands]
    return "\n".join([INTRODUCTION, *map(_section, functions)])


def _section(function: Any) -> str:
    text = inspect.getdoc(function) or ""
    rows = ["| option | values | default | what it does |", "|---|---|---|---|"]
    rows += [_row(p) for p in inspect.signature(function).parameters.values()]
    return "\n".join([f"## labelwise {function.__name__}", "", text, "", *rows, ""])


def _row(parameter: inspect.Parameter) -> str:
    kind, info = typing.get_args(parameter.annotation)
    cells = (_names(parameter, info), _values(kind), _default(parameter, info), info.help)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _names(parameter: inspect.Parameter, info: Any) -> str:
    if isinstance(info, ArgumentInfo):
        return f"`{parameter.name.upper()}`"
    given = [info.default, *(info.param_decls or ())]  # typer keeps the first name there
    names = [n for n in given if isinstance(n, str) and n.startswith("-")]
    if not names:
        name = parameter.name.replace("_", "-")
        names = [f"--{name}/--no-{name}" if isinstance(parameter.default, bool) else f"--{name}"]
    return ", ".join(f"`{n}`" for n in names)


def _values(kind: Any) -> str:
    """Say what a flag takes; nothing for a switch."""
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(f"`{choice}`" for choice in typing.get_args(kind))
    if inner := [k for k in typing.get_args(kind) if k is not type(None)]:
        return _values(inner[0])
    return {bool: "", str: "text", int: "whole number", float: "number"}.get(kind, "path")


def _default(parameter: inspect.Parameter, info: Any) -> str:
    if parameter.default is inspect.Parameter.empty:
        return "required"
    if isinstance(info.show_default, str):
        return f"`{info.show_default}`"
    if isinstance(parameter.default, bool):
        return "`yes`" if parameter.default else ""
    return "" if parameter.default is None else f"`{parameter.default}`"


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
