"""The choice of precision: flags first, then an earlier answer, then a measurement."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from builders import tiny_backend
from labelwise.checkpoint import verify
from labelwise.exports import onnx_backends
from labelwise.labels import LabelSet
from labelwise.loading import load_model, save_model
from labelwise.onnx_export import export_towers
from labelwise.precision import (
    CACHE_VARIABLE,
    EXACT,
    TEXT_GRAPH,
    Processor,
    answers_path,
    faster_precision,
    measure_in_turns,
    usable_cores,
)
from labelwise.tagger import Tagger

OLD = Processor("Old", frozenset({"sse2", "avx2"}))
INTEL = "processor\t: 0\nmodel name\t: Xeon\nflags\t\t: fpu avx512_vnni\n\nmodel name\t: other\n"
ARM = "processor\t: 0\nBogoMIPS\t: 50.0\nFeatures\t: fp asimd asimddp\nCPU part\t: 0xd0c\n"


class Measured:
    """A measurement that counts how often it is asked for."""

    def __init__(self, int8: float, fp32: float) -> None:
        self.seconds = {"int8": int8, "fp32": fp32}
        self.calls = 0

    def __call__(self) -> dict[str, float]:
        self.calls += 1
        return self.seconds


def never() -> dict[str, float]:
    raise AssertionError("nothing should be measured")


@pytest.mark.parametrize("flag", ["avx512_vnni", "avx_vnni", "amx_int8", "asimddp"])
def test_a_dot_product_of_bytes_decides_without_a_measurement(flag: str, tmp_path: Path) -> None:
    new = Processor("New", frozenset({"sse2", flag}))
    answers = tmp_path / "answers.json"
    assert faster_precision("model", never, processor=new, answers=answers) == "int8"
    assert not answers.exists()


@pytest.mark.parametrize(
    ("int8", "fp32", "chosen"), [(0.5, 1.0, "int8"), (0.97, 1.0, "fp32"), (1.4, 1.0, "fp32")]
)
def test_int8_must_be_worth_its_rounding(
    int8: float, fp32: float, chosen: str, tmp_path: Path
) -> None:
    measured = Measured(int8, fp32)
    answers = tmp_path / "new" / "answers.json"
    assert faster_precision("model", measured, processor=OLD, answers=answers) == chosen
    assert faster_precision("model", never, processor=OLD, answers=answers) == chosen


def test_an_answer_holds_for_one_processor_and_one_model(tmp_path: Path) -> None:
    answers, measured = tmp_path / "answers.json", Measured(1.0, 0.5)
    for _ in range(2):
        for name in ("Old", "Older"):
            for key in ("model a", "model b"):
                processor = Processor(name, frozenset())
                faster_precision(key, measured, processor=processor, answers=answers)
    assert measured.calls == 4


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"Old, model": 3}',
        b'{"Old, model": "int4"}',
        b"\xff\xfe",
        b"{}" * 50_000,
    ],
    ids=["empty", "cut", "list", "number", "unknown", "binary", "huge"],
)  # fmt: skip
def test_a_damaged_file_of_answers_is_written_anew(content: bytes, tmp_path: Path) -> None:
    answers, measured = tmp_path / "answers.json", Measured(1.0, 0.5)
    answers.write_bytes(content)
    assert faster_precision("model", measured, processor=OLD, answers=answers) == "fp32"
    assert json.loads(answers.read_text()) == {"Old, model": "fp32"}


def test_an_answer_that_cannot_be_kept_is_given_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    measured, answers = Measured(0.5, 1.0), tmp_path / "file" / "answers.json"
    for _ in range(2):
        assert faster_precision("model", measured, processor=OLD, answers=answers) == "int8"
    assert measured.calls == 2


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    answers = tmp_path / "answers.json"
    assert faster_precision("model", Measured(0.5, 1.0), processor=OLD, answers=answers) == "int8"


def test_the_file_of_answers_stays_small(tmp_path: Path) -> None:
    answers = tmp_path / "answers.json"
    for i in range(80):
        faster_precision(f"model {i}", Measured(0.5, 1.0), processor=OLD, answers=answers)
    kept = json.loads(answers.read_text())
    assert len(kept) == 64
    assert "Old, model 79" in kept


def test_the_best_of_some_turns_counts() -> None:
    clock: Iterator[float] = iter([0, 3, 3, 4, 4, 6, 6, 11, 11, 16, 16, 17])
    order: list[str] = []
    runs = {name: lambda name=name: order.append(name) for name in ("int8", "fp32")}
    assert measure_in_turns(runs, lambda: next(clock)) == {"int8": 2, "fp32": 1}
    assert order == ["int8", "fp32"] * 4


def test_flags_are_read_as_linux_writes_them() -> None:
    assert Processor.parse(INTEL) == Processor("Xeon", frozenset({"fpu", "avx512_vnni"}))
    assert Processor.parse(ARM) == Processor("0xd0c", frozenset({"fp", "asimd", "asimddp"}))
    assert not Processor.parse("").flags
    assert Processor.here().name


@pytest.mark.parametrize(
    ("flags", "bytes_", "bf16"),
    [("avx2", False, False), ("avx512_vnni", True, False), ("amx_bf16 amx_int8", True, True)],
)
def test_flags_say_which_products_are_fast(flags: str, bytes_: bool, bf16: bool) -> None:
    processor = Processor("any", frozenset(flags.split()))
    assert (processor.multiplies_bytes, processor.multiplies_bf16) == (bytes_, bf16)


def test_answers_lie_where_the_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, "/some/where")
    assert answers_path() == Path("/some/where/precision.json")
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.setenv("HOME", "/home/ada")
    assert answers_path() == Path("/home/ada/.cache/labelwise/precision.json")


def test_a_folder_of_both_runs_what_is_faster_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(Processor, "here", lambda: OLD)
    backend, labels = tiny_backend(), LabelSet.parse(["person", "city"])
    graphs = export_towers(backend, "auto")
    folder = tmp_path / "model"
    save_model(folder, backend, labels, extra_files=graphs)
    assert EXACT[TEXT_GRAPH] in verify(folder).files
    digests = {
        p: b.digest for p, b in zip(("int8", "fp32"), onnx_backends(graphs, backend), strict=True)
    }

    assert load_model(folder).backend.digest in digests.values()
    (key,) = json.loads((tmp_path / "precision.json").read_text())
    for precision, digest in digests.items():
        (tmp_path / "precision.json").write_text(json.dumps({key: precision}))
        loaded = load_model(folder)
        assert loaded.backend.digest == digest
        assert loaded.label_vectors, "the vectors of both precisions are saved"
        Tagger.from_pretrained(folder).save_pretrained(tmp_path / "again")
        assert load_model(tmp_path / "again").backend.digest == digest


# How many cores there are


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "?"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "0\n"}, 8),
        ({"cpu.max": "900000 100000\n"}, 8),
        ({}, 8),
    ],
)
def test_no_more_cores_are_used_than_a_container_grants(
    files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert usable_cores(tmp_path) == cores
