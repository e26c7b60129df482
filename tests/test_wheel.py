"""The built wheels, alone in a fresh environment, do the main jobs without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "models" / "labelwise-mini-en"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (MODEL / "pyproject.toml").is_file(), reason="The default model's project is not here."
    ),
]


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command away from the sources; return what it prints."""
    hidden = {"PYTHONPATH", "VIRTUAL_ENV"}
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def binaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the programs of a fresh environment with both wheels."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "-w", folder, ROOT, MODEL, cwd=folder)
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    binaries = folder / "venv" / "bin"
    own_pip = (binaries / "python", *pip[1:])
    wheels = sorted(folder.glob("*.whl"))
    run(*own_pip, "install", "-c", ROOT / "constraints.txt", *wheels, cwd=folder)
    return binaries


def test_nothing_needs_torch(binaries: Path, tmp_path: Path) -> None:
    code = (
        "import importlib.util as u, labelwise, labelwise.tagger;"
        "print([n for n in ('torch', 'transformers', 'onnx') if u.find_spec(n)])"
    )
    assert run(binaries / "python", "-c", code, cwd=tmp_path).strip() == "[]"


def test_predict_fit_labels_and_demo(binaries: Path, tmp_path: Path) -> None:
    labelwise = binaries / "labelwise"
    text = "Ada Lovelace moved to London in 1835."
    asked = ("--labels", "person,city", "--json")
    [line] = run(labelwise, "predict", "--text", text, *asked, cwd=tmp_path).splitlines()
    found = {e["text"]: e["label"] for e in json.loads(line)["entities"]}
    assert found == {"Ada Lovelace": "person", "London": "city"}
    assert "person" in run(labelwise, "labels", "--labels", "PER", cwd=tmp_path)
    code = "from labelwise.sample_data import sample_path; print(sample_path('support'))"
    data = run(binaries / "python", "-c", code, cwd=tmp_path).strip()
    run(labelwise, "fit", "--data", data, "-o", "fitted", cwd=tmp_path)
    scored = run(labelwise, "evaluate", "--model", "fitted", "--data", data, "--json", cwd=tmp_path)
    assert json.loads(scored)["micro_f1"] > 0.3
    assert "person" in run(labelwise, "demo", cwd=tmp_path)
