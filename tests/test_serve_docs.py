"""The examples of docs/server.md run as they stand."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from labelwise.serve.shared import DESCRIPTIONS
from labelwise.tagger import Tagger
from serving import live

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "server.md").read_text(encoding="utf-8")


def test_the_examples_run_as_they_stand(tmp_path: Path) -> None:
    bash, curl = shutil.which("bash"), shutil.which("curl")
    if bash is None or curl is None:
        pytest.skip("The examples need bash and curl.")
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    is_default = importlib.util.find_spec("labelwise_mini_en") is not None
    with live(Tagger.from_pretrained() if is_default else None) as (host, port):
        script = "\n".join(blocks).replace("127.0.0.1:8000", f"{host}:{port}")
        (tmp_path / "python").symlink_to(sys.executable)
        start = f'set -euo pipefail; PATH="{tmp_path}:$PATH"; curl() {{ "{curl}" -sSf "$@"; }}\n'
        done = subprocess.run([bash, "-c", start + script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for word in ('"results"', '"ls-', '"UP"', '"ready"', "labelwise_requests_total", '"paths"'):
        assert word in done.stdout
    if is_default:
        shown, printed = _predicted(PAGE), _predicted(done.stdout)
        for entity in (e for a in shown for r in a["results"] for e in r["entities"]):
            entity["score"] = pytest.approx(entity["score"], abs=0.01)  # machines round differently
        assert len(shown) == 2
        assert printed == shown


def _predicted(text: str) -> list[Any]:
    """Read the answers of /v1/predict in a text."""
    starts = [match.start() for match in re.finditer(r'\{"results": ?\[\{"ent', text)]
    return [json.JSONDecoder().raw_decode(text[start:])[0] for start in starts]


def test_the_page_tells_every_status_and_promise() -> None:
    told = set(re.findall(r"\d{3}", " ".join(re.findall(r"^\| (\d.*?) \|", PAGE, re.MULTILINE))))
    assert told == set(map(str, DESCRIPTIONS))
    tests = "".join(
        p.read_text(encoding="utf-8") for p in Path(__file__).parent.glob("test_serve_*")
    )
    for number in range(1, 16):
        assert f"| P{number} |" in PAGE
        assert f"def test_p{number}_" in tests
