"""Batch jobs: killed or not, alone or in shards, the same files; bad lines stand aside."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import io
import json
import math
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from batch_killer import job_of, run
from builders import tiny_model_folder
from labelwise import csv_rows
from labelwise.annotation import Mention, Sentence
from labelwise.apps import text_files
from labelwise.apps.batch_job import _model_facts, write_jsonl_results, write_rejects
from labelwise.apps.cli import app
from labelwise.apps.inputs import GivenText
from labelwise.apps.parquet import parquet_rows, write_parquet
from labelwise.apps.text_files import MAX_LINE_BYTES, read_units
from labelwise.batch import JobProgress, Shard, Unit, run_job
from labelwise.data import read_conll
from labelwise.errors import CheckpointError, DataError, MissingExtraError, RequestError
from labelwise.guarded import folder_lock
from labelwise.labels import LabelSet
from labelwise.loading import load_model
from labelwise.tagger import Tagger

try:
    import pyarrow.parquet
except ModuleNotFoundError:
    pyarrow = None

needs_pyarrow = pytest.mark.skipif(
    pyarrow is None, reason="pyarrow is not installed: pip install 'labelwise[parquet]'"
)
without_pyarrow = pytest.mark.skipif(pyarrow is not None, reason="pyarrow is installed")
GOOD = [json.dumps({"text": f"Bob lives in New York {i} ."}) for i in range(40)]
BAD = ["{", "[]", '{"txt": "a"}', b"\xff".decode("latin-1")]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def lines_of(folder: Path, pattern: str = "part-*") -> list[Any]:
    paths = sorted(folder.glob(pattern))
    return [json.loads(line) for p in paths for line in p.read_text("utf-8").splitlines()]


def results_of(path: Path) -> tuple[list[Sentence], list[int]]:
    """Sentences and rejected line numbers of a file, read as a job reads it."""
    sentences, rejected = [], []
    for unit in read_units(path, path.stat().st_size):
        try:
            sentences.append(unit.read())
        except DataError:
            rejected.append(unit.number)
    return sentences, rejected


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A file with 42 units, two of them unreadable."""
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join([*GOOD[:7], "{", *GOOD[7:30], "", '{"a": 1}', *GOOD[30:]]) + "\n")
    return path


def test_a_job_that_is_killed_writes_the_same_files(texts: Path, tmp_path: Path) -> None:
    texts.write_text(texts.read_text() * 10)
    run(texts, tmp_path / "whole")
    script = Path(__file__).with_name("batch_killer.py")
    command = [sys.executable, str(script), str(texts), str(tmp_path / "killed"), "10", "7"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    n_parts = [int(n) for n in done.stdout.split()]
    assert len(n_parts) == 10, done.stderr
    assert len(set(n_parts)) > 4
    assert n_parts[-1] < len(list((tmp_path / "whole").glob("part-*")))
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")
    assert len(lines_of(tmp_path / "whole")) == 400


@pytest.mark.slow
def test_a_command_killed_twenty_times_writes_the_same_files(tmp_path: Path) -> None:
    model = tiny_model_folder(tmp_path)
    texts = tmp_path / "in.txt"
    texts.write_text("".join(f"Bob lives in New York {i} .\n" for i in range(4_000)))
    command = [sys.executable, "-m", "labelwise", "predict", str(texts), "--model", str(model)]
    command += ["--labels", "person,city", "--part-size", "200", "--output-dir"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    started = time.monotonic()
    subprocess.run([*command, str(whole)], capture_output=True, check=True)
    seconds, rng = time.monotonic() - started, random.Random(0)
    for _ in range(20):
        process = subprocess.Popen([*command, str(killed)], stderr=subprocess.DEVNULL)
        time.sleep(seconds * rng.random())
        process.kill()
        process.wait()
    subprocess.run([*command, str(killed)], capture_output=True, check=True)
    assert files_of(killed) == files_of(whole)


def test_what_cannot_be_read_is_rejected_with_its_line_and_reason(
    texts: Path, tmp_path: Path
) -> None:
    run(texts, tmp_path / "out")
    rejects = lines_of(tmp_path / "out", "rejects-*")
    assert [r["line"] for r in rejects] == [8, 33]
    assert "is not JSON (in.jsonl:8)" in rejects[0]["reason"]
    assert "The keys are 'a' (in.jsonl:33)" in rejects[1]["reason"]
    ids = [row["id"] for row in lines_of(tmp_path / "out")]
    assert ids == [f"in:{i}" for i in range(1, 44) if i not in (8, 32, 33)]


@given(st.integers(1, 5))
@settings(max_examples=5)
def test_shards_part_the_job(n_shards: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "in.jsonl"
        path.write_text("\n".join(GOOD))
        run(path, folder / "whole")
        seen: set[str] = set()
        for index in range(1, n_shards + 1):
            run(path, folder / "shared", Shard(index, n_shards))
            run(path, folder / str(index), Shard(index, n_shards))
            own = {p for p in files_of(folder / str(index)) if p != "manifest.json"}
            assert not own & seen
            seen |= own
        assert files_of(folder / "shared") == files_of(folder / "whole")
        assert seen | {"manifest.json"} == set(files_of(folder / "whole"))


def test_a_finished_job_is_not_run_again(texts: Path, tmp_path: Path) -> None:
    run(texts, tmp_path / "out")
    job = job_of(texts, tmp_path / "out", Shard())
    units = read_units(texts, texts.stat().st_size)

    def find(_: object) -> Any:
        raise AssertionError("nothing is left to find")

    progress = run_job(job, units, find, write_jsonl_results, write_rejects)
    assert (progress.n_parts, progress.n_kept, progress.n_texts, progress.done) == (0, 9, 0, 1.0)


def test_another_input_or_folder_is_refused(texts: Path, tmp_path: Path) -> None:
    run(texts, tmp_path / "out")
    before = files_of(tmp_path / "out")
    other = tmp_path / "other.jsonl"
    other.write_text(GOOD[0])
    with pytest.raises(RequestError, match="begun with another 'input'"):
        run(other, tmp_path / "out")
    assert files_of(tmp_path / "out") == before
    with pytest.raises(RequestError, match="holds 'in.jsonl', 'other.jsonl', 'out' but no man"):
        run(other, tmp_path)


def test_two_processes_of_one_shard_do_not_mix(texts: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "out" / ".shard-1-of-1"
    scratch.mkdir(parents=True)
    code = (
        "import sys; from pathlib import Path; from labelwise.guarded import folder_lock\n"
        "with folder_lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(scratch)], stdin=-1, stdout=-1
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(CheckpointError, match="is being written by another process"):
            run(texts, tmp_path / "out")
        holder.communicate()
    with folder_lock(scratch):
        pass


def test_progress_ends_at_one_and_counts(texts: Path, tmp_path: Path) -> None:
    job = job_of(texts, tmp_path / "out", Shard())
    seen: list[JobProgress] = []
    units = list(read_units(texts, texts.stat().st_size))
    nothing = lambda s: ([] for _ in s)  # noqa: E731
    run_job(job, units, nothing, write_jsonl_results, write_rejects, seen.append)
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert seen[-1].done == 1.0
    assert (seen[-1].n_texts, seen[-1].n_rejected, seen[-1].n_parts) == (40, 2, 9)
    assert seen[-1].n_words == sum(len(u.read().words) for u in units if u.number not in (8, 33))
    assert seen[0].left_s > 0


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "a/b", "1/2/3", "-1/2"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="Expected i/n"):
        Shard.parse(text)


# Inputs


def test_a_line_that_is_too_long_is_rejected_and_the_rest_read(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    longest = b"a" * MAX_LINE_BYTES
    path.write_bytes(b"Bob\n" + longest + b"b\n" + longest + b"\r\n\nOslo")
    sentences, rejected = results_of(path)
    assert rejected == [2, 3]
    assert [(s.id, s.words) for s in sentences] == [
        ("in:1", ("Bob",)),
        ("in:4", ()),
        ("in:5", ("Oslo",)),
    ]


def test_lines_that_are_not_utf8_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_bytes(b"\xef\xbb\xbfBob\n\xff\r\nOslo\r\n")
    sentences, rejected = results_of(path)
    assert rejected == [2]
    assert [s.text for s in sentences] == ["Bob", "Oslo"]


def test_conll_reads_blocks_of_words(tmp_path: Path) -> None:
    path = tmp_path / "in.conll"
    path.write_bytes(
        b"-DOCSTART- O\n\n# id 1\nBob B-PER\n# O\n\n\nNew York\tO\nx\tO\n\nbad O\n\xff O\n\n# B-X\n"
    )
    sentences, rejected = results_of(path)
    assert rejected == [11]
    assert [(s.id, s.words) for s in sentences] == [
        ("in:4", ("Bob", "#")),
        ("in:8", ("New York", "x")),
        ("in:14", ("#",)),
    ]


def test_conll_that_numbers_its_words_first_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.conll"
    path.write_text("1\tAda\tB-PER\n2\tleft\tO\n\n1\tYes\tO\n")
    with pytest.raises(DataError, match=r"first column of '.*in\.conll' counts 1, 2, 3 in every"):
        next(read_units(path))
    path.write_text("1\tAda\tB-PER\n2\tleft\tO\n\nOslo\tNNP\tO\n.\t.\tO\n")
    assert len(results_of(path)[0]) == 2


def test_ids_of_json_lines_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "Bob", "id": 7}\n\n{"tokens": ["New York", "x"], "id": null}\n')
    assert [(s.id, s.text) for s in results_of(path)[0]] == [("7", "Bob"), ("in:3", "New York x")]


def test_tables_are_read_row_by_row_and_bad_rows_rejected(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(
        b'\xef\xbb\xbfid;Text;meta\r\n1;"Bob; in\nOslo";a\r\n\r\n2;\xff;b\n3;Bob\n4;"B"ob;c\n5;;d'
    )
    sentences, rejected = results_of(path)
    assert rejected == [5, 6, 7]
    assert [(s.id, s.text, s.kept) for s in sentences if isinstance(s, GivenText)] == [
        ("1", "Bob; in\nOslo", {"id": "1", "meta": "a"}),
        ("5", "", {"id": "5", "meta": "d"}),
    ]


STRAY = (
    'id,text\n1,Ada Lovelace in Paris\n2,"5 inch screen in Berlin\n3,Bob Smith in Rome\n'
    '4,Carla Diaz in Oslo\n5,"Dora Lee, in Bonn"\n6,Eva Fox in Rome\n'
)


def ids_of(path: Path, content: str) -> tuple[list[str], list[int]]:
    path.write_text(content, encoding="utf-8", newline="")
    sentences, rejected = results_of(path)
    return [s.id for s in sentences], rejected


def test_a_stray_quote_costs_one_line_of_a_table(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    assert ids_of(path, STRAY) == (["1", "3", "4", "5", "6"], [3])
    run(path, tmp_path / "out")
    [reject] = lines_of(tmp_path / "out", "rejects-*")
    assert reject["line"] == 3
    assert "(in.csv:3)" in reject["reason"]
    assert "The 3 lines after it, which it took in, are read by themselves." in reject["reason"]


@pytest.mark.parametrize(
    ("rows", "ids", "rejected"),
    [
        ('1,a\n2,"b\n3,c\n4,d', ["1", "3", "4"], [3]),
        ('1,"b\n2,"c\n3,"d\n4,e\n', ["4"], [2, 3, 4]),
        ('1,"b\n2,c\n3,"d\ne"\n4,f\n', ["2", "3", "4"], [2]),
        ('1,"b\n2,c\n3,"d",e\n4,f\n', ["2", "4"], [2, 4]),
        ('1,"b\n2,c\n3,big",e\n4,f\n', ["2", "4"], [2, 4]),
        ('1,"b\n2,c\n3,7"\n4,""\n', ["1", "4"], []),
        ('1,"b\nc, d\ne","x"y\n4,f\n', ["c", "4"], [2, 4]),
        ('1,"b\r\n2,c\r\n\r\n3,"d"\r\n', ["2", "3"], [2]),
    ],
    ids=[
        "unclosed",
        "each",
        "cell of lines",
        "columns",
        "rest of a cell",
        "no error",
        "cell",
        "cr",
    ],
)
def test_no_line_of_a_table_is_lost_unseen(
    rows: str, ids: list[str], rejected: list[int], tmp_path: Path
) -> None:
    assert ids_of(tmp_path / "in.csv", f"id,text\n{rows}") == (ids, rejected)


def test_a_quote_that_nothing_closes_holds_little_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_rows, "MAX_FIELD", 50)
    monkeypatch.setattr(csv_rows, "MAX_ROW", 100)
    for line in ("2,abc\n", 'x",y"z,"w\n'):
        path = tmp_path / "in.csv"
        path.write_text(f'id,text\n1,"b\n{line * 1000}')
        units = read_units(path)
        assert next(units).number == 2
        assert next(units).number == 3
        assert len(results_of(path)[0]) + len(results_of(path)[1]) == 1001


@pytest.mark.parametrize("line", ['x",y"z,"w\n', 'x,y"z,"w\n'])
def test_what_is_read_again_of_a_table_grows_with_the_table_only(
    line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_rows, "MAX_AGAIN", 0)
    text = "id,text\n" + line * 1000 + "5,fine\n"
    rows = list(csv_rows.csv_rows(io.StringIO(text, newline=""), ".csv"))
    assert [number for number, _ in rows] == list(range(1, 1003))
    assert rows[-1] == (1002, ["5", "fine"])
    again = [r.n_after for _, r in rows if isinstance(r, csv_rows.BrokenRow)]
    assert len(again) == 1000
    assert sum(again) <= 1000 * (csv_rows.AGAIN + 2)


@given(st.lists(st.sampled_from(['"', ",", "\n", "a", '","']), max_size=60))
def test_small_tables_are_read_as_without_that_bound(parts: list[str]) -> None:
    text = "id,text\n" + "".join(parts)
    found = list(csv_rows.csv_rows(io.StringIO(text, newline=""), ".csv"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(csv_rows, "MAX_AGAIN", math.inf)
        assert list(csv_rows.csv_rows(io.StringIO(text, newline=""), ".csv")) == found


def test_a_line_of_a_table_that_is_too_long_is_rejected_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_rows, "MAX_FIELD", 20)
    rows = f"1,{'a' * 18}\n2,{'a' * 19}\n3,{'a' * 70}\n4,b\n"
    assert ids_of(tmp_path / "in.csv", f"id,text\n{rows}") == (["1", "4"], [3, 4])


def test_a_killed_job_on_a_table_with_stray_quotes_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("id,text\n" + STRAY.partition("\n")[2] * 20)
    run(path, tmp_path / "whole")
    run(path, tmp_path / "killed")
    for part in sorted((tmp_path / "killed").glob("part-*"))[1::2]:
        part.unlink()
    run(path, tmp_path / "killed")
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")
    assert len(lines_of(tmp_path / "whole")) == 100


def test_a_byte_order_mark_hides_no_document_start_and_no_comment(tmp_path: Path) -> None:
    path = tmp_path / "in.conll"
    for first in ("-DOCSTART- O", "# a comment", "-DOCSTART-"):
        path.write_text(f"\ufeff{first}\nBob B-PER\n", encoding="utf-8")
        assert [s.words for s in results_of(path)[0]] == [("Bob",)]
        assert [s.words for s in read_conll(path)] == [("Bob",)]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\0")), max_size=5))
def test_a_table_gives_back_the_texts_that_were_written(texts: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "in.csv"
        with path.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([("id", "text"), *enumerate(texts)])
        sentences, rejected = results_of(path)
    assert not rejected
    assert [s.text for s in sentences] == texts


@pytest.mark.parametrize("content", ["", "\n", "id,body\n1,Bob\n"])
def test_a_table_without_the_column_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text(content)
    with pytest.raises(DataError, match="has no column 'text'; its first line is .* by --column"):
        next(read_units(path))


def test_the_encoding_of_a_table_is_named_before_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("id,text\n1,Bob\n", "utf-16")
    with pytest.raises(DataError, match=r"in\.csv:1\) is not UTF-8.*iconv -f UTF-16"):
        next(read_units(path))


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("text,text", "2 columns with the name 'text', case aside: 'text', 'text'"),
        ("text, Text ,id", "2 columns with the name 'text', case aside: 'text', ' Text '"),
        ("id,ID,text", "2 columns with the name 'id', case aside: 'id', 'ID'"),
        ("meta,text,meta", "2 columns with the name 'meta'"),
    ],
)
def test_a_table_with_two_columns_of_a_name_is_refused(
    header: str, found: str, tmp_path: Path
) -> None:
    path = tmp_path / "in.csv"
    path.write_text(f"{header}\na,b,c\n")
    with pytest.raises(DataError, match=f"{found}.* Expected one. Rename or remove"):
        next(read_units(path))


def test_other_columns_of_a_table_may_share_a_name(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("note,body,note,text,Text\nx,Bob,y,a,b\n")
    [unit] = read_units(path, column="Body")
    assert unit.read().text == "Bob"


def test_inputs_are_read_as_a_stream(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("Bob\n" * 1000)
    units = read_units(path, path.stat().st_size)
    first = next(units)
    assert isinstance(first, Unit)
    assert (first.number, first.done) == (1, 0.001)
    units.close()  # type: ignore[attr-defined]
    assert text_files.MAX_LINE_BYTES == 4 * 2**20


# Parquet


@without_pyarrow
def test_parquet_names_its_extra(tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'labelwise\[parquet\]'"):
        next(parquet_rows(tmp_path / "in.parquet"))


@needs_pyarrow
def test_parquet_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    table = {
        "id": ["x", None], "text": ["Bob in Oslo", None], "tokens": [None, ["New York", "x"]],
        "meta": [{"on": datetime.date(2026, 1, 2), "n": 1}, None],
    }  # fmt: skip
    pyarrow.parquet.write_table(pyarrow.table(table), path)
    sentences, rejected = results_of(path)
    assert not rejected
    assert [(s.id, s.text) for s in sentences] == [("x", "Bob in Oslo"), ("in:2", "New York x")]
    found = [[Mention(2, 3, "city", 0.5)], []]
    with (tmp_path / "out.parquet").open("wb") as stream:
        write_parquet(stream, zip(sentences, found, strict=True))
    entity = {"text": "Oslo", "label": "city", "start": 7, "end": 11, "score": 0.5}
    assert pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pylist() == [
        {
            "id": "x",
            "text": "Bob in Oslo",
            "entities": [entity],
            "meta": '{"on": "2026-01-02", "n": 1}',
        },
        {"id": "in:2", "text": "New York x", "entities": [], "meta": None},
    ]


@needs_pyarrow
def test_bad_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    path.write_bytes(b"no")
    with pytest.raises(DataError, match="Cannot read .* as Parquet"):
        next(parquet_rows(path))
    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), path)
    with pytest.raises(DataError, match="has no column 'text' or 'tokens'"):
        next(parquet_rows(path))


# The command


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_folder(
        tmp_path_factory.mktemp("model"), label_set=LabelSet.parse(["person", "city"])
    )


def command(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["predict", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.stderr


def test_a_job_that_rejects_a_line_says_so_and_ends_with_code_3(
    model: Path, tmp_path: Path
) -> None:
    path, folder = tmp_path / "in.jsonl", tmp_path / "out"
    path.write_text('{"text": "Bob", "id": 7, "meta": {"a": 1}}\n{\n')
    options = (path, "--model", model, "--output-dir", folder)
    first = command(*options, code=3)
    assert "Wrote 1 part to" in first
    assert "1 text, " in first
    assert "1 line was rejected in this run. What was rejected, and why, is in" in first
    assert "1 was there: 0 texts" in command(*options, code=3)
    (row,) = lines_of(folder)
    assert (row["id"], row["meta"]) == (7, {"a": 1})


@pytest.mark.parametrize("key", ["meta", "id"])
def test_a_line_that_could_not_be_written_again_is_rejected(
    key: str, model: Path, tmp_path: Path
) -> None:
    def line(n_levels: int) -> str:
        return f'{{"text": "Bob.", "{key}": {"[" * n_levels}NaN{"]" * n_levels}}}\n'

    path, folder = tmp_path / "in.jsonl", tmp_path / "out"
    path.write_text(line(100) + line(101) + line(600) + '{"text": "Ada."}\n')
    command(path, "--model", model, "--output-dir", folder, code=3)
    assert len(lines_of(folder)) == 2
    rejects = lines_of(folder, "rejects-*")
    assert [row["line"] for row in rejects] == [2, 3]
    assert f"'{key}' nests more than 100 levels deep (in.jsonl:2)" in rejects[0]["reason"]


def test_the_command_finds_what_predict_finds(model: Path, tmp_path: Path) -> None:
    path, folder = tmp_path / "in.txt", tmp_path / "out"
    path.write_text("Bob lives in Oslo .\n\nRome is not Paris .\n")
    options = ("--model", model, "--output-dir", folder, "--part-size", "2")
    assert "Wrote 2 parts" in command(path, *options)
    assert "Wrote 0 parts" in command(path, *options)
    command(path, "--model", model, "-o", tmp_path / "plain.jsonl")
    plain = lines_of(tmp_path, "plain.jsonl")
    assert [{k: row[k] for k in ("text", "entities")} for row in lines_of(folder)] == plain
    assert "begun with another 'labels' (see" in command(path, *options, "--labels", "drug", code=2)
    assert "begun with another 'part_size'" in command(path, *options[:-1], 3, code=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-", "--output-dir", "out"), "was given stdin"),
        (("a.txt", "--output-dir", "out", "--shard", "3/2"), "is no shard"),
        (("nowhere.txt", "--output-dir", "out"), "Cannot read 'nowhere.txt'"),
        (("--text", "a", "--output-dir", "out"), "takes one FILE"),
        (("a.txt", "--shard", "1/2"), "--shard belongs to a batch job. Add --output-dir"),
        (("a.txt", "--part-size", "5"), "--part-size belongs to a batch job"),
        (("a.txt", "--part-format", "jsonl"), "--part-format belongs to a batch job"),
    ],
)
def test_mistakes_are_named(
    arguments: tuple[str, ...],
    message: str,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("Bob")
    assert message in " ".join(command(*arguments, "--model", model, code=2).split())


def test_what_can_be_read_once_only_is_no_input_of_a_job(model: Path, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"Bob lives in Oslo .\n")
    os.close(writer)
    path, folder = f"/dev/fd/{reader}", tmp_path / "out"
    said = command(path, "--model", model, "--output-dir", folder, code=2)
    os.close(reader)
    assert f"was given '{path}', a pipe or device" in said
    assert not folder.exists()


def test_a_job_knows_which_label_a_threshold_of_the_fit_is_for(model: Path) -> None:
    loaded = load_model(model)
    table = Tagger.of(loaded).engine.tag_table(LabelSet.parse(["person", "city"]))
    digests = set()
    for limits in ({}, {"person": 0.5}, {"city": 0.5}):
        label_set = table.label_set.limited(limits)
        fitted = dataclasses.replace(table, label_set=label_set)
        digests.add(_model_facts(dataclasses.replace(loaded, fitted=fitted))["fit"])
    assert len(digests) == 3
