"""The sources of a recipe: datasets below the data folder, and files written for the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

from labelwise.sources import Source, read_source
from model_build.job import Job
from model_build.recipe import Stage
from model_build.written import is_written, read_written


def read_sources(job: Job) -> dict[str, Source]:
    """Read the train splits that the recipe names, by name; every written file is a source."""
    result: dict[str, Source] = {}
    for name, weight in job.recipe.sources.items():
        folder = source_folder(job, name)
        if not is_written(folder):
            result[name] = read_source(folder, weight=weight)
            continue
        files = sorted(folder.glob("*.txt"))
        result |= {
            f"{name}/{file.stem}": read_written(file, weight=weight / len(files)) for file in files
        }
    return result


def source_folder(job: Job, name: str) -> Path:
    """Find a source: beside the recipe, or below the data folder."""
    own = job.recipe.project / name
    return own if own.is_dir() else job.data / name


def sources_of_stage(sources: Mapping[str, Source], stage: Stage) -> dict[str, Source]:
    """Choose and weigh the sources of a stage; files of a written folder share its weight."""
    result = {n: s for n, s in sources.items() if not members_of([n], stage.leave_out)}
    for name, weight in stage.weights.items():
        members = members_of(result, [name])
        for member in members:
            result[member] = dataclasses.replace(result[member], weight=weight / len(members))
    return result


def members_of(sources: Iterable[str], names: Iterable[str]) -> list[str]:
    """Sources that bear one of the names, or are files of a folder that does."""
    return [s for s in sources if any(s == n or s.startswith(f"{n}/") for n in names)]
