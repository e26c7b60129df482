"""The command ``benchmark``: the paper's protocol on any data, in a run that can be continued."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelwise.apps.output import note
from labelwise.apps.train import Device

if TYPE_CHECKING:
    from labelwise.benchmark.cells import Cell


def benchmark(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")],
    spec: Annotated[Path | None, typer.Argument(metavar="SPEC.toml", help="What to run.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="In place of a file: smoke, tuning, quick or paper.")
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
    device: Device = "cpu",
) -> None:
    """Compare few-shot methods on datasets; run again to continue."""
    if (spec is None) == (preset is None):
        raise typer.BadParameter("Give either a SPEC.toml or --preset.")
    from labelwise.errors import require

    require("torch", "train", "A benchmark")
    from labelwise.benchmark.grid import run_benchmark
    from labelwise.benchmark.report import write_report
    from labelwise.benchmark.spec import preset_spec, read_spec

    chosen = read_spec(spec) if spec is not None else preset_spec(str(preset))
    if encoder is not None:
        chosen = dataclasses.replace(chosen, encoder=encoder)
    store = run_benchmark(chosen, output, root=root, device=device, jobs=jobs, on_cell=_progress())
    summary = write_report(store, chosen, into=into)
    note(f"{len(summary['rows'])} results, {len(summary['skipped'])} skipped cells")
    note(f"Report: '{output / 'report.html'}'")


def _progress() -> Any:
    started, first = time.monotonic(), [0]

    def show(done: int, total: int, cell: Cell, result: dict[str, Any]) -> None:
        first[0] = first[0] or done
        spent = time.monotonic() - started  # source stages included, so the first guesses are high
        seconds = spent / (done - first[0] + 1) * (total - done)
        text = result.get("skipped") or f"F1 {100 * result['scores']['micro_f1']:.1f}"
        note(f"{done}/{total} {cell.key}: {text}; about {seconds / 60:.0f} min left")

    return show
