"""What people drop on the studio becomes texts, or a sentence that says why not."""

from __future__ import annotations

import json
import time
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwise.errors import DataError, LabelwiseError
from labelwise.studio.imports import Form, parse
from labelwise.studio.nouns import MAX_CHARACTERS

TASK = {
    "data": {"text": "Ada 😀 lives in Oslo"},
    "annotations": [
        {"was_cancelled": True, "result": []},
        {
            "result": [
                {"type": "labels", "value": {"start": 0, "end": 3, "text": "Ada", "labels": ["P"]}},
                # their page counts UTF-16 units: the face is two
                {
                    "type": "labels",
                    "value": {"start": 16, "end": 20, "text": "Oslo", "labels": ["C"]},
                },
                {"type": "relation", "from_id": "a", "to_id": "b"},
            ]
        },
    ],
}


def test_ends_that_seem_inclusive_are_told_of() -> None:
    row = {"text": "Ada left", "entities": [{"start": 0, "end": 2, "label": "P"}]}
    found = parse("a.jsonl", json.dumps(row))
    assert "'Ad' in 'Ada' (a.jsonl:1); 1 would be whole words" in found.remark
    assert parse("a.json", json.dumps([TASK])).remark == ""


@pytest.mark.parametrize(
    ("name", "content", "form", "texts"),
    [
        ("pasted", "one\n\ntwo\r\n", "lines", ["one", "two"]),
        ("a.txt", "one\ntwo", "lines", ["one", "two"]),
        (
            "a.jsonl",
            '{"text": "one"}\n{"tokens": ["two", "words"]}\n',
            "jsonl",
            ["one", "two words"],
        ),
        ("pasted", '{"text": "one"}\n{"text": "two"}', "jsonl", ["one", "two"]),
        ("a.csv", "id,body\n1,one\n2,two\n", "csv", ["one", "two"]),
        ("a.csv", 'a;b\n1;"long; text"\n', "csv", ["long; text"]),
        ("a.tsv", "a\ttext\n1\tone\n", "csv", ["one"]),
        ("a.conll", "Ada\tB-P\nhere\tO\n\nOslo\tB-C\n", "conll", ["Ada here", "Oslo"]),
        ("pasted", "Ada B-P\nhere O\n", "conll", ["Ada here"]),
        ("pasted", "one more TO\nJUST SAY HELLO\n", "lines", ["one more TO", "JUST SAY HELLO"]),
        ("a.json", json.dumps([TASK]), "label-studio", ["Ada 😀 lives in Oslo"]),
        ("pasted", '["one", "two"]', "label-studio", ["one", "two"]),
        ("\ufeffa.txt", "\ufeffone", "lines", ["one"]),
    ],
)
def test_the_form_follows_from_name_and_content(
    name: str, content: str, form: str, texts: list[str]
) -> None:
    found = parse(name, content)
    assert (found.form, [t.text for t in found.texts]) == (form, texts)


def test_paragraphs_keep_their_lines() -> None:
    found = parse("a.txt", "one\ntwo\n\n\nthree\n", "paragraphs")
    assert [(t.text, t.source) for t in found.texts] == [
        ("one\ntwo", "a.txt:1"),
        ("three", "a.txt:5"),
    ]


def test_annotations_come_along() -> None:
    row = {"text": "Ada 😀 Oslo", "entities": [{"start": 6, "end": 10, "label": "city"}]}
    found = parse("a.jsonl", json.dumps(row) + '\n{"text": "plain"}')
    assert [t.spans for t in found.texts] == [((6, 10, "city"),), None]
    assert (found.n_annotated, found.labels) == (1, ("city",))


def test_label_studio_offsets_count_utf16_units_or_code_points() -> None:
    (text,) = parse("a.json", json.dumps([TASK])).texts
    assert text.spans == ((0, 3, "P"), (15, 19, "C"))
    inner = TASK["annotations"][1]["result"][1]["value"]  # type: ignore[index]
    as_points = {**inner, "start": 15, "end": 19}
    task = {"text": TASK["data"]["text"], "label": [as_points]}  # type: ignore[index]
    assert parse("min.json", json.dumps([task])).texts[0].spans == ((15, 19, "C"),)


def test_lists_of_other_tools_bring_their_annotations() -> None:
    items: list[object] = [
        {"tokenized_text": ["Ada", "left"], "ner": [[0, 0, "P"]]},
        ["Ada left", {"entities": [[0, 3, "P"]]}],
        {"text": "Ada left", "entities": []},
        {"text": "Ada left"},
        "Ada left",
    ]
    found = parse("a.json", json.dumps(items)).texts
    assert [t.text for t in found] == ["Ada left"] * 5
    assert [t.spans for t in found] == [((0, 3, "P"),), ((0, 3, "P"),), (), None, None]


def test_of_overlapping_annotations_the_longer_is_kept_and_the_loss_is_told() -> None:
    results = [
        {"value": {"start": 0, "end": 3, "labels": ["a"]}},
        {"value": {"start": 0, "end": 7, "labels": ["b"]}},
    ]
    task = {"data": {"text": "one two"}, "annotations": [{"result": results}]}
    found = parse("a.json", json.dumps([task]))
    assert (found.texts[0].spans, found.n_overlapping) == (((0, 7, "b"),), 1)


def test_a_csv_column_can_be_chosen() -> None:
    content = "text,title\nlong text,short\n"
    assert parse("a.csv", content).column == "text"
    assert parse("a.csv", content, column="title").texts[0].text == "short"
    with pytest.raises(DataError, match="has no column 'none'"):
        parse("a.csv", content, column="none")


def test_annotations_of_doccano_are_taken_and_classes_of_texts_are_not() -> None:
    rows = [{"text": "Ada left", "label": [[0, 3, "P"]]}, {"text": "Fine.", "label": ["good"]}]
    found = parse("all.jsonl", "\n".join(map(json.dumps, rows)))
    assert [text.spans for text in found.texts] == [((0, 3, "P"),), None]


def test_csv_rows_that_do_not_fit_the_columns_are_left_out_and_told_of() -> None:
    content = 'text,id\nAda left, and Bob stayed,1\nBob\n"Ada, too",2\n"Eve\nCarl,3\n'
    found = parse("a.csv", content)
    assert [(t.text, t.source) for t in found.texts] == [
        ("Ada, too", "a.csv:4"),
        ("Carl", "a.csv:6"),
    ]
    assert found.remark.startswith("Rows left out: 3. The first: The row has 3 columns (a.csv:2).")
    assert parse("a.csv", "text,id\nAda,1\n").remark == ""


def test_lines_of_csv_rows_are_counted_as_in_the_file() -> None:
    content = 'text;id\r\n"Ada\r\nleft";1\r\n\r\nBob;2\r\n'
    assert [t.source for t in parse("a.csv", content).texts] == ["a.csv:2", "a.csv:5"]


def test_columns_of_tsv_have_tabs_between_them() -> None:
    found = parse("a.TSV", "text\ta,b,c\nAda, Bob and Eve\t1\n")
    assert (found.columns, found.texts[0].text) == (("text", "a,b,c"), "Ada, Bob and Eve")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.zip", "PK\x03\x04rest", "is an archive or a binary file"),
        ("a.gz", "\x1f\x8b\x08", "is an archive or a binary file"),
        ("a.pdf", "%PDF-1.7", "is an archive or a binary file"),
        ("a.db", "SQLite format 3\x00", "is an archive or a binary file"),
        ("a.json", "[" * 100_000, "is not JSON"),
        ("a.json", '[{"data": 1}]', r"The keys are 'data'"),
        ("a.json", "[1]", "A task is int"),
        (
            "a.json",
            '[{"data": {"text": "x"}, "annotations": [{"result": [7]}]}]',
            "A result is int",
        ),
        ("a.jsonl", "{" * 100_000, "This is not JSON"),
        ("a.jsonl", '{"text": 5}', "The keys are 'text'"),
        ("a.jsonl", '{"a": "' + "x" * 99 + '"}\n[]', "The keys are 'a'"),
        (
            "a.jsonl",
            '{"text": "ab", "entities": [{"start": 0, "end": 99, "label": "x"}]}',
            "does not fit the 2 characters",
        ),
        ("a.csv", "", "is empty"),
        ("a.csv", "\ntext\none\n", "does not begin with column names"),
        ("a.csv", '"text\none\n', "does not begin with column names"),
        ("a.csv", "text,id,text\na,1,b\n", "2 columns with the name 'text'"),
        ("a.csv", "text,id\n" + 'a","b\n' * 100_000, "Many rows cannot be read as CSV. The first"),
        ("a.csv", ",".join("c" * 2000) + "\n", "2,000 columns"),
        ("a.txt", "x" * (MAX_CHARACTERS + 1), r"has 100,001 characters"),
        ("a.txt", "x\n" * 100_001, "holds 100,001 texts"),
        (
            "a.conll",
            "".join(f"w B-k{i}\n" for i in range(300)),
            "has 300 labels. Expected at most 256",
        ),
        ("a.jsonl", '{"text": "ab", "entities": [{"start": 0, "end": 2, "label": "O"}]}', "'O'"),
    ],
)
def test_hostile_and_broken_files_are_refused_in_time(name: str, content: str, says: str) -> None:
    started = time.perf_counter()
    with pytest.raises(LabelwiseError, match=says) as caught:
        parse(name, content)
    assert time.perf_counter() - started < 5
    assert len(str(caught.value)) < 1000


def test_names_cannot_forge_messages() -> None:
    with pytest.raises(DataError) as caught:
        parse("a\n\x1b[31m<b>.json" + "x" * 500, "[", "label-studio")
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_half_surrogates_are_replaced_one_for_one() -> None:
    assert parse("a", "a\ud800b").texts[0].text == "a\ufffdb"


@given(st.text(max_size=200), st.sampled_from(get_args(Form)))
def test_any_content_in_any_form_is_read_or_refused(content: str, form: str) -> None:
    try:
        found = parse("any", content, form)  # type: ignore[arg-type]
    except LabelwiseError:
        return
    for text in found.texts:
        assert text.text.strip()
        text.text.encode()
        for start, end, label in text.spans or ():
            assert 0 <= start < end <= len(text.text)
            assert label
