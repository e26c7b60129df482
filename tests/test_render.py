"""What people see: every character of the text, entities marked, nothing a terminal would obey."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from labelwise.annotation import Record
from labelwise.apps.output import json_line, printable
from labelwise.apps.progress import summary, training_progress
from labelwise.apps.render import count_table, highlight, label_table, score_table
from labelwise.labels import LabelSet
from labelwise.metrics import LabelScores, Scores
from labelwise.training import Progress


def _record(text: str, start: int, end: int, label: str = "person") -> Record:
    return Record(text=text[start:end], label=label, start=start, end=end, score=0.9)


def _printed(item: object, **options: object) -> str:
    stream = io.StringIO()
    Console(file=stream, width=100, highlight=False, **options).print(item)  # type: ignore[arg-type]
    return stream.getvalue()


def test_entities_stand_in_brackets_without_colours() -> None:
    text = "Ada lives in Oslo"
    records = [_record(text, 0, 3), _record(text, 13, 17, "city")]
    shown = highlight(text, records, ["person", "city"], coloured=False)
    assert shown.plain == "[Ada](person) lives in [Oslo](city)"


def test_labels_get_different_colours() -> None:
    text = "Ada Oslo"
    records = [_record(text, 0, 3), _record(text, 4, 8, "city")]
    styles = {str(span.style) for span in highlight(text, records, ["person", "city"]).spans}
    assert {"bold black on cyan", "bold black on yellow"} <= styles


def test_markup_in_texts_is_shown_as_it_is() -> None:
    assert "[bold]x[/bold]" in _printed(highlight("[bold]x[/bold]", [], []))


@given(st.text(max_size=40))
def test_no_control_character_reaches_the_terminal(text: str) -> None:
    shown = printable(text)
    assert len(shown) == len(text)
    assert all(c in "\n\t" or not (c < " " or "\x7f" <= c <= "\x9f") for c in shown)


@given(st.dictionaries(st.text(), st.text()))
def test_a_json_line_is_one_line_of_utf8_and_reads_back(value: dict[str, str]) -> None:
    import json

    line = json_line(value)
    assert "\n" not in line
    line.encode()
    assert json.loads(line) == value


def test_the_score_table_ends_with_all_labels() -> None:
    shown = _printed(score_table(Scores({"person": LabelScores(4, 2, 1)})))
    assert shown.splitlines()[-1].split() == ["all", "50.0", "25.0", "33.3", "4", "2"]


def test_the_label_table_shows_what_each_tag_reads_as() -> None:
    labels = LabelSet.parse({"PER": {"words": "person", "description": "A name."}})
    rows = [line.split() for line in _printed(label_table(labels, "bio")).splitlines()]
    assert ["B-PER", "begin", "person", "A", "name."] in rows
    assert ["O", "other"] in rows


def test_the_count_table_lists_every_label() -> None:
    assert _printed(count_table({"a": 1, "b": 2})).split() == [
        "label",
        "mentions",
        "a",
        "1",
        "b",
        "2",
    ]


def _progress(elapsed_s: float, *, done: float = 0.5, dev_f1: float | None = None) -> Progress:
    return Progress(3, done, 0.25, 0.5, dev_f1, 1234.0, elapsed_s, 61.0, 1e-4)


def test_the_summary_has_loss_scores_speed_and_time_left() -> None:
    assert summary(_progress(1)) == "loss 0.250  train F1 50.0  1,234 pieces/s  1:01 left"
    assert "dev F1 40.0" in summary(_progress(1, dev_f1=0.4))


def test_progress_off_a_terminal_is_a_line_every_ten_seconds() -> None:
    stream = io.StringIO()
    with training_progress(Console(file=stream, width=120)) as show:
        for elapsed_s in (0.0, 5.0, 9.9, 10.0, 15.0, 20.0):
            show(_progress(elapsed_s))
        show(_progress(21.0, done=1.0))
    assert len(stream.getvalue().splitlines()) == 4


@pytest.mark.parametrize("is_coloured", [True, False])
def test_progress_on_a_terminal_is_a_bar(is_coloured: bool) -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=120, force_terminal=True, no_color=not is_coloured)
    with training_progress(console) as show:
        show(_progress(1.0))
    assert "loss 0.250" in stream.getvalue()
