"""Speed of prediction: this engine, the Hugging Face pipeline, and the bare ONNX session.

    python benchmarks/runtime.py [--smoke] [--write-docs] [--output benchmarks/results/runtime.json]

Words a second from raw text to entities, on texts joined from the sample corpus. Every rival runs
the same encoder, with random output layers where it needs one, in turns with the others, so that
all meet the same machine. Median of five; processor time, load and versions are recorded.
``--write-docs`` writes docs/performance.md from the results.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labelwise import Tagger
from labelwise.config import RECOMMENDED_MODEL
from labelwise.data import read_dataset
from labelwise.encoders import find_encoder
from labelwise.labels import LabelSet
from labelwise.loading import new_model, onnx_backend, save_model
from labelwise.onnx_export import export_towers
from labelwise.sample_data import SAMPLES
from labelwise.words import split_words

ENCODER = "all-MiniLM-L6-v2"
PIECES = (32, 128)
BATCH_SIZES = (1, 8, 32, 64)
TEN = [f"kind {i}" for i in range(10)]
THOUSAND = [f"kind {i}" for i in range(1000)]
PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
PACKAGES = ("labelwise", "numpy", "onnxruntime", "tokenizers", "torch", "transformers")
Measured = dict[str, float]


def main() -> None:
    """Measure everything and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one short round, to see that it runs")
    parser.add_argument("--write-docs", action="store_true", help="write docs/performance.md")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/runtime.json"))
    arguments = parser.parse_args()
    rounds, n_texts = (1, 8) if arguments.smoke else (5, 1024)
    backend = new_model(ENCODER, RECOMMENDED_MODEL)
    graphs = {precision: export_towers(backend, precision) for precision in ("int8", "fp32")}
    taggers = {p: Tagger(onnx_backend(g, backend)) for p, g in graphs.items()}
    results: dict[str, Any] = {"machine": machine(), "encoder": ENCODER, "smoke": arguments.smoke}
    for pieces in PIECES:
        texts = sample_texts(taggers["fp32"], pieces, n_texts)
        results[f"{pieces}_pieces"] = speeds(taggers, texts, rounds, arguments.smoke)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        label_set = LabelSet.parse(["person", "city"])
        save_model(model, backend, label_set, extra_files=graphs["int8"])
        results["cold_start"] = cold_start(model, rounds)
    results["machine"]["load_after"] = os.getloadavg()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(results, indent=2) + "\n")
    sys.stdout.write(json.dumps(results, indent=2) + "\n")
    if arguments.write_docs:
        PAGE.write_text(page(results))


def machine() -> dict[str, Any]:
    """Describe where and under what load the figures were taken."""
    names = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def version(package: str) -> str:
    """Return the installed version of a package, or that there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "source"


def sample_texts(tagger: Tagger, n_pieces: int, n_texts: int) -> list[str]:
    """Join words of the sample corpus into distinct texts of about so many pieces."""
    corpora = ("support", "incidents", "contracts")
    words = [w for c in corpora for s in read_dataset(SAMPLES / c, "train") for w in s.words]
    rng = np.random.default_rng(0)
    texts: list[str] = []
    for start in rng.integers(len(words), size=n_texts):
        rolled = words[start:] + words[:start]
        (pieces,) = tagger.backend.tokenizer.encode_words([rolled[:n_pieces]])
        texts.append(" ".join(rolled[: int((pieces.first < n_pieces - 1).sum())]))
    return texts


def speeds(
    taggers: dict[str, Tagger], texts: list[str], rounds: int, is_smoke: bool
) -> dict[str, Any]:
    """Measure every rival on some texts, in turns."""
    runs: dict[str, Callable[[], object]] = {}
    for precision, tagger in taggers.items():
        runs[f"labelwise {precision}"] = lambda t=tagger: t.predict(texts, TEN)
        runs[f"bare session {precision}"] = bare_session(tagger, texts)
    runs["labelwise int8, 1,000 labels"] = lambda: taggers["int8"].predict(texts, THOUSAND)
    for size in BATCH_SIZES[1:2] if is_smoke else BATCH_SIZES:
        runs[f"pipeline, batch {size}"] = pipeline_run(texts, size)
    n_words = sum(len(split_words(text)) for text in texts)
    found = measure(runs, rounds, n_words)
    best = max((k for k in found if k.startswith("pipeline")), key=lambda k: words_per_s(found, k))
    ours, bare = words_per_s(found, "labelwise int8"), words_per_s(found, "bare session int8")
    many = words_per_s(found, "labelwise int8, 1,000 labels")
    return {
        "runs": found,
        "best_pipeline": best,
        "times_pipeline": round(ours / words_per_s(found, best), 2),
        "share_of_bare_session": round(ours / bare, 3),
        "time_of_1000_labels_over_10": round(ours / many, 3),
    }


def words_per_s(found: dict[str, Measured], name: str) -> float:
    """Look up the speed of a run."""
    return found[name]["words_per_s"]


def measure(
    runs: dict[str, Callable[[], object]], rounds: int, n_words: int
) -> dict[str, Measured]:
    """Run each once to warm up, then all in turns; medians of wall and processor time."""
    for run in runs.values():
        run()
    wall: dict[str, list[float]] = {name: [] for name in runs}
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            started, cpu_started = time.perf_counter(), time.process_time()
            run()
            wall[name].append(time.perf_counter() - started)
            cpu[name].append(time.process_time() - cpu_started)
    return {
        name: {
            "words_per_s": round(n_words / statistics.median(wall[name]), 1),
            "words_per_cpu_s": round(n_words / statistics.median(cpu[name]), 1),
            "seconds": round(statistics.median(wall[name]), 4),
        }
        for name in runs
    }


def bare_session(tagger: Tagger, texts: Sequence[str]) -> Callable[[], object]:
    """Return a run of the encoder alone, over the batches of the engine, tokenized before."""
    words = [[t[a:b] for a, b in split_words(t)] for t in texts]
    batches: list[Any] = []
    original = tagger.backend

    class Recorder:
        """The backend, with a memory for batches."""

        def __getattr__(self, name: str) -> Any:
            return getattr(original, name)

        def word_states(self, batch: Any) -> Any:
            batches.append(batch)
            return original.word_states(batch)

    list(Tagger(Recorder()).engine.states(words))
    return lambda: [original.word_states(batch) for batch in batches]


def pipeline_run(texts: list[str], batch_size: int) -> Callable[[], object]:
    """Return a run of the token-classification pipeline with a linear output layer."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer, logging, pipeline

    logging.set_verbosity_error()
    folder = find_encoder(ENCODER)
    model = AutoModelForTokenClassification.from_pretrained(folder, num_labels=2 * len(TEN) + 1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    run = pipeline(
        "token-classification",
        model=model,
        tokenizer=tokenizer,
        aggregation_strategy="simple",
        device="cpu",
    )
    return lambda: run(texts, batch_size=batch_size)


def cold_start(model: Path, rounds: int) -> Measured:
    """Seconds from a cold shell, and the most memory that took."""
    imports = [sys.executable, "-c", "import labelwise"]
    predict = [sys.executable, "-m", "labelwise", "predict", "--model", str(model), "--json"]
    predict += ["--text", "Ada Lovelace moved to London in 1835."]
    return {
        "import_s": median_seconds(imports, rounds),
        "bare_python_s": median_seconds([sys.executable, "-c", "pass"], rounds),
        "predict_s": median_seconds(predict, rounds),
        "predict_resident_mb": peak_memory_mb(predict),
    }


def median_seconds(command: list[str], rounds: int) -> float:
    """Run a command some times; return the median of its seconds."""
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        seconds.append(time.perf_counter() - started)
    return round(statistics.median(seconds), 3)


def peak_memory_mb(command: list[str]) -> float:
    """Run a command below a small process; return the most memory that it held."""
    code = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], capture_output=True, check=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, check=True, text=True
    )
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss counts bytes there, KiB elsewhere
    return round(int(done.stdout) * unit / 2**20, 1)


def page(results: dict[str, Any]) -> str:
    """Write the results as a page."""
    about, start = results["machine"], results["cold_start"]
    versions = ", ".join(f"{name} {v}" for name, v in about["versions"].items())
    parts = [
        "# Performance\n",
        "Written by `python benchmarks/runtime.py --write-docs`. Words a second from raw text to "
        "entities;\nall on the same encoder, in the same run, on texts of the sample corpus.\n",
        f"- Machine: {about['processor']}, {about['cores']} cores; load "
        f"{about['load_before'][0]:.2f} before, {about['load_after'][0]:.2f} after",
        f"- Encoder: {results['encoder']}; Python {about['python']}, {versions}\n",
    ]
    if results["smoke"]:
        parts.append("**A smoke run: the figures mean nothing.**\n")
    parts += [table(pieces, results[f"{pieces}_pieces"]) for pieces in PIECES]
    parts += [
        "## Cold start\n",
        f"- `import labelwise`: {start['import_s']} s (Python alone {start['bare_python_s']} s)",
        f"- `labelwise predict --text ...`: {start['predict_s']} s, "
        f"{start['predict_resident_mb']} MB resident\n",
    ]
    return "\n".join(parts)


def table(pieces: int, speed: dict[str, Any]) -> str:
    """Write one table of speeds."""
    rows = [
        f"| {name} | {run['words_per_s']:,.0f} | {run['words_per_cpu_s']:,.0f} |"
        for name, run in speed["runs"].items()
    ]
    lines = [
        f"## Texts of {pieces} pieces\n",
        "| run | words/s | words per processor second |",
        "|---|---|---|",
        *rows,
        "",
        f"- {speed['times_pipeline']} times the pipeline at its best ({speed['best_pipeline']})",
        f"- {speed['share_of_bare_session']} of the bare session on the same batches",
        f"- 1,000 labels take {speed['time_of_1000_labels_over_10']} times the time of 10\n",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
