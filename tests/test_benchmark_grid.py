"""A whole benchmark on the sample corpus, with a tiny encoder."""

import os
from pathlib import Path
from typing import Any

import pytest

from builders import tiny_encoder_folder
from labelwise.benchmark.cells import Cell, cells_of
from labelwise.benchmark.grid import run_benchmark
from labelwise.benchmark.spec import Spec

METHODS = ["towers", "instant", "linear_head", "double_town", "prototype", "nnshot", "structshot"]


def small_spec(tmp_path: Path, **changes: Any) -> Spec:
    values = {
        "sources": ["sample:contracts"], "targets": ["sample:support"], "shots": [0, 1, 10_000],
        "support_sets": 1, "methods": METHODS, "variants": ["names", "meaningless"],
        "encoder": str(tiny_encoder_folder(tmp_path)),
        "pretrain": {"max_steps": 2, "precision": "fp32"},
        "finetune": {"max_steps": 2, "min_steps": 1, "precision": "fp32"},
    }  # fmt: skip
    return Spec.from_dict(values | changes)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Spec:
    return small_spec(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def whole(spec: Spec, tmp_path_factory: pytest.TempPathFactory) -> dict[Cell, Any]:
    store = run_benchmark(spec, tmp_path_factory.mktemp("whole"))
    return {cell: store.read(cell) for cell in cells_of(spec)}


def test_every_cell_has_a_score_or_a_reason(whole: dict[Cell, Any]) -> None:
    for cell, result in whole.items():
        if cell.shots == "10000":
            assert "10000" in result["skipped"] or "10,000" in result["skipped"]
        else:
            assert 0 <= result["scores"]["micro_f1"] <= 1
            assert sum(c[2] for c in result["counts"]) == result["scores"]["n_gold"]


def test_methods_share_support_sets(whole: dict[Cell, Any]) -> None:
    digests = {r["support"]["digest"] for c, r in whole.items() if c.shots == "1"}
    assert len(digests) == 1
    assert digests != {""}


def test_a_run_cut_off_and_damaged_ends_like_a_whole_one(
    spec: Spec, whole: dict[Cell, Any], tmp_path: Path
) -> None:
    def cut_off(done: int, *_: object) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_benchmark(spec, tmp_path, on_cell=cut_off)
    cells = sorted((tmp_path / "cells").iterdir())
    cells[0].write_text("{", encoding="utf-8")
    times = {p: os.stat(p).st_mtime_ns for p in cells[1:]}
    store = run_benchmark(spec, tmp_path)
    assert {cell: store.read(cell) for cell in cells_of(spec)} == whole
    assert {p: os.stat(p).st_mtime_ns for p in times} == times
