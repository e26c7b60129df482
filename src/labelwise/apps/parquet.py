"""Parquet in and out of batch jobs, a few thousand rows at a time; needs pyarrow."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from labelwise.apps.inputs import records
from labelwise.apps.output import json_line
from labelwise.apps.results import kept_of
from labelwise.batch import Result
from labelwise.errors import DataError, require
from labelwise.words import without_surrogates

ROWS_AT_ONCE = 1024
_COLUMNS = ("id", "text", "tokens", "tokenized_text", "meta")


def _pyarrow() -> Any:
    require("pyarrow.parquet", "parquet", "Parquet")
    return require("pyarrow", "parquet", "Parquet")


def parquet_rows(path: Path) -> Iterator[tuple[int, float, dict[str, Any]]]:
    """Read rows with their numbers, from 1, and the share of the file that ends with each.

    Raises:
        DataError: The file is no Parquet file, or has neither texts nor words.
        MissingExtraError: pyarrow is not installed.
    """
    pyarrow = _pyarrow()
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns = [c for c in _COLUMNS if c in file.schema_arrow.names]
            if not {"text", "tokens", "tokenized_text"} & set(columns):
                raise DataError(
                    f"'{path}' has no column 'text' or 'tokens'. Expected one. Rename the column."
                )
            n_rows, number = file.metadata.num_rows, 0
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield number, number / n_rows, _as_json(row)
    except (pyarrow.ArrowException, OSError) as err:
        raise DataError(
            f"Cannot read '{path}' as Parquet: {err}. Expected a Parquet file. Check the file."
        ) from err


def _as_json(row: dict[str, Any]) -> dict[str, Any]:
    """Put dates and numbers that JSON lacks as text."""
    if not isinstance(row.get("id"), str | int | None):
        row["id"] = str(row["id"])
    if row.get("meta") is not None:
        row["meta"] = json.loads(json.dumps(row["meta"], default=str))
    return row


def write_parquet(stream: BinaryIO, results: Iterable[Result]) -> None:
    """Write results: ``id``, ``text``, ``entities``, a list of structs, and ``meta`` as JSON."""
    pyarrow = _pyarrow()
    schema = _schema(pyarrow)
    results = iter(results)
    with pyarrow.parquet.ParquetWriter(stream, schema) as writer:
        while group := list(itertools.islice(results, ROWS_AT_ONCE)):
            rows = [_row(result) for result in group]
            writer.write_batch(pyarrow.RecordBatch.from_pylist(rows, schema=schema))


def _schema(pyarrow: Any) -> Any:
    text, offset = pyarrow.string(), pyarrow.int32()
    entity = pyarrow.struct(
        [
            ("text", text),
            ("label", text),
            ("start", offset),
            ("end", offset),
            ("score", pyarrow.float32()),
        ]
    )
    entities = pyarrow.list_(entity)
    return pyarrow.schema([("id", text), ("text", text), ("entities", entities), ("meta", text)])


def _row(result: Result) -> dict[str, Any]:
    """One row; Parquet holds no lone surrogates, so they are replaced one for one."""
    sentence, mentions = result
    found = [{**r, "text": without_surrogates(r["text"])} for r in records(sentence, mentions)]
    meta = kept_of(sentence).get("meta")
    return {
        "id": without_surrogates(sentence.id),
        "text": without_surrogates(sentence.text or ""),
        "entities": found,
        "meta": None if meta is None else json_line(meta),
    }
