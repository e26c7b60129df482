"""The command ``benchmark``: the paper's protocol on any data, in a run that can be continued."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelwise.apps.output import counted, note
from labelwise.apps.progress import LINE_EVERY_S, summary
from labelwise.apps.train import Device

if TYPE_CHECKING:
    from labelwise.benchmark.cells import Cell
    from labelwise.benchmark.grid import Runner
    from labelwise.benchmark.plan import Plan, Work
    from labelwise.training import Progress


def benchmark(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")],
    spec: Annotated[Path | None, typer.Argument(metavar="SPEC.toml", help="What to run.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="In place of a file: smoke, tuning, quick, readings, names or paper."),
    ] = None,
    root: Annotated[
        Path, typer.Option("--data", help="Folder that the dataset folders named lie in.")
    ] = Path("."),
    encoder: Annotated[
        str | None, typer.Option(help="In place of the encoder of the specification.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes to spread the cells over.")] = 1,
    into: Annotated[
        Path | None,
        typer.Option(help="Markdown file that also gets the report, between its markers."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be run and about how long it takes.")
    ] = False,
    device: Device = "cpu",
) -> None:
    """Compare few-shot methods on datasets; run again to continue."""
    if (spec is None) == (preset is None):
        raise typer.BadParameter("Give either a SPEC.toml or --preset.")
    from labelwise.errors import require

    require("torch", "train", "A benchmark")
    from labelwise.benchmark.grid import plan_benchmark, run_benchmark
    from labelwise.benchmark.report import check_page, write_report
    from labelwise.benchmark.spec import preset_spec, read_spec
    from labelwise.benchmark.tables import duration

    chosen = read_spec(spec) if spec is not None else preset_spec(str(preset))
    if encoder is not None:
        chosen = dataclasses.replace(chosen, encoder=encoder)
    if into is not None:
        check_page(into)
    if dry_run:
        _show_plan(*plan_benchmark(chosen, output, root=root, device=device), jobs=jobs)
        return
    started, watch = time.monotonic(), _Screen(jobs)
    store = run_benchmark(chosen, output, root=root, device=device, jobs=jobs, watch=watch)
    found = write_report(store, chosen, into=into)
    note(
        f"{len(found['rows'])} results, {len(found['skipped'])} skipped cells, "
        f"{duration(time.monotonic() - started)}"
    )
    note(f"Report: '{output / 'report.html'}'")


def _show_plan(runner: Runner, plan: Plan, *, jobs: int) -> None:
    from labelwise.benchmark.plan import probe
    from labelwise.benchmark.tables import cell_name, duration

    for remark in plan.remarks:
        note(remark)
    if not plan.cells:
        typer.echo(f"all {plan.n_cells} cells are there")
        return
    to_run = [c for c in plan.cells if c not in plan.skips]
    rate = plan.seconds_a_piece or (probe(runner, to_run[0]) if to_run else 0.0)
    how = "at the speed of what is there" if plan.seconds_a_piece else "a first guess"
    for stage, work in plan.stages.items():
        typer.echo(f"source stage {stage}: about {duration(work.seconds(rate))}")
    for cell, work in plan.cells.items():
        found = plan.skips.get(cell) or f"about {duration(work.seconds(rate))}"
        typer.echo(f"{cell_name(cell)}: {found}")
    processes = f"{jobs} processes" if jobs > 1 else "one process"
    typer.echo(f"{_parts(plan)}: about {duration(plan.seconds(rate, jobs))} in {processes} ({how})")


def _parts(plan: Plan) -> str:
    n_skipped = sum(cell in plan.skips for cell in plan.cells)
    skipped = f"; {counted(n_skipped, 'cell')} cannot be run" if n_skipped else ""
    return (
        f"{plan.n_cells} cells, {plan.n_cells - len(plan.cells)} of them there; to run: "
        f"{len(plan.stages)} source stages, {len(plan.cells) - n_skipped} cells{skipped}"
    )


class _Screen:
    """Shows a run as it goes: a line a cell, and one every ten seconds of a source stage."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._stages: dict[str, Work] = {}  # left
        self._cells: dict[Cell, Work] = {}
        self._spent_s = self._done = 0.0  # time and pieces of this call
        self._due_s = 0.0

    def plan(self, plan: Plan) -> None:
        self._stages, self._cells = dict(plan.stages), dict(plan.cells)
        for remark in plan.remarks:
            note(remark)
        note(_parts(plan))

    def stage(self, name: str, progress: Progress) -> None:
        if progress.step == 1:
            self._due_s = 0.0
        if progress.elapsed_s >= self._due_s or progress.done >= 1:
            self._due_s = progress.elapsed_s + LINE_EVERY_S
            note(f"source stage {name}: {progress.done:4.0%}  {summary(progress)}")
        if progress.done >= 1:
            self._finish(progress.elapsed_s, self._stages.pop(name, None))

    def cell(
        self, done: int, total: int, cell: Cell, result: dict[str, Any], seconds: float
    ) -> None:
        from labelwise.benchmark.tables import cell_name, duration

        self._finish(seconds, self._cells.pop(cell, None))
        text = result.get("skipped") or f"F1 {100 * result['scores']['micro_f1']:.1f}"
        left = f"; about {duration(self._left_s())} left" if self._cells else ""
        note(f"{done}/{total} {cell_name(cell)}: {text} ({duration(seconds)}){left}")

    def _finish(self, seconds: float, work: Work | None) -> None:
        if work and work.counted:
            self._spent_s, self._done = self._spent_s + seconds, self._done + work.counted

    def _left_s(self) -> float:
        """Guess the time left by the speed of this call; source stages come first, one by one."""
        rate = self._spent_s / max(self._done, 1.0)
        return sum(work.seconds(rate) for work in self._cells.values()) / self._jobs
