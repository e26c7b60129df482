"""A benchmark is checked before it starts; its cells are stored whole or not at all."""

from collections import Counter
from pathlib import Path

import pytest

from labelwise.benchmark.cells import CellStore, cells_of
from labelwise.benchmark.spec import Spec, preset_spec, read_spec
from labelwise.config import PAPER_FINETUNE, PAPER_PRETRAIN, ModelConfig
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
        ({"finetune": {"preset": "papper"}}, "no preset of settings 'papper'"),
        ({"split": "train"}, "no split 'train'"),
        ({"grids": [{"shotss": [1]}]}, "no setting of a grid 'shotss'.*Did you mean 'shots'"),
        ({"grids": [{"methods": ["linear"]}]}, "no method 'linear'"),
        ({"methods": ["towers@fast"]}, r"no settings for 'towers@fast'.*\[finetune_of"),
        ({"finetune_of": {"linear_hed": {}}}, "no method 'linear_hed'"),
        ({"distance": {"tao": 1}}, "no distance setting 'tao'.*Did you mean 'tau'"),
        ({"distance_of": {"nnshot": {"unit_vectors": 1}}}, "Expected true or false"),
        ({"distance": {"episodes": "yes"}}, "Expected true or false"),
        ({"pretrain_of": {"linear_hed": {}}}, "no method 'linear_hed'"),
        ({"allow_short": 1}, "'allow_short' is 1"),
        ({"published": {"sample:suport": "x_{k}"}}, "no target for 'published': 'sample:suport'"),
        ({"renamed": {"other": {"a": "b"}}}, "no target for 'renamed': 'other'"),
        ({"renamed": {"sample:support": "b"}}, "'renamed.sample:support' is 'b'.*a table"),
        ({"renamed": {"sample:support": {"a": 1}}}, "'renamed.sample:support.a' is or holds 1"),
        ({"renamed": 3}, "'renamed' is 3. Expected a table"),
        ({"published": {"sample:support": 3}}, "'published.sample:support' is or holds 3"),
        ({"published": {"sample:support": "x_{n}"}}, "a folder with '{k}' in it"),
        ({"published": {"sample:support": "nope"}}, "is 'nope'. Expected a folder with '{k}' in"),
        ({"published": {"sample:support": "{{k}}"}}, "a folder with '{k}' in it"),
        (
            {"methods": ["towers"], "finetune_of": {"linear_head": {}}},
            r"No grid has the method 'linear_head' of \[finetune_of.\"linear_head\"\]. .*Add it",
        ),
        ({"methods": ["towers"], "distance_of": {"nnshot": {}}}, "No grid has the method 'nnshot'"),
        ({"finetune_of": {"towers@b": {}}}, r"No grid has the method 'towers@b' of \[finetune_of"),
        ({"finetune_of": {"towers@a/b": {}}}, "named 'a/b'. Expected letters"),
        ({"methods": ["towers@"]}, "named ''. Expected letters"),
        ({"finetune_of": {"towers": 3}}, "'finetune_of.towers' is 3. Expected a table"),
        ({"finetune_of": []}, r"'finetune_of' is \[\]. Expected a table"),
        ({"shots": 5}, "'shots' is 5. Expected a list"),
        ({"shots": []}, r"'shots' is \[\]. Expected a list"),
        ({"methods": []}, r"'methods' is \[\]. Expected a list"),
        ({"methods": [3]}, "'methods' is or holds 3"),
        ({"variants": "names"}, "'variants' is 'names'. Expected a list"),
        ({"sources": [3]}, "'sources' is or holds 3"),
        ({"grids": []}, r"'grids' is \[\]"),
        ({"grids": [3]}, "'grids' is 3. Expected a table"),
        ({"model": "paper"}, "'model' is 'paper'. Expected a table"),
        ({"finetune": {"preset": 3}}, "the preset of settings 3. Expected a text"),
        ({"distance": "x"}, "'distance' is 'x'. Expected a table"),
        ({"distance": {"tau": float("nan")}}, "'distance.tau' is nan"),
        ({"distance": {"tau": True}}, "'distance.tau' is True"),
        ({"encoder": 3}, "'encoder' is or holds 3"),
        ({"split": 3}, "the split 3. Expected a text"),
        ({"seed": True}, "'seed' is True"),
        ({"support_sets": True}, "'support_sets' is True"),
    ],
)
def test_spec_errors_say_what_to_do(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Spec.from_dict(SMALL | change)


@pytest.mark.parametrize("name", ["smoke", "tuning", "quick", "readings", "names", "paper"])
def test_presets_are_valid(name: str) -> None:
    assert list(cells_of(preset_spec(name)))


def test_grids_take_from_the_top_what_they_leave_out_and_share_cells() -> None:
    spec = Spec.from_dict(
        SMALL | {"methods": ["towers"], "support_sets": 2,
                 "grids": [{"shots": [1]}, {"support_sets": 1, "methods": ["towers", "nnshot"]}]}
    )  # fmt: skip
    found = [(c.method, c.shots, c.support_set) for c in cells_of(spec)]
    assert found == [
        ("towers", "1", 0), ("towers", "1", 1), ("towers", "0", 0), ("nnshot", "1", 0),
    ]  # fmt: skip


def test_where_every_support_set_would_give_the_same_number_there_is_one() -> None:
    spec = Spec.from_dict(
        SMALL | {"methods": ["towers", "instant", "nnshot", "nnshot@b"], "shots": [0, 1, "full"],
                 "support_sets": 2, "variants": ["names", "context"],
                 "distance_of": {"nnshot@b": {"finetune": True}}}
    )  # fmt: skip
    found = Counter((c.method, c.shots, c.variant) for c in cells_of(spec))
    once = {
        ("towers", "0", "names"), ("instant", "full", "names"), ("nnshot", "full", "names"),
    }  # fmt: skip
    assert {key for key, n in found.items() if n == 1} == once
    assert {n for key, n in found.items() if key not in once} == {2}
    assert ("instant", "full", "context") in found  # which draws its sentences


def test_settings_go_from_the_method_at_a_name_to_the_method_to_all() -> None:
    spec = Spec.from_dict(
        SMALL | {"methods": ["towers", "towers@b", "nnshot"], "finetune": {"learning_rate": 0.5},
                 "finetune_of": {"towers": {"learning_rate": 0.1}, "towers@b": {"epochs": 2.0}},
                 "pretrain_of": {"towers": {"learning_rate": 0.2}},
                 "distance_of": {"nnshot": {"unit_vectors": False}}}
    )  # fmt: skip
    rates = {m: spec.finetune_config(m, 3).learning_rate for m in ("towers", "instant", "towers@b")}
    assert rates == {"towers": 0.1, "instant": 0.5, "towers@b": 0.5}
    assert spec.finetune_config("towers@b", 3).epochs == 2.0
    assert spec.finetune_config("towers", 3).seed == 3
    assert (spec.pretrain_key("towers@b"), spec.pretrain_key("instant")) == ("towers", "")
    assert not spec.distance_config("nnshot@x").unit_vectors
    assert spec.distance_config("structshot").unit_vectors


def test_settings_of_a_method_hold_for_a_grid_that_has_it_with_a_name() -> None:
    spec = Spec.from_dict(
        SMALL | {"methods": ["nnshot@b"], "distance_of": {"nnshot@b": {"tau": 1.0}},
                 "finetune_of": {"nnshot": {"learning_rate": 0.1}}}
    )  # fmt: skip
    assert spec.finetune_config("nnshot@b", 0).learning_rate == 0.1


def test_without_examples_or_words_a_method_has_no_cells() -> None:
    spec = Spec.from_dict(SMALL | {"shots": [0], "variants": ["names", "context"]})
    assert {(c.method, c.variant) for c in cells_of(spec)} == {
        (f"towers{kind}", "names") for kind in ("", "_separate", "_shared", "_static")
    }


def test_the_paper_preset_has_the_papers_settings() -> None:
    spec = preset_spec("paper")
    assert (spec.model, spec.pretrain, spec.finetune) == (
        ModelConfig(), PAPER_PRETRAIN, PAPER_FINETUNE,
    )  # fmt: skip


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
    store.write(cell, {"micro_f1": 0.5}, seconds=3.0)
    assert (store.read(cell), store.seconds(cell)) == ({"micro_f1": 0.5}, 3.0)
    (path,) = (tmp_path / "cells").iterdir()
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("0.5", "0.6") if damage is None else damage, encoding="utf-8")
    assert (store.read(cell), store.seconds(cell)) == (None, 0.0)


def test_a_byte_order_mark_is_no_part_of_a_specification(tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_text('sources = ["sample:contracts"]\ntargets = ["sample:support"]\n', "utf-8-sig")
    assert read_spec(path).sources == ("sample:contracts",)


def test_a_specification_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"from '.*spec\.toml': No such file or directory\. Exp"):
        read_spec(tmp_path / "spec.toml")


def test_a_store_that_is_only_read_is_not_made(tmp_path: Path) -> None:
    CellStore(tmp_path / "run", Spec.from_dict(SMALL), create=False)
    assert not list(tmp_path.iterdir())
    CellStore(tmp_path / "run", Spec.from_dict(SMALL))
    with pytest.raises(CheckpointError, match="has changed since the run"):
        CellStore(tmp_path / "run", Spec.from_dict(SMALL | {"seed": 1}), create=False)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"Cannot make '.*cells': Not a directory\."):
        CellStore(tmp_path / "file", Spec.from_dict(SMALL))


def test_rivals_have_three_settings_or_more_to_choose_from() -> None:
    for grid in preset_spec("tuning").grids[:2]:
        for method in ("prototype", "nnshot", "structshot", "towers", "linear_head"):
            assert sum(m.startswith(f"{method}@") for m in grid.methods) >= 3


def test_updates_of_the_quick_preset_grow_from_those_that_were_chosen() -> None:
    spec = preset_spec("quick")
    for method, steps, passes in (("towers", 40, 20.0), ("linear_head", 80, 40.0)):
        config = spec.finetune_config(method, 0)
        assert (config.min_steps, config.epochs, config.max_steps) == (steps, passes, None)
