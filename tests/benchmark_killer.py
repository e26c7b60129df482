"""Runs a benchmark in forked children that are killed; run as a script by test_benchmark_grid.

Prints one JSON line a kill: how many cells were stored by then.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from labelwise.benchmark.grid import run_benchmark
from labelwise.benchmark.report import write_report
from labelwise.benchmark.spec import read_spec


def kill_at_random(spec_file: Path, folder: Path, n_kills: int, seed: int) -> None:
    """Kill as many runs within the next few cells, then let one end and report."""
    torch.set_num_threads(1)  # a forked child has no other threads
    spec, rng = read_spec(spec_file), random.Random(seed)
    for _ in range(n_kills):
        target = n_cells(folder) + rng.randrange(3)
        if (pid := os.fork()) == 0:
            run_benchmark(spec, folder)
            os._exit(0)
        patience = time.monotonic() + rng.random()  # the source stages store no cell
        while n_cells(folder) < target and time.monotonic() < patience:
            time.sleep(0.0005)
        time.sleep(0.05 * rng.random())
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        print(json.dumps(n_cells(folder)), flush=True)
    write_report(run_benchmark(spec, folder), spec)


def n_cells(folder: Path) -> int:
    return len(list((folder / "cells").glob("*.json")))


if __name__ == "__main__":
    kill_at_random(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
