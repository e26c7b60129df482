"""Runs a batch job in forked children that are killed; run as a script by test_batch.

Prints one JSON line a kill: how many parts were whole by then.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from builders import tiny_tokenizer
from labelwise.apps.batch_job import write_jsonl_results, write_rejects
from labelwise.apps.text_files import read_units
from labelwise.backend import FakeBackend
from labelwise.batch import Job, Shard, describe_file, run_job
from labelwise.tagger import Tagger


def job_of(path: Path, folder: Path, shard: Shard) -> Job:
    facts = {"input": describe_file(path), "model": "fake", "options": {}}
    return Job(folder, facts, part_size=5, shard=shard)


def run(path: Path, folder: Path, shard: Shard | None = None) -> None:
    job = job_of(path, folder, shard or Shard())
    tagger = Tagger(FakeBackend(tiny_tokenizer()))
    units = read_units(path, path.stat().st_size)
    labels = ["person", "city"]
    run_job(
        job,
        units,
        lambda s: tagger.tag((x.words for x in s), labels),
        write_jsonl_results,
        write_rejects,
    )


def kill_at_random(path: Path, folder: Path, n_kills: int, seed: int) -> None:
    """Kill as many runs within the next few parts, then let one end."""
    rng = random.Random(seed)
    for _ in range(n_kills):
        target = n_parts(folder) + rng.randrange(6)
        if (pid := os.fork()) == 0:
            run(path, folder)
            os._exit(0)
        while n_parts(folder) < target:
            time.sleep(0.0005)
        time.sleep(0.01 * rng.random())
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        print(json.dumps(n_parts(folder)), flush=True)
    run(path, folder)


def n_parts(folder: Path) -> int:
    return len(list(folder.glob("part-*")))


if __name__ == "__main__":
    kill_at_random(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
