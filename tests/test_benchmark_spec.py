"""A benchmark is checked before it starts; its cells are stored whole or not at all."""

from pathlib import Path

import pytest

from labelwise.benchmark.cells import CellStore, cells_of
from labelwise.benchmark.spec import Spec, preset_spec, read_spec
from labelwise.errors import CheckpointError, ConfigError

SMALL = {"sources": ["sample:contracts"], "targets": ["sample:support"], "shots": [0, 1]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sorces": []}, "no setting 'sorces'.*Did you mean 'sources'"),
        ({"methods": ["nnshott"]}, "no method 'nnshott'.*Did you mean 'nnshot'"),
        ({"variants": ["swaped"]}, "no variant 'swaped'.*Did you mean 'swapped'"),
        ({"shots": ["all"]}, "'shots' holds 'all'"),
        ({"support_sets": 0}, "'support_sets' is 0"),
        ({"targets": []}, "'targets' is"),
        ({"finetune": {"epoch": 2.0}}, "no setting 'epoch'"),
    ],
)
def test_spec_errors_say_what_to_do(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Spec.from_dict(SMALL | change)


@pytest.mark.parametrize("name", ["smoke", "tuning", "quick", "paper"])
def test_presets_are_valid(name: str) -> None:
    assert list(cells_of(preset_spec(name)))


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_text("a =", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"spec\.toml"):
        read_spec(path)


def test_cells_have_keys_of_their_own() -> None:
    cells = list(cells_of(preset_spec("paper")))
    assert len({c.key for c in cells}) == len(cells)


def test_a_changed_spec_is_refused(tmp_path: Path) -> None:
    CellStore(tmp_path, Spec.from_dict(SMALL))
    CellStore(tmp_path, Spec.from_dict(SMALL))
    with pytest.raises(CheckpointError, match="has changed since the run"):
        CellStore(tmp_path, Spec.from_dict(SMALL | {"seed": 1}))


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", None])
def test_a_damaged_cell_reads_as_missing(tmp_path: Path, damage: str | None) -> None:
    spec = Spec.from_dict(SMALL)
    store, cell = CellStore(tmp_path, spec), next(iter(cells_of(spec)))
    store.write(cell, {"micro_f1": 0.5})
    assert store.read(cell) == {"micro_f1": 0.5}
    (path,) = (tmp_path / "cells").iterdir()
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("0.5", "0.6") if damage is None else damage, encoding="utf-8")
    assert store.read(cell) is None
