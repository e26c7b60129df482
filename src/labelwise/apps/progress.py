"""Long work seen from outside: a bar on a terminal, plain lines elsewhere, TensorBoard scalars."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar

from labelwise.errors import require

if TYPE_CHECKING:
    from labelwise.batch import JobProgress
    from labelwise.training import OnProgress, Progress

_P = TypeVar("_P", "Progress", "JobProgress")

LINE_EVERY_S = 10.0
SCALARS_EVERY_STEPS = 10
SCALARS = ("loss", "train_f1", "dev_f1", "learning_rate", "pieces_per_s")


def summary(progress: Progress) -> str:
    """Say where a training run stands: loss, F1, speed and time left."""
    dev = "" if progress.dev_f1 is None else f"  dev F1 {100 * progress.dev_f1:.1f}"
    return (
        f"loss {progress.loss:.3f}  train F1 {100 * progress.train_f1:.1f}{dev}  "
        f"{progress.pieces_per_s:,.0f} pieces/s  {time_left(progress.left_s)}"
    )


def time_left(left_s: float) -> str:
    """Say how long work still takes.

    >>> time_left(61.2)
    '1:01 left'
    """
    minutes, seconds = divmod(round(left_s), 60)
    return f"{minutes}:{seconds:02} left"


def training_progress(console: Console) -> AbstractContextManager[OnProgress]:
    """Show a training run, which calls what it gets with its ``Progress``; see ``shown``."""
    return shown(console, summary, lambda p: f"step {p.step}  {summary(p)}", ends=True)


@contextlib.contextmanager
def shown(
    console: Console, text: Callable[[_P], str], line: Callable[[_P], str], *, ends: bool
) -> Iterator[Callable[[_P], None]]:
    """Show work on a console while the context is open.

    Args:
        console: Where to; a bar if it is a terminal, else a line every ten seconds.
        text: What stands beside the bar.
        line: What a line says.
        ends: Whether the beginning and the end have a line too.

    Yields:
        What to call as the work goes on.
    """
    if console.is_terminal:
        columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[summary]}"))
        with Bar(*columns, console=console) as bar:
            task = bar.add_task("", total=1.0, summary="starting")
            yield lambda p: bar.update(task, completed=p.done, summary=text(p))
        return
    due_s = 0.0 if ends else LINE_EVERY_S

    def show(progress: _P) -> None:
        nonlocal due_s
        if progress.elapsed_s >= due_s or (ends and progress.done >= 1):
            due_s = progress.elapsed_s + LINE_EVERY_S
            console.print(f"{progress.done:4.0%}  {line(progress)}")

    yield show


@contextlib.contextmanager
def tensorboard_scalars(folder: Path | None) -> Iterator[OnProgress]:
    """Log a run for TensorBoard while the context is open.

    Args:
        folder: Where the event files go; None logs nothing.

    Yields:
        What ``training.pretrain`` wants as ``on_progress``.

    Raises:
        MissingExtraError: TensorBoard is not installed.
    """
    if folder is None:
        yield lambda _: None
        return
    require("tensorboard", "train", "Logging for TensorBoard")
    writing = require("torch.utils.tensorboard", "train", "Logging for TensorBoard")
    with writing.SummaryWriter(str(folder)) as writer:

        def log(progress: Progress) -> None:
            if progress.step % SCALARS_EVERY_STEPS == 0 or progress.done >= 1:
                for name in SCALARS:
                    value = getattr(progress, name)
                    if value is not None:
                        writer.add_scalar(name, value, progress.step)

        yield log


def both(*callbacks: Callable[[Progress], None]) -> OnProgress:
    """Join callbacks into one."""

    def call(progress: Progress) -> None:
        for callback in callbacks:
            callback(progress)

    return call
