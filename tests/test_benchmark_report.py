"""Reports are made of cells alone."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from labelwise.benchmark.cells import Cell
from labelwise.benchmark.plots import f1_over_shots, page
from labelwise.benchmark.report import bootstrap_difference, markdown, summarise
from labelwise.benchmark.spec import Spec

SPEC = Spec.from_dict({"sources": ["a"], "targets": ["t/wnut17"], "shots": [1]})


def result(f1: float, counts: list[list[int]]) -> dict:
    return {
        "scores": {"micro_f1": f1}, "errors": {"missed": 1}, "counts": counts,
        "support": {"n_sentences": 2}, "label_words": {"PER": "person"}, "label_overlap": ["PER"],
    }  # fmt: skip


def test_no_difference_has_an_interval_of_nothing() -> None:
    counts = np.random.default_rng(0).integers(0, 3, (2, 50, 3))
    assert bootstrap_difference(counts, counts, draws=20) == (0.0, 0.0)


def test_a_method_that_is_right_everywhere_leads_one_that_never_is() -> None:
    right, wrong = [[[1, 1, 1]] * 20], [[[0, 1, 1]] * 20]
    assert bootstrap_difference(right, wrong, draws=20) == (1.0, 1.0)


def test_report_has_means_the_papers_numbers_leads_and_skips() -> None:
    results = {
        Cell("t/wnut17", "towers", "1", 0, "names"): result(0.5, [[1, 1, 1]] * 4),
        Cell("t/wnut17", "towers", "1", 1, "names"): result(0.7, [[1, 1, 1]] * 4),
        Cell("t/wnut17", "nnshot", "1", 0, "names"): result(0.2, [[0, 1, 1]] * 4),
        Cell("t/wnut17", "nnshot", "1", 1, "names"): result(0.4, [[0, 1, 1]] * 4),
        Cell("t/wnut17", "instant", "1", 0, "names"): {"skipped": "no train split"},
    }
    summary = summarise(SPEC, results)
    text = markdown(summary)
    assert "| towers | names | 60.0 ± 14.1 [38.3] |" in text
    assert "| towers | 1 | nnshot | +30.0 | +100.0 to +100.0 |" in text
    assert "no train split" in text
    assert "sources use too: PER." in text
    assert summary["rows"][0]["f1"] == pytest.approx(0.6)


def test_plots_are_well_formed_and_the_page_links_to_nothing() -> None:
    rows = [{"method": "towers", "shots": s, "f1": 0.9, "sd": 0.2} for s in ("full", "0", "5")] + [
        {"method": "a<b", "shots": "5", "f1": 0.1, "sd": 0.0}
    ]
    plot = f1_over_shots("t & u", rows)
    assert len(ET.fromstring(plot).findall("{*}polyline")) == 2
    assert "href" not in page("| a |", {"p": plot})
