"""Labels in words: tables, naming rules, label sets and their files."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwise.errors import DataError, LabelError
from labelwise.label import Label
from labelwise.labels import MARK_WORDS, LabelSet, meaningless, swapped, verbalize
from labelwise.naming import LABEL_TABLES, label_table, words_from_name

READABLE = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))
NAME_LIKE = st.one_of(
    st.text(READABLE, min_size=1),
    st.text("abzABZ019_-./: é你Ж", min_size=1),
    st.lists(
        st.sampled_from([*"_-./: ", "Per", "PER", "Loc", "DNA", "URL", "name", "Other", "_2."]),
        min_size=1,
    ).map("".join),
)
NAMES = NAME_LIKE.filter(lambda name: name.strip() not in ("", "O"))
TEXTS = st.text(READABLE).filter(lambda text: text.strip() != "")
LABELS = st.builds(
    Label,
    name=NAMES,
    words=TEXTS,
    description=st.none() | TEXTS,
    threshold=st.none() | st.floats(0, 1),
)
LABEL_SETS = st.lists(LABELS, min_size=1, max_size=6, unique_by=lambda label: label.name).map(
    lambda labels: LabelSet(tuple(labels))
)


# Tables


@pytest.mark.parametrize(
    ("table", "n_labels"),
    [
        ("conll2003", 4),
        ("ontonotes", 18),
        ("wnut17", 6),
        ("jnlpba", 5),
        ("ncbi_disease", 1),
        ("i2b2_2014", 23),
        ("few_nerd", 66),
    ],
)
def test_tables_are_complete(table: str, n_labels: int) -> None:
    assert len(label_table(table)) == n_labels
    assert table in LABEL_TABLES


@pytest.mark.parametrize(
    ("table", "name", "words"),
    [
        ("conll2003", "MISC", "miscellaneous"),
        ("ontonotes", "GPE", "geographical social political entity"),
        ("ontonotes", "NORP", "nationality religion political"),
        ("ontonotes", "WORK_OF_ART", "work of art"),
        ("wnut17", "creative-work", "creative work"),
        ("jnlpba", "DNA", "DNA"),
        ("ncbi_disease", "Disease", "disease"),
        ("i2b2_2014", "BIOID", "biometric ID"),
        ("i2b2_2014", "LOCATION_OTHER", "location"),
        ("i2b2_2014", "URL", "url"),
        ("few_nerd", "person-artist/author", "artist author"),
        ("few_nerd", "location-GPE", "geographical social political entity"),
        ("few_nerd", "person-other", "other person"),
    ],
)
def test_tables_hold_the_words_of_the_paper(table: str, name: str, words: str) -> None:
    assert label_table(table)[name] == words


PLAINER = "country, city or state"
PLAINER_WORDS = {
    "GPE": PLAINER,
    "location-GPE": PLAINER,
    "NORP": "nationality or religious or political group",
}


@pytest.mark.parametrize("table", LABEL_TABLES)
def test_table_words_are_the_default_words(table: str) -> None:
    """No two tables disagree about a name, so the order of precedence decides nothing today."""
    for name, words in label_table(table).items():
        assert words_from_name(name) == PLAINER_WORDS.get(name, words)
        assert words_from_name(words) == words


def test_words_that_nobody_writes_are_not_the_default() -> None:
    assert label_table("ontonotes")["GPE"] == "geographical social political entity"
    assert [words_from_name(n) for n in ("GPE", "location-GPE", "x.gpe")] == [
        PLAINER, PLAINER, f"x {PLAINER}"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("CW", "creative work"),
        ("CORP", "corporation"),
        ("grp", "group"),
        ("PROD", "product"),
        ("order_qty", "order quantity"),
        ("customer.dob", "customer date of birth"),
        ("TEL", "telephone number"),
    ],
)
def test_abbreviations_are_written_out(name: str, words: str) -> None:
    assert words_from_name(name) == words


def test_changing_a_returned_table_changes_nothing() -> None:
    label_table("conll2003")["PER"] = "pear"
    assert label_table("conll2003")["PER"] == words_from_name("PER") == "person"


def test_unknown_table_is_refused_with_a_suggestion() -> None:
    with pytest.raises(LabelError, match=r"'ontonote' does not exist.*Did you mean 'ontonotes'\?"):
        label_table("ontonote")


# Names into words


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cell_line", "cell line"),
        ("creative-work", "creative work"),
        ("MusicalArtist", "musical artist"),
        ("fromloc.city_name", "from location city name"),
        ("HTTPServer", "HTTP server"),
        ("WORK_OF_ART", "work of art"),
        ("Restaurant_Name", "restaurant name"),
        ("CLICommand/CodeSnippet", "CLI command or code snippet"),
        ("Events_2.event_name", "event name"),
        ("Media_1.title", "media title"),
        ("Generic-Measure", "generic measure"),
        ("very-long-hyphenated-type", "very long hyphenated type"),
        ("PER.NOM", "unnamed person"),
        ("ORG.company", "organization company"),
        ("politicalparty", "political party"),
        ("miles_per_hour", "miles per hour"),
        ("misc", "miscellaneous"),
        ("Per", "person"),
        ("DISEASE", "disease"),
        ("DNA", "DNA"),
        ("DNA_REGION", "DNA region"),
        ("SSN", "SSN"),
        ("URL", "url"),
        ("mRNA", "mRNA"),
        ("pHValue", "pH value"),
        ("IDs", "IDs"),
        ("Type2Diabetes", "type2 diabetes"),
        ("3DModel", "3D model"),
        ("Élu_Local", "élu local"),
        ("political party", "political party"),
        ("German city", "German city"),
        ("Political Party", "political party"),
        ("POLITICAL PARTY", "political party"),
        ("  two   spaces ", "two spaces"),
        ("人名", "人名"),
        ("地名_人名", "地名 人名"),
        ("Имя-места", "Имя-места"),
        ("---", "---"),
        ("___", "unnamed"),
    ],
)
def test_names_read_well(name: str, words: str) -> None:
    assert words_from_name(name) == words


@given(NAMES)
def test_words_are_a_fixed_point(name: str) -> None:
    words = words_from_name(name)
    assert words_from_name(words) == words


@given(NAMES)
def test_words_are_never_empty_and_singly_spaced_without_underscores(name: str) -> None:
    words = words_from_name(name)
    assert words
    assert "_" not in words
    assert words == " ".join(words.split())


@given(st.lists(st.text("abcdefg", min_size=3), min_size=1), st.sampled_from("_-.:"))
def test_no_part_of_a_compound_is_lost(parts: list[str], separator: str) -> None:
    parts = [part + "x" for part in parts]  # never an abbreviation
    assert words_from_name(separator.join(parts)) == " ".join(parts)


# Specs


def test_all_forms_of_a_spec_agree() -> None:
    listed = LabelSet.parse(["PER", "cell_line"])
    assert listed == LabelSet.parse(("PER", " cell_line "))
    assert listed == LabelSet.parse({"PER": None, "cell_line": {}})
    assert listed == LabelSet.parse({"PER": {"words": "person"}, "cell_line": ""})
    assert listed == LabelSet.parse_names("PER, cell_line,")
    assert LabelSet.parse(listed) is listed


def test_a_spec_gives_words_description_and_threshold() -> None:
    label_set = LabelSet.parse(
        {
            "ship": "a vessel\n  at sea",
            "port": {"words": "sea  port", "description": "where ships land", "threshold": 1},
        }
    )
    assert label_set["ship"] == Label("ship", "ship", "a vessel at sea")
    assert label_set["port"] == Label("port", "sea port", "where ships land", 1.0)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("person, city", r"string 'person, city'\. Expected a list of names.*parse_names"),
        (7, "given as int. Expected a list"),
        ([], "No labels are given"),
        ({}, "No labels are given"),
        (["a", " "], "name is empty"),
        (["a", "b", "a "], "names 'a' are given more than once"),
        ({"a": "", "a ": ""}, "names 'a' are given more than once"),
        (["O"], "named 'O', the tag of words outside"),
        ([3], "Label name 3 is of type 'int'. Expected a string"),
        ([None], "of type 'NoneType'"),
        (["a\tb"], "'a\\\\tb' holds a control character"),
        (["a\ud800"], "half a surrogate pair"),
        ({"a": 3}, "Label 'a' is given as int 3. Expected a description or a mapping"),
        ({"a": {"word": "x"}}, r"unknown key 'word'.*Did you mean 'words'\?"),
        ({"a": {3: "x"}}, "unknown key '3'"),
        ({"a": {"words": " "}}, "words of label 'a' are empty"),
        ({"a": {"words": ["x"]}}, r"Found \['x'\] as words of label 'a'. Expected a string"),
        ({"a": {"words": "x\x00"}}, "control character .* words of label 'a'"),
        ({"a": {"description": 1}}, "Found 1 as description of label 'a'"),
    ],
)
def test_bad_specs_are_refused(spec: object, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        LabelSet.parse(spec)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), float("inf"), True, "0.5", [0.5]])
def test_thresholds_lie_between_0_and_1(threshold: object) -> None:
    with pytest.raises(LabelError, match=r"Label 'a' has threshold .* Expected a number from 0 to"):
        LabelSet.parse({"a": {"threshold": threshold}})


def test_blank_command_line_names_are_refused() -> None:
    with pytest.raises(LabelError, match="No labels are given"):
        LabelSet.parse_names(" , ")


@pytest.mark.parametrize(
    "spec",
    [
        (name for name in ["city", "PER"]),
        {"city": None, "PER": None}.keys(),
        np.array(["city", "PER"]),
        [Label("city", "city"), Label("PER", "person")],
        [Label("city", "city"), "PER"],
        {"PER", "city"},
        frozenset(["PER", Label("city", "city")]),
    ],
    ids=["generator", "keys", "array", "labels", "mixed", "set", "frozenset"],
)
def test_labels_may_come_in_any_iterable(spec: object) -> None:
    names = sorted if isinstance(spec, set | frozenset) else list
    assert LabelSet.parse(spec) == LabelSet.parse(names(["city", "PER"]))


@pytest.mark.parametrize("spec", [b"person", Label("a", "a"), 5, None], ids=str)
def test_one_thing_is_no_set_of_labels(spec: object) -> None:
    with pytest.raises(LabelError, match=r"Labels are given as \w+\. Expected a list of names"):
        LabelSet.parse(spec)


@pytest.mark.parametrize("key", [0, None, ("PER",)], ids=str)
def test_labels_are_asked_for_by_name(key: object) -> None:
    with pytest.raises(LabelError, match=r"asked for by .*Expected a name of \['PER', 'LOC'\]"):
        LabelSet.parse(["PER", "LOC"])[key]  # type: ignore[index]


def test_many_labels_parse_fast() -> None:
    names = [f"SomeKind_{i}/of_thing" for i in range(1_000)]
    LabelSet.parse(names[:1])
    start = time.perf_counter()
    label_set = LabelSet.parse(names)
    assert time.perf_counter() - start < 1  # 50 times the aim, to bear busy machines
    assert label_set.names == tuple(names)
    assert len(LabelSet.parse([f"kind {i}" for i in range(20_000)])) == 20_000


# Label sets


def test_lookup_by_name() -> None:
    label_set = LabelSet.parse(["PER", "LOC"])
    assert len(label_set) == 2
    assert [label.name for label in label_set] == ["PER", "LOC"]
    assert label_set.index("LOC") == 1
    assert "LOC" in label_set
    assert "person" not in label_set


def test_unknown_label_is_refused_with_a_suggestion() -> None:
    with pytest.raises(LabelError, match=r"'PERS' is not in .*'LOC'.*Did you mean 'PER'\?"):
        LabelSet.parse(["PER", "LOC"])["PERS"]


@given(LABEL_SETS)
def test_to_dict_round_trips_through_json(label_set: LabelSet) -> None:
    again = LabelSet.parse(json.loads(json.dumps(label_set.to_dict())))
    assert again == label_set
    assert again.digest == label_set.digest
    assert hash(again) == hash(label_set)


def test_digest_is_stable_across_processes() -> None:
    digest = LabelSet.parse({"PER": "a human", "LOC": ""}).digest
    assert digest == "00da486c56f9c7419c0772bb0a60b234d4b211fa3b426aa27d71a37c70a2e8d4"


def test_digest_covers_what_changes_label_vectors() -> None:
    specs: list[Any] = [
        ["a", "b"],
        ["b", "a"],
        {"a": "described", "b": None},
        {"a": {"words": "other"}, "b": {}},
    ]
    assert len({LabelSet.parse(spec).digest for spec in specs}) == len(specs)
    with_threshold = LabelSet.parse({"a": {"threshold": 0.5}, "b": {}})
    assert with_threshold.digest == LabelSet.parse(["a", "b"]).digest


@pytest.mark.parametrize("given", [["person"], "person", {"person": "a human"}, 5], ids=repr)
def test_label_sets_of_names_point_to_what_parses_them(given: Any) -> None:
    with pytest.raises(LabelError, match=r"LabelSet\(\) is given .* of type .*use LabelSet\.parse"):
        LabelSet(given)
    assert LabelSet([Label("a", "b")]).names == ("a",)  # type: ignore[arg-type]


def test_same_words_lists_labels_that_read_alike() -> None:
    label_set = LabelSet.parse(["PER", "city", "person", "dna", "DNA"])
    assert label_set.same_words() == [("PER", "person"), ("dna", "DNA")]


def test_renamed_keeps_all_but_the_words() -> None:
    label_set = LabelSet.parse({"PER": {"description": "a human", "threshold": 0.3}, "LOC": None})
    renamed = label_set.renamed({"PER": "individual"})
    assert renamed["PER"] == Label("PER", "individual", "a human", 0.3)
    assert renamed["LOC"] == label_set["LOC"]
    with pytest.raises(LabelError, match="'PRE' is not in the label set"):
        label_set.renamed({"PRE": "individual"})


def test_subset_has_the_order_asked_for() -> None:
    assert LabelSet.parse(["a", "b", "c"]).subset(["c", "a"]).names == ("c", "a")


# Tags


@pytest.mark.parametrize(
    ("scheme", "readings"),
    [
        ("io", ["other", "inside creative work"]),
        ("bio", ["other", "begin creative work", "inside creative work"]),
        (
            "bioes",
            ["other", *(f"{m} creative work" for m in ("begin", "inside", "end", "single"))],
        ),
    ],
)
def test_every_tag_reads_as_mark_and_label(scheme: str, readings: list[str]) -> None:
    label_set = LabelSet.parse(["creative-work"])
    assert [verbalize(tag, label_set) for tag in label_set.tags(scheme)] == readings


@given(LABEL_SETS)
def test_every_tag_of_any_label_set_has_words(label_set: LabelSet) -> None:
    for tag in label_set.tags("bioes")[1:]:
        mark, _, name = tag.partition("-")
        assert verbalize(tag, label_set) == f"{MARK_WORDS[mark]} {label_set[name].words}"


@pytest.mark.parametrize(("tag", "reading"), [("L-PER", "end person"), ("U-PER", "single person")])
def test_bilou_tags_read_as_bioes(tag: str, reading: str) -> None:
    assert verbalize(tag, LabelSet.parse(["PER"])) == reading


def test_a_tag_of_another_label_set_is_refused() -> None:
    with pytest.raises(LabelError, match="'LOC' is not in the label set"):
        verbalize("B-LOC", LabelSet.parse(["PER"]))


# Ablations


def test_meaningless_words_tell_nothing() -> None:
    label_set = LabelSet.parse({"PER": "a human", "LOC": {"threshold": 0.3}})
    assert list(meaningless(label_set)) == [
        Label("PER", "label 1"),
        Label("LOC", "label 2", threshold=0.3),
    ]


@given(LABEL_SETS.filter(lambda label_set: len(label_set) > 1), st.integers(0, 99))
def test_swapped_words_are_a_derangement(label_set: LabelSet, seed: int) -> None:
    numbered = label_set.renamed({name: f"word {i}" for i, name in enumerate(label_set.names)})
    result = swapped(numbered, seed)
    assert result == swapped(numbered, seed)
    assert result.names == numbered.names
    assert all(old.words != new.words for old, new in zip(numbered, result, strict=True))
    contents = [Counter((v.words, v.description) for v in labels) for labels in (numbered, result)]
    assert contents[0] == contents[1]


def test_one_label_cannot_be_swapped() -> None:
    with pytest.raises(LabelError, match="Expected two or more labels"):
        swapped(LabelSet.parse(["PER"]), seed=0)


# Files


@pytest.mark.parametrize(
    ("file_name", "text"),
    [
        ("list.json", '["PER", "port"]'),
        ("bom.json", '\ufeff["PER", "port"]'),
        ("object.json", '{"PER": null, "port": {"words": "port"}}'),
        ("wrapped.json", '{"labels": ["PER", "port"], "scheme": "io", "tags": {}}'),
        ("tables.toml", '[PER]\nwords = "person"\n\n[port]\n'),
        ("flat.toml", 'PER = ""\nport = ""\n'),
        ("wrapped.toml", 'labels = ["PER", "port"]'),
        ("meta.json", '{"name": "x", "label_words": {"PER": "person", "port": "port"}}'),
        ("part.json", '{"label_words": {"PER": "person"}, "label_descriptions": {"port": null}}'),
    ],
)
def test_files_of_all_forms_agree(tmp_path: Path, file_name: str, text: str) -> None:
    path = tmp_path / file_name
    path.write_text(text, encoding="utf-8")
    assert LabelSet.read(path) == LabelSet.parse(["PER", "port"])


def test_a_dataset_folder_gives_the_words_of_its_meta_json(tmp_path: Path) -> None:
    meta = {"label_words": {"PER": "sailor"}, "label_descriptions": {"PER": "who sails"}}
    (tmp_path / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    assert list(LabelSet.read(str(tmp_path))) == [Label("PER", "sailor", "who sails")]


@pytest.mark.parametrize("name", ["words", "description", "threshold"])
def test_a_meta_json_may_have_one_label_named_as_a_field_is(tmp_path: Path, name: str) -> None:
    (tmp_path / "meta.json").write_text(json.dumps({"label_words": {name: "x"}}), "utf-8")
    assert list(LabelSet.read(tmp_path)) == [Label(name, "x")]


@pytest.mark.parametrize("name", ["labels", "label_words"])
def test_a_written_label_set_is_read_back_whatever_its_names(tmp_path: Path, name: str) -> None:
    label_set = LabelSet.parse([name, "words"])
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(label_set.to_dict()), encoding="utf-8")
    assert LabelSet.read(path) == label_set


@pytest.mark.parametrize(
    ("file_name", "text", "message"),
    [
        ("a.json", '["a",\n"b"', r"a\.json:2: .*Expected JSON"),
        ("a.toml", "x = 1\ny = \n", r"a\.toml:2: .*Expected TOML"),
        ("a.toml", "x = ", r"a\.toml: .*Expected TOML"),
        ("a.json", '{"a": "", "a": ""}', r"a\.json: Found more than once in one object: 'a'"),
        ("a.json", "[" * 100_000, r"a\.json: .*recursion"),
        ("a.json", "[" + "9" * 10_000 + "]", r"a\.json: .*Correct the file"),
        ("a.json", b"\xff", r"a\.json: byte 0 is not UTF-8"),
        ("a.json", "3", r"a\.json: Labels are given as int"),
        ("a.json", '{"labels": "a, b"}', r"a\.json: Labels are given as the string 'a, b'"),
        ("a.json", '{"label_words": {}}', r"a\.json: No labels are given"),
        ("a.json", '{"label_words": ["a"]}', r"'label_words' and 'label_desc.* not both mappings"),
        ("a.json", '["O"]', r"a\.json: A label is named 'O'"),
        (
            "a.toml",
            "threshold = 0.5\n[labels.person]\n",
            r"a\.toml: There is 'threshold' beside 'labels'.*Move or remove it",
        ),
        ("a.json", '{"labels": ["a"], "b": "", "c": ""}', r"There is 'b', 'c' beside 'labels'"),
        ("a.toml", "[a]\nword = 1", r"a\.toml: Label 'a' has the unknown key 'word'"),
    ],
)
def test_errors_name_the_file(
    tmp_path: Path, file_name: str, text: str | bytes, message: str
) -> None:
    path = tmp_path / file_name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message):
        LabelSet.read(path)


def test_a_bare_name_is_known_by_the_labels_of_another_set() -> None:
    known = LabelSet.parse({"PER": "a human", "name": {"words": "dish", "threshold": 0.9}})
    given = LabelSet.parse({"name": {"threshold": 0.0}, "city": None, "PER": "a person"})
    found = given.with_known(known)
    assert found.names == given.names
    assert found["name"] == Label("name", "dish", threshold=0.0)
    assert (found["city"], found["PER"]) == (given["city"], given["PER"])
    assert LabelSet.parse(["PER"]).with_known(known) == known.subset(["PER"])
    assert given.with_known(None) == given
    assert found.with_known(known) == found


def test_missing_files_and_folders_without_meta_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Cannot read '.*none\.json': No such file"):
        LabelSet.read(tmp_path / "none.json")
    with pytest.raises(DataError, match=re.escape("meta.json': No such file")):
        LabelSet.read(tmp_path)
