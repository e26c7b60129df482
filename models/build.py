"""Rebuild a default model from its recipe: check, train, export, measure, write the card.

    python models/build.py --recipe models/labelwise-mini-en/recipe.toml --data DIR --work DIR

``DIR`` of ``--data`` holds the sources that the recipe names, and ``target/`` to measure on. Every
step skips what it has done, so that a build that was stopped goes on when it is started again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from labelwise.errors import LabelwiseError
from model_build.card import card
from model_build.export import export
from model_build.job import Job, say
from model_build.leaks import check
from model_build.measure import measure
from model_build.recipe import read_recipe
from model_build.train import train
from model_build.tune import tune

STEPS = {"check": check, "train": train, "export": export, "measure": measure, "card": card}
ON_REQUEST = {"tune": tune}  # takes as long as training


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    result = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    result.add_argument("--recipe", type=Path, required=True, help="recipe.toml of the model")
    result.add_argument("--data", type=Path, required=True, help="folder of source/ and target/")
    result.add_argument("--work", type=Path, required=True, help="folder for checkpoints")
    result.add_argument("--model", type=Path, help="model folder trained elsewhere: train nothing")
    result.add_argument("--only", choices=[*STEPS, *ON_REQUEST], help="one step, not all")
    result.add_argument("--again", action="store_true", help="do steps again that are done")
    result.add_argument("--hardware", help="what training ran on, for the card")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps; returns the exit code."""
    given = parser().parse_args(arguments)
    try:
        recipe = read_recipe(given.recipe)
        job = Job(recipe, given.data, given.work, given.model, given.hardware)
        for name in [given.only] if given.only else STEPS:
            (STEPS | ON_REQUEST)[name](job, again=given.again)
    except LabelwiseError as err:
        print(f"{type(err).__name__}: {err}", file=sys.stderr)
        return 2
    say("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
