"""Functions as commands: the flags all commands share, and errors as exit codes.

Exit codes: 0 done, 1 a fault of ours, 2 input or usage, 3 done but for rejected lines
(``predict.SOME_REJECTED``), 130 interrupted.
"""

from __future__ import annotations

import errno
import functools
import inspect
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from labelwise.apps.output import note, printable
from labelwise.apps.settings import AnyConfig, setting_flags
from labelwise.errors import LabelwiseError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def register(app: typer.Typer, function: Callable[..., None], **settings: AnyConfig) -> None:
    """Add a function to an app as a command of the same name.

    Args:
        app: The app.
        function: Does the work; its signature gives the arguments and its docstring the help.
        **settings: Default settings by heading; each field becomes a flag, and what the user
            gave reaches the function as the mapping ``flags``.
    """
    own = inspect.signature(function, eval_str=True).parameters
    extra = [p for panel, c in settings.items() for p in setting_flags(c, f"{panel} settings")]
    debug = inspect.Parameter(
        "debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Debug
    )
    shown = [*(p.replace(kind=p.KEYWORD_ONLY) for n, p in own.items() if n != "flags"), *extra]

    @functools.wraps(function)
    def run(*, debug: bool, **values: Any) -> None:
        flags = {p.name: values.pop(p.name) for p in extra}
        if extra:
            values["flags"] = {name: value for name, value in flags.items() if value is not None}
        _guarded(functools.partial(function, **values), debug)

    del run.__wrapped__  # type: ignore[attr-defined]  # typer would read its signature
    run.__signature__ = inspect.Signature([*shown, debug])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in [*shown, debug]}
    app.command(function.__name__)(run)


def _guarded(call: Callable[[], None], debug: bool) -> None:
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warned
            call()
    except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
        raise
    except KeyboardInterrupt:
        raise _failure(["Interrupted."], 130) from None
    except LabelwiseError as err:
        if debug:
            traceback.print_exception(err)
        raise _failure([str(err)], 2) from err
    except Exception as err:
        if debug:
            traceback.print_exception(err)
        if isinstance(err, OSError) and err.errno in _NO_ROOM:  # of stdout: files are named before
            found = f"Cannot write: {err.strerror}. Expected room where the output goes."
            raise _failure([found, "Make some, and run the command again."], 2) from err
        found = f"Unexpected {type(err).__name__}: {err}."
        raise _failure([found, "This is a fault of labelwise; --debug shows where."], 1) from err


def _warned(message: Warning | str, *_: object) -> None:
    """Show a warning without the line of code that gave it, which is none of the user's."""
    note(f"Warning: {message}")


def _failure(parts: Sequence[str], code: int) -> typer.Exit:
    """Say what went wrong in one line on stderr."""
    line = printable(" ".join(" ".join(parts).split()))
    typer.echo(f"{typer.style('Error:', fg='red', bold=True)} {line}", err=True)
    return typer.Exit(code)
