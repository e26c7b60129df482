"""Writes checkpoints until it dies, in forked children; run as a script by test_checkpoint.

Prints one JSON line a trial: what the child had finished, and what can be opened afterwards.
Forking after the imports keeps a hundred trials within seconds.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.checkpoint import latest_step, save_step, verify, write_folder
from labelwise.tensors import load_tensors


def write(folder: Path, number: int) -> None:
    weights = {"w": np.full((3, 5), number, dtype=np.float32)}
    save_step(folder / "steps", number, {"model": weights, "optim": weights}, {"step": number})
    text = str(number) * 1000
    write_folder(folder / "model", {"a.txt": text, "b.txt": text}, details={"number": number})


def opened(folder: Path) -> tuple[int, int]:
    """Return the numbers of the step and of the model folder, after checking them throughout."""
    found = latest_step(folder / "steps")
    manifest = verify(folder / "model")
    number = manifest.details["number"]
    is_whole = (
        found is not None
        and found.state == {"step": found.step}
        and all((found.load(name)["w"] == found.step).all() for name in ("model", "optim"))
        and (load_tensors(found.path / "model.safetensors")["w"].shape == (3, 5))
        and all(manifest.file(n).read_text() == str(number) * 1000 for n in ("a.txt", "b.txt"))
    )
    if found is None or not is_whole:
        raise RuntimeError(f"mixed content in {folder}")
    return found.step, number


def forked(child: Callable[[int], None]) -> tuple[int, int]:
    """Fork a child that gets the writing end of a pipe; return its pid and the reading end."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(reading)
        child(writing)
        os._exit(0)
    os.close(writing)
    return pid, reading


def kill_at_random(folder: Path, n_trials: int, max_delay_s: float, seed: int) -> None:
    """Kill writers after a random delay, counted from when the first write of each is done."""
    rng = random.Random(seed)
    number = 0
    for _ in range(n_trials):

        def loop(pipe: int, first: int = number + 1) -> None:
            for n in range(first, sys.maxsize):
                write(folder, n)
                os.write(pipe, f"{n}\n".encode())

        pid, pipe = forked(loop)
        done = os.read(pipe, 65536).decode()
        time.sleep(0.001 * (max_delay_s / 0.001) ** rng.random())
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        with os.fdopen(pipe) as rest:
            done += rest.read()
        number = report(folder, int(done.split()[-1]))


def die_at_every_call(folder: Path) -> None:
    """Die before the first, second, third ... call that changes names or waits for the disk."""
    write(folder, 1)
    number, n_calls = 1, 0
    while True:
        n_calls += 1

        def child(pipe: int, n: int = number + 1, last_call: int = n_calls) -> None:
            calls_left = [last_call]
            for name in ("fsync", "rename", "replace", "rmdir", "unlink", "mkdir"):
                setattr(os, name, dying(getattr(os, name), calls_left))
            write(folder, n)
            os.write(pipe, b"end")

        pid, pipe = forked(child)
        os.waitpid(pid, 0)
        ended = os.read(pipe, 3)
        os.close(pipe)
        number = report(folder, number)
        if ended:
            return


def dying(function: Callable[..., Any], calls_left: list[int]) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        calls_left[0] -= 1
        if calls_left[0] < 0:
            os._exit(1)
        return function(*args, **kwargs)

    return wrapped


def report(folder: Path, finished: int) -> int:
    step, model = opened(folder)
    print(json.dumps({"finished": finished, "step": step, "model": model}), flush=True)
    return max(step, model)


if __name__ == "__main__":
    if sys.argv[1] == "random":
        kill_at_random(Path(sys.argv[2]), int(sys.argv[3]), 0.2, seed=int(sys.argv[4]))
    else:
        die_at_every_call(Path(sys.argv[2]))
