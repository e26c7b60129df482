"""What is read is what was written, and what cannot be read is named by file and line."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwise.annotation import Mention, Sentence
from labelwise.data import (
    from_hf_dataset,
    labels_of,
    read_conll,
    read_dataset,
    read_jsonl,
    read_label_set,
    write_conll,
    write_jsonl,
)
from labelwise.errors import DataError, SchemeError
from labelwise.files import atomic_file, atomic_write_text
from labelwise.rows import Row, sentences_from_rows, to_sentences
from labelwise.words import split_words
from strategies import COLUMN_WORD, sentences, text_rows

ANA_IN_OSLO = Sentence(
    ("Ana", "lives", "in", "Oslo"), (Mention(0, 1, "PER"), Mention(3, 4, "LOC")), "train:1"
)
TOKENS_LINE = '{"tokens": ["Ana", "lives", "in", "Oslo"], "tags": ["B-PER", "O", "O", "B-LOC"]}'


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data") / "train.jsonl"


def read_row(row: dict[str, Any]) -> Sentence:
    return sentences_from_rows([Row(row, "train.jsonl:1", "train:1")])[0]


@given(written=st.lists(sentences(), max_size=4))
def test_jsonl_round_trip(file: Path, written: list[Sentence]) -> None:
    write_jsonl(file, written)
    assert read_jsonl(file) == written


@given(rows=st.lists(text_rows(), max_size=3))
def test_jsonl_round_trip_of_text(file: Path, rows: list[dict[str, Any]]) -> None:
    written = [read_row(row) for row in rows]
    write_jsonl(file, written)
    assert read_jsonl(file) == written
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
    assert [(line["text"], line["entities"]) for line in lines] == [
        (row["text"], row["entities"]) for row in rows
    ]


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
@given(written=st.lists(sentences(COLUMN_WORD), max_size=4))
def test_conll_round_trip(file: Path, scheme: str, written: list[Sentence]) -> None:
    write_conll(file, written, scheme=scheme)
    found = read_conll(file, scheme=scheme, strict=True)
    assert [(s.words, s.mentions) for s in found] == [(s.words, s.mentions) for s in written]


@given(text_rows())
def test_no_mention_is_lost_or_moved(row: dict[str, Any]) -> None:
    sentence = read_row(row)
    offsets = sentence.offsets or ()
    found = [
        {"start": offsets[m.start][0], "end": offsets[m.end - 1][1], "label": m.label}
        for m in sentence.mentions
    ]
    assert found == row["entities"]


@given(text_rows())
def test_words_of_a_text_are_those_of_split_words_cut_at_borders(row: dict[str, Any]) -> None:
    sentence, text = read_row(row), row["text"]
    assert sentence.text == text
    assert sentence.words == tuple(text[start:end] for start, end in sentence.offsets or ())
    whole = split_words(text)
    borders = {entity[side] for entity in row["entities"] for side in ("start", "end")}
    cuts = {edge for span in whole for edge in span} | borders
    assert {edge for span in sentence.offsets or () for edge in span} == cuts
    assert "".join(sentence.words) == "".join(text[start:end] for start, end in whole)


@pytest.mark.parametrize(
    "row",
    [
        {"tokens": ["Ana", "lives", "in", "Oslo"], "tags": ["B-PER", "O", "O", "B-LOC"]},
        {"tokens": ["Ana", "lives", "in", "Oslo"], "tags": ["U-PER", "O", "O", "U-LOC"]},
        {"tokenized_text": ["Ana", "lives", "in", "Oslo"], "ner": [[3, 3, "LOC"], [0, 0, "PER"]]},
    ],
    ids=["bio", "bilou", "GLiNER"],
)
def test_word_forms_read_alike(row: dict[str, Any]) -> None:
    assert read_row(row) == ANA_IN_OSLO


@pytest.mark.parametrize("spans_key", ["entities", "spans"])
@pytest.mark.parametrize("label_key", ["label", "type"])
def test_text_forms_read_alike(spans_key: str, label_key: str) -> None:
    spans = [{"start": 13, "end": 17, label_key: "LOC"}, {"start": 0, "end": 3, label_key: "PER"}]
    sentence = read_row({"text": "Ana lives in Oslo", spans_key: spans})
    assert (sentence.words, sentence.mentions) == (ANA_IN_OSLO.words, ANA_IN_OSLO.mentions)
    assert sentence.offsets == ((0, 3), (4, 9), (10, 12), (13, 17))


def test_ids_are_stem_and_line_unless_given(tmp_path: Path) -> None:
    path = tmp_path / "dev.jsonl"
    path.write_text(f'{TOKENS_LINE}\n\n{TOKENS_LINE}\n{{"id": 7, {TOKENS_LINE[1:]}\n', "utf-8")
    assert [sentence.id for sentence in read_jsonl(path)] == ["dev:1", "dev:3", "7"]


def test_scheme_is_detected_over_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    rows = [(["a", "b"], ["I-X", "I-X"]), (["c", "d"], ["I-X", "B-X"])]
    path.write_text("\n".join(json.dumps({"tokens": w, "tags": t}) for w, t in rows), "utf-8")
    assert [len(s.mentions) for s in read_jsonl(path, strict=True)] == [1, 2]
    with pytest.raises(SchemeError, match=r"'I-X' \(\S*train\.jsonl:1, word 0\) continues no"):
        read_jsonl(path, scheme="bio", strict=True)


def test_line_ends_inside_words_do_not_end_lines(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    written = [Sentence(("a\u2028b", "\x85", "\x0b"), (), "x")]
    write_jsonl(path, written)
    assert read_jsonl(path) == written


def test_a_byte_order_mark_and_crlf_are_no_content(tmp_path: Path) -> None:
    path = tmp_path / "train.conll"
    path.write_bytes("\ufeffAna B-PER\r\nlives O\r\n\r\nOslo B-LOC\r\n".encode())
    assert [s.words for s in read_conll(path)] == [("Ana", "lives"), ("Oslo",)]


def test_lone_surrogates_become_replacement_characters(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"tokens": ["a\\ud800"], "tags": ["O"]}', "utf-8")
    assert read_jsonl(path)[0].words == ("a\ufffd",)
    write_jsonl(path, [Sentence(("b\ud800",), (), "x")])
    assert read_jsonl(path)[0].words == ("b\ufffd",)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", r"is not JSON \(.*bad\.jsonl:2\): Expecting property name.* at column 2"),
        ("[" * 100_000, r"is not JSON \(.*bad\.jsonl:2\)"),
        ("[]", r"is a JSON list \(.*bad\.jsonl:2\)\. Expected a JSON object"),
        ('{"words": [], "labels": []}', r"keys are 'words', 'labels' \(.*:2\)\. Expected 'tokens'"),
        ('{"text": "x"}', r"keys are 'text' \(.*:2\).*empty list where there are no mentions"),
        ("{}", r"keys are missing \(.*:2\)"),
        ('{"tokens": ["a"], "tags": []}', r"1 tokens but 0 tags \(.*bad\.jsonl:2\)"),
        ('{"tokens": "a", "tags": ["O"]}', r"'tokens' is not a list of strings \(.*:2\)"),
        ('{"tokens": ["a"], "tags": [1]}', r"'tags' is not a list of strings \(.*:2\)"),
        ('{"tokens": ["a"], "tags": ["X-A"]}', r"bad\.jsonl:2, word 0: Tag 'X-A' is neither"),
        ('{"text": 1, "spans": []}', r"'text' is int \(.*:2\)"),
        ('{"text": "x", "spans": {}}', r"'spans' is dict \(.*:2\)\. Expected a list"),
        ('{"text": "x", "spans": [3]}', r"Span 3 \(.*:2\) is not understood"),
        ('{"text": "x", "spans": [{"start": 0, "end": 1}]}', r"\(.*:2\) is not understood"),
        (
            '{"text": "x", "spans": [{"start": true, "end": 1, "label": "A"}]}',
            r"\(.*:2\) is not understood",
        ),
        (
            '{"text": "x", "spans": [{"start": 0, "end": 2, "label": "A"}]}',
            r"Span 0-2 'A' \(.*:2\) does not fit the 1 characters",
        ),
        (
            '{"text": "xyz", "spans": [{"start": 0, "end": 2, "label": "A"},'
            ' {"start": 1, "end": 3, "label": "B"}]}',
            r"Spans 0-2 'A' and 1-3 'B' \(.*:2\) overlap",
        ),
        (
            '{"text": "x y", "spans": [{"start": 0, "end": 2, "label": "A"}]}',
            r"Span 0-2 'A' \(.*:2\) begins or ends with white space: 'x '",
        ),
        (
            '{"text": "\U0001f600 xy", "spans": [{"start": 3, "end": 5, "label": "A"}]}',
            r"Span 3-5 'A' \(.*:2\) does not fit the 4 characters",
        ),
        (
            '{"text": "x yz", "spans": [{"start": 1, "end": 3, "label": "A", "text": "yz"}]}',
            r"Span 1-3 'A' \(.*:2\) reads ' y', not 'yz'.*code points",
        ),
        ('{"tokenized_text": ["a"], "ner": [[0, 1, "A"]]}', r"0-2 'A' \(.*:2\) .* the 1 words"),
        ('{"tokenized_text": ["a"], "ner": [[0, "A"]]}', r"\(.*:2\) is not understood"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(f"{TOKENS_LINE}\n{row}\n", "utf-8")
    with pytest.raises(DataError, match=message):
        read_jsonl(path)


@pytest.mark.parametrize("read", [read_jsonl, read_conll])
def test_what_is_no_utf8_file_is_named(
    tmp_path: Path, read: Callable[[Path], list[Sentence]]
) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"\n\n caf\xe9 O")
    with pytest.raises(DataError, match=r"Byte 0xe9 \(.*train\.jsonl:3\) is not UTF-8"):
        read(path)
    with pytest.raises(DataError, match=r"Cannot read '.*absent': No such file"):
        read(tmp_path / "absent")
    with pytest.raises(DataError, match=r"Cannot read '.*': Is a directory"):
        read(tmp_path)


@pytest.mark.parametrize(("encoding", "named"), [("utf-16", "UTF-16"), ("cp1252", "WINDOWS-1252")])
def test_the_likely_encoding_is_named(tmp_path: Path, encoding: str, named: str) -> None:
    path = tmp_path / "train.conll"
    path.write_text("Zoë\tB-person\n", encoding)
    message = rf"train\.conll:1\) is not UTF-8\. .*'iconv -f {named} -t UTF-8'"
    with pytest.raises(DataError, match=message):
        read_conll(path)


CONLL_03 = """-DOCSTART- -X- -X- O

Ana NNP B-NP I-PER
Ben NNP B-NP B-PER
lives VBZ B-VP O

Oslo NNP B-NP I-LOC
"""
COMMENTS = "# id 1\tdomain=en\n#\nAna\tB-PER\n#tag\tO\n\n# another\n#\tB-X\n"


@pytest.mark.parametrize("end", ["\r", "\r\n", "\r\r\n"], ids=repr)
def test_columns_are_the_same_with_the_line_ends_of_any_system(tmp_path: Path, end: str) -> None:
    path, text = tmp_path / "test.conll", "Ana\tB-PER\nlives\tO\n\nin\tO\nOslo\tB-LOC\n"
    path.write_bytes(text.encode())
    expected = read_conll(path)
    path.write_bytes(text.replace("\n", end).encode())
    assert len(expected) == 2
    assert read_conll(path) == expected


def test_conll_columns_comments_and_documents(tmp_path: Path) -> None:
    path = tmp_path / "test.conll"
    path.write_text(CONLL_03, "utf-8")
    assert read_conll(path, strict=True) == [
        Sentence(
            ("Ana", "Ben", "lives"), (Mention(0, 1, "PER"), Mention(1, 2, "PER")), "test:3"
        ),
        Sentence(("Oslo",), (Mention(0, 1, "LOC"),), "test:7"),
    ]  # fmt: skip
    path.write_text(COMMENTS, "utf-8")
    assert [s.words for s in read_conll(path)] == [("Ana", "#tag"), ("#",)]


def test_conll_words_may_hold_spaces_where_tabs_separate(tmp_path: Path) -> None:
    path = tmp_path / "test.conll"
    path.write_text("New York\tB-LOC\n\xa0\tO\n", "utf-8")
    assert read_conll(path)[0].words == ("New York", "\xa0")


def test_conll_takes_bare_labels_on_demand(tmp_path: Path) -> None:
    path = tmp_path / "test.conll"
    path.write_text("# id 1\n#1 event-other\nAna person-actor\n", "utf-8")
    assert labels_of(read_conll(path, scheme="bare")) == ["event-other", "person-actor"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("Ana B-PER\nlives", r"has 1 columns \(.*x\.conll:2\)\. Expected 2: the word first"),
        ("Ana NNP B-PER\nlives O", r"has 2 columns \(.*x\.conll:2\)\. Expected 3"),
        ("Ana", r"has 1 columns \(.*x\.conll:1\)\. Expected 2"),
        ("\tO", r"has 1 columns \(.*x\.conll:1\)"),
        ("Ana B-PER\n#tag", r"has 1 columns \(.*x\.conll:2\)"),
        ("Ana B-PER\nOslo LOC", r"x\.conll:2: Tag 'LOC' is neither 'O'"),
        ("Ana B-PER\nOslo L-LOC\nx E-LOC\nx E-X", r"'L-LOC' \(.*x\.conll:2\) does not belong to"),
    ],
)
def test_a_bad_column_line_is_named(tmp_path: Path, lines: str, message: str) -> None:
    path = tmp_path / "x.conll"
    path.write_text(lines, "utf-8")
    with pytest.raises(DataError, match=message):
        read_conll(path)


def test_what_the_message_on_bare_labels_says_to_do_helps(tmp_path: Path) -> None:
    path, saved = tmp_path / "x.conll", tmp_path / "saved.conll"
    path.write_text("Ada PER\nLovelace PER\nleft O\n", "utf-8")
    with pytest.raises(SchemeError, match="in Python, with scheme='bare', and save .* write_conll"):
        read_conll(path)
    write_conll(saved, read_conll(path, scheme="bare"))
    assert read_conll(saved)[0].mentions == (Mention(0, 2, "PER"),)


INDEXED = "# text = Ada left\n1 Ada NNP B-PER\n2 left VBD O\n\n1 Yes UH O\n\n"


@pytest.mark.parametrize("lines", [INDEXED, INDEXED + "1 In IN O\n2 Oslo NNP B-LOC\n3 . . O\n"])
def test_columns_that_number_the_words_first_are_refused(tmp_path: Path, lines: str) -> None:
    path = tmp_path / "x.conll"
    path.write_text(lines, "utf-8")
    message = "first column of '.*x.conll' counts 1, 2, 3 .* the word first. Remove that column"
    with pytest.raises(DataError, match=message):
        read_conll(path)


@pytest.mark.parametrize(
    "lines",
    [
        INDEXED + "2 CD O\n1 CD O\n".replace("CD", "CD CD"),
        "1 CD O O\n\n2 CD O O\n",
        "1 O\n2 O\n",
        "0 CD O\n1 CD O\n",
    ],
    ids=["one sentence is other", "single words", "two columns", "from 0"],
)
def test_words_that_are_numbers_are_read(tmp_path: Path, lines: str) -> None:
    path = tmp_path / "x.conll"
    path.write_text(lines, "utf-8")
    assert read_conll(path)


def test_an_unknown_scheme_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.conll"
    path.write_text("Ana B-PER", "utf-8")
    with pytest.raises(SchemeError, match=r"no tag scheme 'iob2' here.*'bio' is IOB2.*'iob1'"):
        read_conll(path, scheme="iob2")


@pytest.mark.parametrize("word", ["", "a\tb", "a\nb", "a ", " ", "\ufeffa", "-DOCSTART-"])
def test_a_word_that_breaks_columns_is_not_written(tmp_path: Path, word: str) -> None:
    path = tmp_path / "x.conll"
    with pytest.raises(DataError, match=r"\(sentence 'train:9'\) cannot stand in a column"):
        write_conll(path, [ANA_IN_OSLO, Sentence((word,), (), "train:9")])
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_folder_gives_its_splits(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train.jsonl", [ANA_IN_OSLO])
    write_conll(tmp_path / "dev.conll", [ANA_IN_OSLO])
    assert read_dataset(tmp_path, "train") == [ANA_IN_OSLO]
    assert read_dataset(str(tmp_path), "dev")[0].words == ANA_IN_OSLO.words
    assert read_dataset(tmp_path / "train.jsonl", "test") == [ANA_IN_OSLO]
    with pytest.raises(
        DataError, match=r"has no split 'test'\. Expected 'test\.jsonl'.*It has 'dev', 'train'"
    ):
        read_dataset(tmp_path, "test")


def test_a_folder_without_data_or_an_unknown_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no split 'train'.*It has no data files"):
        read_dataset(tmp_path, "train")
    with pytest.raises(DataError, match=r"x\.csv' is not there"):
        read_dataset(tmp_path / "x.csv", "train")
    (tmp_path / "x.csv").touch()
    with pytest.raises(DataError, match=r"x\.csv' is no known kind.*ends in '\.jsonl'"):
        read_dataset(tmp_path / "x.csv", "train")


@pytest.mark.parametrize(
    "content", ["Ada left\nBob sat down\n", "Ada sang in Oslo\nBob ran to me\n"]
)
def test_raw_texts_in_a_txt_file_are_told_from_columns(content: str, tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text(content, "utf-8")
    expected = r"t\.txt' is read as CoNLL columns, as every '\.txt' is here.*t\.txt:[12]"
    with pytest.raises(DataError, match=rf"{expected}.*If it holds raw texts, annotate them"):
        read_dataset(path, "train")


def test_a_span_that_is_given_twice_is_told_from_an_overlap() -> None:
    with pytest.raises(DataError, match=r"Span 0-3 'person' \(.*\) is given twice"):
        to_sentences([("Ada left", [(0, 3, "person"), (0, 3, "person")])])


def test_label_words_come_with_the_folder(tmp_path: Path) -> None:
    assert read_label_set(tmp_path) is None
    meta = tmp_path / "meta.json"
    for empty in (
        '[{"id": 1}]',
        '"x"',
        '{"name": "tiny"}',
        '{"label_words": {}, "label_descriptions": {}}',
    ):
        meta.write_text(empty, "utf-8")
        assert read_label_set(tmp_path) is None
    meta.write_text(
        '{"label_words": {"PER": "person"}, "label_descriptions": {"PER": "A human."}}', "utf-8"
    )
    for path in (tmp_path, tmp_path / "test.jsonl"):
        label_set = read_label_set(path)
        assert label_set is not None
        assert label_set["PER"].words == "person"
        assert label_set["PER"].description == "A human."
    meta.write_text("{", "utf-8")
    why = "was read for the 'label_words' of .*, as it stands beside the data"
    with pytest.raises(DataError, match=rf"meta\.json:1: .*Expected JSON.*{why}.*name the labels"):
        read_label_set(tmp_path)
    meta.write_text('{"name": "a", "name": "b"}', "utf-8")
    with pytest.raises(DataError, match=r"meta\.json: Found more than once in one object: 'name'"):
        read_label_set(tmp_path)


@pytest.mark.parametrize("name", ["crossner_politics", "weibo_zh"])
def test_published_data_reads_strictly_and_round_trips(
    shared_data: Path, tmp_path: Path, name: str
) -> None:
    folder = shared_data / "target" / name
    found = read_jsonl(folder / "test.jsonl", strict=True)
    write_conll(tmp_path / "test.conll", found, scheme="bioes")
    again = read_conll(tmp_path / "test.conll", strict=True)
    assert [(s.words, s.mentions) for s in again] == [(s.words, s.mentions) for s in found]
    label_set = read_label_set(folder)
    assert label_set is not None
    assert set(labels_of(found)) <= set(label_set.names)


class ClassLabel:
    def __init__(self, names: list[str]) -> None:
        self.names = names


class Sequence:
    def __init__(self, feature: ClassLabel) -> None:
        self.feature = feature


class Dataset:
    """What a Hugging Face dataset shows of itself."""

    def __init__(self, rows: list[dict[str, Any]], features: dict[str, Any]) -> None:
        self.rows, self.features = rows, features

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)


NAMES = ClassLabel(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])


@pytest.mark.parametrize("column", ["ner_tags", "tags"])
@pytest.mark.parametrize("feature", [Sequence(NAMES), [NAMES]], ids=["feature", "list"])
def test_numbered_tags_of_a_hugging_face_dataset_are_named(column: str, feature: object) -> None:
    rows = [{"tokens": list(ANA_IN_OSLO.words), column: [1, 0, 0, 3]}]
    assert from_hf_dataset(Dataset(rows, {column: feature}), name="train") == [ANA_IN_OSLO]


@pytest.mark.parametrize("kind", [None, object])
def test_rows_of_arrays_are_read_like_rows_of_lists(kind: Any) -> None:
    words = np.array(ANA_IN_OSLO.words, dtype=kind)
    for tags in (np.array([1, 0, 0, 3], dtype=kind), [np.int64(1), 0, np.int32(0), 3]):
        data = Dataset([{"tokens": words, "ner_tags": tags}], {"ner_tags": Sequence(NAMES)})
        assert from_hf_dataset(data, name="train") == [ANA_IN_OSLO]
    named = {"tokens": words, "tags": np.array(["B-PER", "O", "O", "B-LOC"], dtype=kind)}
    spans = np.array([[0, 0, "PER"], [3, 3, "LOC"]], dtype=object)
    for row in (named, {"tokenized_text": words, "ner": spans}):
        assert from_hf_dataset([row], name="train") == [ANA_IN_OSLO]
    text = {"text": "Ana", "entities": np.array([{"start": np.int64(0), "end": 3, "label": "PER"}])}
    assert to_sentences([text])[0].mentions == (Mention(0, 1, "PER"),)


def test_hugging_face_text_rows_and_bare_labels_are_read() -> None:
    rows = [{"text": "Ana", "entities": [{"start": 0, "end": 3, "label": "PER"}]}]
    assert from_hf_dataset(rows)[0].mentions == (Mention(0, 1, "PER"),)
    few = Dataset(
        [{"tokens": ["Ana"], "ner_tags": [1], "fine": [1]}],
        {"fine": Sequence(ClassLabel(["O", "person-actor"]))},
    )
    assert labels_of(from_hf_dataset(few, tags_column="fine", scheme="bare")) == ["person-actor"]


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ({"train": []}, r"A row is str \(hf, row 1\).*dataset\['train'\]"),
        ([{"tokens": ["a"], "ner_tags": [1]}], r"Tag 1 \(hf, row 1, 'ner_tags'\) has no name"),
        (
            Dataset([{"tokens": ["a"], "tags": [-100]}], {"tags": Sequence(NAMES)}),
            r"Tag -100 \(hf, row 1, 'tags'\) has no name among 5",
        ),
        ([{"tokens": ["a"]}], r"keys are 'tokens' \(hf, row 1\)"),
    ],
)
def test_rows_that_cannot_be_read_are_named(dataset: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_hf_dataset(dataset)


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    atomic_write_text(path, "old")
    with pytest.raises(TypeError, match="bytes-like"), atomic_file(path) as stream:
        stream.writelines([b"new", "text"])  # type: ignore[list-item]
    assert path.read_text("utf-8") == "old"
    assert os.listdir(tmp_path) == ["train.jsonl"]


def test_a_link_is_followed_not_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "real.jsonl", tmp_path / "link.jsonl"
    target.write_text("old", "utf-8")
    link.symlink_to(target)
    atomic_write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text("utf-8") == "new"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_written_into_not_replaced(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text("utf-8")), daemon=True)
    reader.start()
    atomic_write_text(pipe, "new")
    reader.join(10)
    assert pipe.is_fifo()
    assert read == ["new"]
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_folder_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="Is a directory"), atomic_file(tmp_path):
        pytest.fail("It was opened.")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Cannot write '.*absent/x\.jsonl': No such file"):
        write_jsonl(tmp_path / "absent" / "x.jsonl", [ANA_IN_OSLO])
