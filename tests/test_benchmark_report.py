"""Reports are made of cells alone."""

import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelwise.benchmark.cells import Cell, CellStore
from labelwise.benchmark.document import (
    Heading,
    Items,
    Paragraph,
    Plot,
    Table,
    to_markdown,
    to_page,
)
from labelwise.benchmark.plots import Curve, curves, error_bars
from labelwise.benchmark.report import END, START, report_blocks, write_report
from labelwise.benchmark.spec import Spec
from labelwise.benchmark.summary import bootstrap_difference, summarise
from labelwise.benchmark.tables import published
from labelwise.errors import DataError

SPEC = Spec.from_dict(
    {
        "sources": ["a"], "targets": ["t/wnut17"], "shots": [0, 1], "support_sets": 2,
        "methods": ["towers", "nnshot", "instant"], "variants": ["names", "swapped"],
    }
)  # fmt: skip
MACHINE = {
    "labelwise": "1", "commit": "abc", "sampler": 1, "python": "3", "packages": {"numpy": "2"},
    "processor": "a processor", "cores": 2, "device": "cpu",
}  # fmt: skip


def result(f1: float, counts: list[list[int]], seed: int = 0) -> dict[str, Any]:
    label = {"n_gold": 10, "n_predicted": 10, "n_correct": round(10 * f1)}
    other = {"n_gold": 10, "n_predicted": 0, "n_correct": 0}
    return {
        "scores": {"micro_f1": f1, "per_label": {"PER": label, "LOC": other}},
        "errors": {"missed": 3, "boundary": 1}, "counts": counts, "support": {"n_sentences": 2},
        "label_words": {"PER": "person", "LOC": "place"}, "label_overlap": ["PER"],
"shared_sentences": {"a": 3}, "n_in_train": 2, "machine": MACHINE, "seed": seed,
    }  # fmt: skip


RIGHT, WRONG = [[1, 1, 1]] * 4, [[0, 1, 1]] * 4
RESULTS = {
    Cell("t/wnut17", "towers", "0", 0, "names"): result(0.3, RIGHT),
    Cell("t/wnut17", "towers", "1", 0, "names"): result(0.5, RIGHT),
    Cell("t/wnut17", "towers", "1", 1, "names"): result(0.7, RIGHT, 1),
    Cell("t/wnut17", "towers", "1", 0, "swapped"): result(0.1, RIGHT),
    Cell("t/wnut17", "nnshot", "1", 0, "names"): result(0.2, WRONG),
    Cell("t/wnut17", "nnshot", "1", 1, "names"): result(0.4, WRONG, 1),
    Cell("t/wnut17", "instant", "1", 0, "names"): {"skipped": "no train split"},
}


@pytest.fixture(scope="module")
def text() -> str:
    blocks, _ = report_blocks(summarise(SPEC, RESULTS))
    return to_markdown(blocks)


def test_no_difference_has_an_interval_of_nothing() -> None:
    counts = np.random.default_rng(0).integers(0, 3, (2, 50, 3))
    assert bootstrap_difference(counts, counts, draws=20) == (0.0, 0.0)


def test_a_method_that_is_right_everywhere_leads_one_that_never_is() -> None:
    right, wrong = [[[1, 1, 1]] * 20], [[[0, 1, 1]] * 20]
    assert bootstrap_difference(right, wrong, draws=20) == (1.0, 1.0)


@pytest.mark.parametrize(
    "expected",
    [
        "| label semantics | 30.0 | 60.0 ± 14.1 [38.3] |",  # the paper's number beside ours
        "| label semantics - NNShot | +30.0 (+100.0 to +100.0) |",
        "Labels whose words the sources use too: PER. New: LOC.",
        "Scored sentences that the sources train on too: 3 of 4 (a). Numbers after a source stage",
        "2 of the 4 scored sentences are in the target's own train split too",
        "| label semantics | 30.0 / 0.0 | 60.0 / 0.0 |",  # known and new labels
        "| PER* | 60.0 | 30.0 |",
        "| label semantics: swapped |  | 10.0 |",
        "| wnut17 | 2.0 [13.4] |",  # sentences of a support set
        "no train split: 1 cell (wnut17, instant fit, 1 shot, set 0)",
        "commit abc",
        "nowhere",  # where the towers are behind
        "ncbi_disease: label semantics, separate",
    ],
)
def test_report_tells(text: str, expected: str) -> None:
    assert expected in text


@pytest.mark.parametrize(
    ("shared", "expected"), [({"shared_sentences": {}}, "train on too: none.\n"), ({}, "")]
)
def test_a_report_without_shared_sentences_says_so_if_it_knows(
    shared: dict[str, Any], expected: str
) -> None:
    cell, found = Cell("t/wnut17", "towers", "1", 0, "names"), result(0.5, RIGHT)
    del found["shared_sentences"]
    blocks, _ = report_blocks(summarise(SPEC, {cell: found | shared}))
    written = to_markdown(blocks)
    assert expected in written
    assert ("train on too" in written) == bool(expected)
    assert "too high" not in written


def test_a_rival_that_leads_is_named() -> None:
    ours, theirs = (
        Cell("t/wnut17", "towers", "5", 0, "names"),
        Cell("t/wnut17", "nnshot", "5", 0, "names"),
    )
    blocks, _ = report_blocks(
        summarise(SPEC, {ours: result(0.2, WRONG), theirs: result(0.4, RIGHT)})
    )
    assert "wnut17, 5 shot: behind NNShot, -20.0 (-100.0 to -100.0)" in to_markdown(blocks)


def test_a_report_claims_no_lead_where_nothing_was_compared(text: str) -> None:
    assert "Where label semantics does not surely lead at 1 shot:" in text
    assert "Where instant fit" not in text
    alone = {
        Cell("t/wnut17", method, shots, 0, "names"): result(0.5, RIGHT)
        for method, shots in (("towers", "0"), ("instant", "1"))
    }
    blocks, _ = report_blocks(summarise(SPEC, alone))
    assert "surely lead" not in to_markdown(blocks)


def test_brackets_are_explained_only_where_there_are_some(text: str) -> None:
    assert text.count("In brackets the paper's") == 2
    spec = Spec.from_dict({"sources": ["s"], "targets": ["mine"], "methods": ["towers"]})
    cell = Cell("mine", "towers", "1", 0, "names")
    blocks, _ = report_blocks(summarise(spec, {cell: result(0.5, RIGHT)}))
    assert "In brackets" not in to_markdown(blocks)


def test_ablations_are_compared_on_the_support_sets_that_all_have(text: str) -> None:
    assert "| label semantics: names | 30.0 | 50.0 |" in text  # the first of two sets


def _ablations(**f1: dict[int, float]) -> tuple[str, dict[str, str]]:
    """Report on variants of the towers at 5 shots, from the F1 of each by support set."""
    cells = {
        Cell("t/wnut17", "towers", "5", i, variant): result(score, RIGHT, i)
        for variant, scores in f1.items()
        for i, score in scores.items()
    }
    blocks, plots = report_blocks(summarise(SPEC, cells))
    return to_markdown(blocks), plots


def test_ablations_compare_the_same_sets_where_each_lacks_another() -> None:
    text, _ = _ablations(names={0: 0.1, 1: 0.5, 2: 0.7}, swapped={1: 0.2, 2: 0.4, 3: 0.9})
    assert "| label semantics: names | 60.0 |" in text
    assert "| label semantics: swapped | 30.0 |" in text


def test_ablations_without_a_common_set_are_not_compared() -> None:
    text, _ = _ablations(names={0: 0.1}, swapped={1: 0.2})
    assert "what the label words do" not in text


def test_ablations_deviate_as_the_compared_sets_do() -> None:
    """A band is two standard deviations high."""
    _, plots = _ablations(names={0: 0.1, 1: 0.5, 2: 0.7}, swapped={1: 0.5, 2: 0.7})
    expected = curves("", [Curve(name, [("5", 0.6, 0.02**0.5)]) for name in ("names", "swapped")])
    assert _bands(plots["wnut17-labels-towers.svg"]) == _bands(expected)


def _bands(svg: str) -> list[str | None]:
    return [x.get("points") for x in ET.fromstring(svg).findall("{*}polygon")]


def test_targets_of_one_name_have_plots_of_their_own() -> None:
    names = ["a/mine", "b/mine"]
    spec = Spec.from_dict({"sources": ["s"], "targets": names, "methods": ["towers"]})
    cells = {Cell(t, "towers", "1", 0, "names"): result(0.5, RIGHT) for t in names}
    _, plots = report_blocks(summarise(spec, cells))
    assert {"a-mine-f1.svg", "b-mine-f1.svg"} <= plots.keys()


def test_a_run_that_is_not_finished_says_so() -> None:
    blocks, _ = report_blocks(summarise(SPEC, RESULTS, n_cells=len(RESULTS) + 3))
    assert "3 cells are missing" in to_markdown(blocks)


def test_a_report_says_how_long_it_took() -> None:
    seconds = {"source stages": 600.0, "cells": 2400.0}
    blocks, _ = report_blocks(summarise(SPEC, RESULTS, seconds=seconds))
    assert "Computed in 50 min, summed over processes: source stages 10 min, cells 40 min." in (
        to_markdown(blocks)
    )


def test_every_number_of_the_papers_tables_has_its_shots() -> None:
    paper = published()
    for data in ("conll2003", "wnut17", "jnlpba", "ncbi_disease", "i2b2_2014"):
        assert {len(v) for v in paper["table1"][data].values()} <= {4, 5}
        assert len(paper["table4"][data]) == len(paper["support_sentences"][data]) == 4


def test_plots_are_well_formed_and_hold_what_is_drawn() -> None:
    lines = [
        Curve("a < b", [("0", 0.1, 0.0), ("5", 0.9, 0.2), ("full", 0.95, 0.0)]),
        Curve("c", [("5", 0.1, 0.05)]),
    ]
    root = ET.fromstring(curves("t & u", lines))
    assert len(root.findall("{*}polyline")) == 2
    assert any("a < b" in (t.text or "") for t in root.iter("{http://www.w3.org/2000/svg}text"))
    bars = ET.fromstring(error_bars("t", {"m": {"missed": 3.0, "spurious": 1.0}}))
    widths = [float(r.get("width", "0").rstrip("%")) for r in bars.findall("{*}rect")][6:]
    assert sum(widths) == pytest.approx(430)
    assert widths[3] * 3 == pytest.approx(widths[4], abs=0.2)  # spurious, missed


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags, self.links, self.open = [], [], []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("href", "src")]
        if tag in ("table", "figure", "svg", "ul"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("table", "figure", "svg", "ul"):
            assert self.open.pop() == tag


def test_the_page_is_whole_and_links_to_nothing() -> None:
    table = Table(["h", "i"], [["<b>", "1"]])
    blocks = [
        Heading("x <y>", 1), Paragraph("a & b"), Items(["c"]), table, Plot("p.svg", 'a "plot"')
    ]  # fmt: skip
    page = _Page()
    page.feed(to_page(blocks, {"p.svg": curves("t", [Curve("m", [("1", 0.5, 0.0)])])}))
    assert {"table", "svg", "ul", "h1"} <= set(page.tags)
    assert page.links == []
    assert page.open == []


def store_of(tmp_path: Path) -> CellStore:
    store = CellStore(tmp_path / "run", SPEC)
    for cell, found in RESULTS.items():
        store.write(cell, found)
    return store


def test_a_report_goes_between_the_markers_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "results.md"
    page.parent.mkdir()
    page.write_text(f"by hand\n\n{START}\nold\n{END}\n\nmore by hand\n", encoding="utf-8")
    write_report(store_of(tmp_path), SPEC, into=page)
    once = page.read_text(encoding="utf-8")
    assert once.startswith("by hand\n")
    assert once.endswith("more by hand\n")
    assert "\nold\n" not in once
    for name in ("wnut17-f1", "wnut17-errors", "wnut17-labels-towers"):
        assert f"(img/benchmark/{name}.svg)" in once
        assert (page.parent / "img" / "benchmark" / f"{name}.svg").is_file()
    write_report(store_of(tmp_path), SPEC, into=page)
    assert page.read_text(encoding="utf-8") == once


@pytest.mark.parametrize("content", ["", END + START, START + END + END])
def test_a_page_without_its_markers_is_left_alone(tmp_path: Path, content: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"page\.md.*Add them"):
        write_report(store_of(tmp_path), SPEC, into=page)
    assert page.read_text(encoding="utf-8") == content
