"""Speed of prediction: this engine, other libraries, the bare session, the processor's limit.

    python benchmarks/runtime.py [--smoke] [--write-docs] [--gliner-python PATH]
        [--span-marker-python PATH]

Words a second from raw text to entities, on texts joined from the sample corpus. Every rival runs
the same encoder, with random output layers where it needs one, in turns with the others, so that
all meet the same machine. Median of five; processor time, load and versions are recorded. Slow
rivals get the first texts only. GLiNER 0.2.29 and SpanMarker 1.8.1 need older libraries than we
do: make a virtual environment for each and name its interpreter. ``--write-docs`` writes
docs/performance.md.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
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
from rivals import Library, Seconds, encoder_operations, pipeline_run, product_run, timed

from labelwise import Tagger
from labelwise.ahead import map_side_by_side
from labelwise.config import RECOMMENDED_MODEL
from labelwise.data import read_dataset
from labelwise.exports import onnx_backends
from labelwise.labels import LabelSet
from labelwise.loading import new_model, save_model
from labelwise.onnx_export import export_towers
from labelwise.precision import Processor
from labelwise.sample_data import SAMPLES
from labelwise.torch_backend import TorchBackend
from labelwise.words import split_words

ENCODER = "all-MiniLM-L6-v2"
PIECES = (32, 128)
BATCH_SIZES = (1, 8, 32, 64)
OPENVINO = "OpenVINO"
TEN = [f"kind {i}" for i in range(10)]
MANY = {f"{n:,} labels": [f"kind {i}" for i in range(n)] for n in (500, 1000)}
SLOW_TEXTS = {32: 96, 128: 24}  # for rivals that take seconds for them
LIBRARY_RUNS = {  # name: library, kind, labels
    "GLiNER joint, 10 labels": ("gliner", "joint", 10),
    "GLiNER joint, 500 labels": ("gliner", "joint", 500),
    "GLiNER bi, 10 labels": ("gliner", "bi", 10),
    "GLiNER bi, 500 labels": ("gliner", "bi", 500),
    "SpanMarker, 10 labels": ("span_marker", "spans", 10),
}
PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
NOT_MEASURED = """\
## Not measured

spaCy's transformer pipeline: spacy-transformers 1.4.0 asks for transformers below 4.53.3,
spacy-curated-transformers 2.1.2 for thinc 9.0 or 9.1, while spaCy 3.8 comes with thinc 8.3.
"""
PACKAGES = (
    "labelwise", "numpy", "onnxruntime", "openvino", "tokenizers", "torch", "transformers",
)  # fmt: skip
Measured = dict[str, float]


def main() -> None:
    """Measure everything and write one JSON file."""
    arguments = parsed()
    smoke = arguments.smoke
    rounds, n_texts = (1, {32: 8, 128: 8}) if smoke else (5, {32: 4096, 128: 1280})
    backend = new_model(ENCODER, RECOMMENDED_MODEL)
    graphs = {precision: export_towers(backend, precision) for precision in ("int8", "fp32")}
    taggers = {p: Tagger(onnx_backends(g, backend)[0]) for p, g in graphs.items()}
    if importlib.util.find_spec("openvino"):
        taggers[OPENVINO] = openvino_tagger(backend, graphs["int8"])
    results: dict[str, Any] = {"machine": machine(), "encoder": ENCODER, "smoke": smoke}
    texts = {n: sample_texts(taggers["fp32"], n, n_texts[n]) for n in PIECES}
    few = {n: t[: 2 if smoke else SLOW_TEXTS[n] // 2] for n, t in texts.items()}
    pythons = {"gliner": arguments.gliner_python, "span_marker": arguments.span_marker_python}
    libraries = {
        name: Library(name, python, ENCODER, few, MANY["500 labels"])
        for name, python in pythons.items()
        if python
    }
    config = backend.encoder_configs()["text"]
    for pieces in PIECES:
        found = speeds(taggers, texts[pieces], pieces, rounds, libraries, smoke=smoke)
        operations = encoder_operations(config, pieces) * pieces_a_word(
            taggers["int8"], texts[pieces]
        )
        results[f"{pieces}_pieces"] = found | shares_of_peak(found["runs"], operations)
    for library in libraries.values():
        library.close()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        label_set = LabelSet.parse(["person", "city"])
        save_model(model, backend, label_set, extra_files=graphs["int8"])
        results["cold_start"] = cold_start(model, rounds)
        results["long_document"] = long_documents(model, taggers["int8"], smoke=smoke)
    results["machine"]["load_after"] = os.getloadavg()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(results, indent=2) + "\n")
    sys.stdout.write(json.dumps(results, indent=2) + "\n")
    if arguments.write_docs:
        PAGE.write_text(page(results))


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="one short round, to see that it runs")
    parser.add_argument("--write-docs", action="store_true", help="write docs/performance.md")
    parser.add_argument("--gliner-python", help="interpreter of an environment with GLiNER 0.2.29")
    parser.add_argument("--span-marker-python", help="the same with SpanMarker 1.8.1")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/runtime.json"))
    return parser.parse_args()


def machine() -> dict[str, Any]:
    """Describe where and under what load the figures were taken."""
    return {
        "processor": Processor.here().name,
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


def openvino_tagger(backend: TorchBackend, graphs: dict[str, bytes]) -> Tagger:
    """Run a model by OpenVINO, by way of a folder as users do."""
    with tempfile.TemporaryDirectory() as folder:
        save_model(folder, backend, extra_files=graphs)
        return Tagger.from_pretrained(folder, engine="openvino")


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
    taggers: dict[str, Tagger],
    texts: list[str],
    pieces: int,
    rounds: int,
    libraries: dict[str, Library],
    *,
    smoke: bool,
) -> dict[str, Any]:
    """Measure every rival on some texts, in turns."""
    few = texts[: SLOW_TEXTS[pieces]]
    n_words, n_few = n_words_of(texts), n_words_of(few)
    runs: dict[str, tuple[Callable[[], Seconds], float]] = {}
    for precision, tagger in taggers.items():
        bare = bare_session(tagger, texts)
        runs[f"labelwise {precision}"] = timed_run(predict_run(tagger, texts, TEN)), n_words
        runs[f"bare session {precision}"] = timed_run(bare), n_words
        if precision != "fp32":
            for name, labels in MANY.items():
                many = predict_run(tagger, texts, labels)
                runs[f"labelwise {precision}, {name}"] = timed_run(many), n_words
    for size in BATCH_SIZES[1:2] if smoke else BATCH_SIZES:
        run = pipeline_run(ENCODER, len(TEN), few, size)
        runs[f"pipeline, batch {size}"] = timed_run(run), n_few
    half = n_words_of(texts[: 2 if smoke else SLOW_TEXTS[pieces] // 2])
    for name, (library, kind, n_labels) in LIBRARY_RUNS.items():
        if library in libraries:
            run = library_run(libraries[library], kind, n_labels, pieces)
            runs[name] = run, half
    for kind in ("int8", "fp32"):
        run, operations = product_run(kind)
        runs[f"products {kind}"] = timed_run(run), operations
    found = measure(runs, rounds)
    return {"runs": found, "ratios": {p: ratios(found, p) for p in taggers if p != "fp32"}}


def timed_run(run: Callable[[], object]) -> Callable[[], Seconds]:
    """Return the run with its seconds as the result."""
    return lambda: timed(run)


def predict_run(tagger: Tagger, texts: list[str], labels: list[str]) -> Callable[[], object]:
    """Return a run of our own prediction."""
    return lambda: tagger.predict(texts, labels)


def library_run(library: Library, kind: str, n_labels: int, pieces: int) -> Callable[[], Seconds]:
    """Return a run of one of a library's models."""
    return lambda: library.seconds(kind, n_labels, pieces)


def n_words_of(texts: Sequence[str]) -> int:
    """Count words."""
    return sum(len(split_words(text)) for text in texts)


def ratios(found: dict[str, Measured], precision: str) -> dict[str, Any]:
    """Compare one of our engines with the others."""
    speed = {name: run["per_s"] for name, run in found.items()}
    ours = speed[f"labelwise {precision}"]
    best = max((n for n in speed if n.startswith("pipeline")), key=speed.__getitem__)
    many = speed[f"labelwise {precision}, 1,000 labels"]
    own = {len(TEN): ours, 500: speed[f"labelwise {precision}, 500 labels"]}
    against = {
        name: own[n_labels] / speed[name]
        for name, (_, _, n_labels) in LIBRARY_RUNS.items()
        if name in speed
    }
    return {
        "best_pipeline": best,
        "times_pipeline": round(ours / speed[best], 2),
        "times_libraries": {name: round(times, 1) for name, times in against.items()},
        "share_of_bare_session": round(ours / speed[f"bare session {precision}"], 3),
        "time_of_1000_labels_over_10": round(ours / many, 3),
    }


def pieces_a_word(tagger: Tagger, texts: Sequence[str]) -> float:
    """Count the pieces that the encoder reads, special ones too, for each word."""
    words = [[t[a:b] for a, b in split_words(t)] for t in texts]
    pieces = tagger.backend.tokenizer.encode_words(words)
    return sum(len(p.ids) for p in pieces) / sum(map(len, words))


def shares_of_peak(found: dict[str, Measured], operations: float) -> dict[str, Any]:
    """Compare the encoder's operations, so many a word, with what bare products reach."""
    return {
        "share_of_peak": {
            kind: round(
                found[f"labelwise {kind}"]["per_s"]
                * operations
                / found[f"products {kind}"]["per_s"],
                3,
            )
            for kind in ("int8", "fp32")
        }
    }


def measure(
    runs: dict[str, tuple[Callable[[], Seconds], float]], rounds: int
) -> dict[str, Measured]:
    """Run each once to warm up, then all in turns; medians of wall and processor time.

    Args:
        runs: By name, what gives its seconds, and how many words, or operations, it handles.
        rounds: Turns.
    """
    for run, _ in runs.values():
        run()
    seconds: dict[str, list[Seconds]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (run, _) in runs.items():
            seconds[name].append(run())
    medians = {
        name: [statistics.median(values) for values in zip(*found, strict=True)]
        for name, found in seconds.items()
    }
    return {
        name: {
            "per_s": round(runs[name][1] / wall, 1),
            "per_cpu_s": round(runs[name][1] / max(cpu, 1e-9), 1),
            "seconds": round(wall, 4),
        }
        for name, (wall, cpu) in medians.items()
    }


def bare_session(tagger: Tagger, texts: Sequence[str]) -> Callable[[], object]:
    """Return a run of the encoder alone, over the batches of the engine, tokenized before.

    As many at a time as in the engine.
    """
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
    return lambda: list(map_side_by_side(original.word_states, batches, original.n_workers))


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


def long_documents(model: Path, tagger: Tagger, *, smoke: bool) -> list[Measured]:
    """Most memory and the time for one text of a million characters, and of ten million."""
    code = (
        "import sys; from labelwise import Tagger; t = Tagger.from_pretrained(sys.argv[1]);"
        "t.predict(open(sys.argv[2]).read(), ['person', 'city'], threshold=0.999)"
    )
    (page,) = sample_texts(tagger, 128, 1)
    found: list[Measured] = []
    for n_characters in (10_000, 100_000) if smoke else (1_000_000, 10_000_000):
        text = model.parent / "long.txt"
        text.write_text(" ".join([page] * (n_characters // len(page) + 1))[:n_characters])
        started = time.perf_counter()
        peak = peak_memory_mb([sys.executable, "-c", code, str(model), str(text)])
        seconds = round(time.perf_counter() - started, 1)
        found.append({"characters": n_characters, "resident_mb": peak, "seconds": seconds})
    return found


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
        "entities;\nall on the same encoder, in the same run, on texts of the sample corpus. A "
        "bare session is ONNX\nRuntime, or OpenVINO, alone, on the same batches, tokenized before, "
        "as many at a time. What to\nchoose is told in [runtime.md](runtime.md).\n",
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
        "## One long text\n",
        "All in memory, both times, the text and what is found in it too.\n",
        *(
            f"- {x['characters']:,.0f} characters: {x['seconds']} s, {x['resident_mb']} MB resident"
            for x in results["long_document"]
        ),
        "",
        NOT_MEASURED,
    ]
    return "\n".join(parts)


def table(pieces: int, speed: dict[str, Any]) -> str:
    """Write one table of speeds."""
    runs = {n: r for n, r in speed["runs"].items() if not n.startswith("products")}
    rows = [f"| {n} | {run['per_s']:,.0f} | {run['per_cpu_s']:,.0f} |" for n, run in runs.items()]
    peaks = [f"{speed['runs'][f'products {k}']['per_s'] / 1e9:,.0f}" for k in ("int8", "fp32")]
    shares = [f"{speed['share_of_peak'][k]:.0%}" for k in ("int8", "fp32")]
    times = [line for p, found in speed["ratios"].items() for line in lines_of(p, found)]
    lines = [
        f"## Texts of {pieces} pieces\n",
        "| run | words/s | words per processor second |",
        "|---|---|---|",
        *rows,
        "",
        *times,
        f"- Matrix products alone reach {peaks[0]} (int8) and {peaks[1]} (fp32) billion operations "
        f"a second;\n  from text to entities, {shares[0]} and {shares[1]} of that is used\n",
    ]
    return "\n".join(lines)


def lines_of(precision: str, found: dict[str, Any]) -> list[str]:
    """Write how one of our engines compares."""
    return [
        f"- {precision}: {found['times_pipeline']} times the pipeline at its best "
        f"({found['best_pipeline']})",
        *(f"- {precision}: {x} times {name}" for name, x in found["times_libraries"].items()),
        f"- {precision}: {found['share_of_bare_session']} of the bare session on the same batches",
        f"- {precision}: 1,000 labels take {found['time_of_1000_labels_over_10']} times the time "
        "of 10",
    ]


if __name__ == "__main__":
    main()
